//! How a command ends when it does not end well: exit status and message (EXPERIENCE 3).

use std::{fmt, process::ExitCode};

use ee_protocol::problem::Problem;

/// What a script can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Something failed.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The check says no.
    No = 3,
    /// The token is missing, wrong, or does not reach this far.
    Auth = 4,
    /// There is no such thing.
    NotFound = 5,
    /// It contradicts what is there.
    Conflict = 6,
    /// Nobody answered, or not in time.
    Unreachable = 7,
    /// Too many requests.
    RateLimited = 8,
    /// A defect on the server's side.
    Bug = 70,
    /// The configuration is wrong.
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that could not do its work: a code, what happened, what to do next.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub exit: Exit,
    code: String,
    what: String,
    next: String,
}

impl Failure {
    /// A failure in words; `next` says what to do, as a command if there is one.
    pub fn new(
        exit: Exit,
        code: impl Into<String>,
        what: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            exit,
            code: code.into(),
            what: what.into(),
            next: next.into(),
        }
    }
}

impl Failure {
    /// The same with another next step.
    #[must_use]
    pub fn next(self, next: impl Into<String>) -> Self {
        Self {
            next: next.into(),
            ..self
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let exit = match problem.status {
            401 | 403 => Exit::Auth,
            404 => Exit::NotFound,
            409 => Exit::Conflict,
            429 => Exit::RateLimited,
            408 | 502..=504 => Exit::Unreachable,
            500 => Exit::Bug,
            _ => Exit::Failure,
        };
        let what = match problem.detail.as_str() {
            "" => problem.title,
            detail => format!("{}: {detail}", problem.title),
        };
        Self::new(exit, problem.code, what, problem.hint)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.what)?;
        if !self.next.is_empty() {
            write!(f, "\nnext: {}", self.next)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use ee_protocol::problem::ProblemCode;

    use super::*;

    #[test]
    fn problems_map_to_exit_statuses() {
        for (code, exit) in [
            (ProblemCode::TokenMissing, Exit::Auth),
            (ProblemCode::UnknownApp, Exit::NotFound),
            (ProblemCode::RateLimited, Exit::RateLimited),
            (ProblemCode::NoTunnel, Exit::Unreachable),
            (ProblemCode::Internal, Exit::Bug),
            (ProblemCode::InvalidField, Exit::Failure),
        ] {
            assert_eq!(Failure::from(Problem::new(code)).exit, exit, "{code}");
        }
    }

    #[test]
    fn message_names_code_and_next_step() {
        let failure = Failure::from(Problem::new(ProblemCode::UnknownApp).detail("nobody"));
        let text = failure.to_string();
        assert!(text.starts_with("error[unknown_app]: "), "{text}");
        assert!(text.contains("\nnext: "), "{text}");
    }
}
