//! How the use-cases of the books answer: what was done and where it stands in the journal, or why
//! not.

use std::collections::{BTreeMap, BTreeSet};

use ee_core::books::{
    AccountNo, Command, EntryId, EntryNo, Outcome, Principal, Refusal, Seq, outcome::Balance,
};
use ee_protocol::{
    http::credits::{Balances, Holdings},
    problem::{Problem, ProblemCode},
};
use ee_store::StoreError;

use crate::books::{BooksHandle, RequestKey, Submission, SubmitError};

/// Who asks, and under which key a repeat is recognised.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The resource of the token, else its role.
    pub principal: Principal,
    /// The idempotency key, if the client sent one.
    pub key: Option<RequestKey>,
    /// Whose balances the caller may see in an answer.
    pub reads: Reads,
}

/// Whose balances a caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reads {
    /// Everybody's.
    All,
    /// Those of these accounts.
    Only(BTreeSet<String>),
}

impl Reads {
    /// Whether this account's balance may be seen.
    pub fn includes(&self, account: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(accounts) => accounts.contains(account),
        }
    }
}

impl Caller {
    /// The balances that the caller may see.
    pub(crate) fn shown(&self, balances: &[Balance]) -> Balances {
        let visible = balances
            .iter()
            .filter(|balance| self.reads.includes(balance.account.as_str()));
        visible
            .map(|balance| (balance.account.to_string(), holdings(balance)))
            .collect()
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The position of the last one, if there may be more behind it.
    pub next: Option<String>,
}

impl<T> Listed<T> {
    /// A page of at most `limit` rows; a full one may have a successor.
    pub fn of(rows: Vec<T>, limit: u32, position: impl FnOnce(&T) -> String) -> Self {
        let full = rows.len() >= limit as usize;
        let next = rows.last().filter(|_| full).map(position);
        Self { rows, next }
    }

    /// The same page, its rows shown.
    pub fn map<U>(self, show: impl FnMut(T) -> U) -> Listed<U> {
        Listed {
            rows: self.rows.into_iter().map(show).collect(),
            next: self.next,
        }
    }
}

/// The position of a row in a list by number.
pub(crate) fn position(no: EntryNo) -> String {
    format!("{}.{}", no.seq.0, no.idx)
}

/// The row that a position names. Positions come out of sealed cursors, so a wrong one is none.
pub(crate) fn row_at(position: Option<&str>) -> Option<EntryNo> {
    let (seq, idx) = position?.split_once('.')?;
    Some(EntryNo {
        seq: Seq(seq.parse().ok()?),
        idx: idx.parse().ok()?,
    })
}

/// The names of accounts, for rows that hold their numbers.
pub(crate) async fn names(
    books: &BooksHandle,
    numbers: BTreeSet<AccountNo>,
) -> Result<BTreeMap<AccountNo, String>, Failure> {
    let names = books.read(move |books| {
        let named = numbers
            .iter()
            .map(|no| (*no, books.account(*no).name.to_string()));
        named.collect()
    });
    Ok(names.await?)
}

/// Amounts of an account as the wire has them.
pub(crate) fn holdings(balance: &Balance) -> Holdings {
    let Balance {
        account: _,
        available,
        posted,
        locked,
        held,
    } = balance;
    Holdings {
        available_micro_usd: available.to_string(),
        posted_micro_usd: posted.to_string(),
        locked_micro_usd: locked.to_string(),
        held_micro_usd: held.to_string(),
    }
}

/// The row behind an id of a path; text that is no id names nothing, which is `absent`.
pub(crate) fn entry_id(text: &str, absent: ProblemCode) -> Result<EntryId, Failure> {
    EntryId::parse(text).ok_or(Failure::Absent(absent))
}

/// Submits a caller's command.
pub(crate) async fn submit(
    books: &BooksHandle,
    caller: &Caller,
    command: Command,
) -> Result<(Outcome, Mark), Failure> {
    let submission = Submission {
        principal: caller.principal.clone(),
        key: caller.key.clone(),
        command,
    };
    let reply = books.submit(submission).await?;
    let mark = Mark {
        seq: reply.seq,
        replayed: reply.replayed,
    };
    match reply.outcome {
        Ok(outcome) => Ok((outcome, mark)),
        Err(refusal) => Err(Failure::Refused(refusal, mark)),
    }
}

/// Where an answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The record in the journal.
    pub seq: u64,
    /// Whether it is the stored answer to an earlier request.
    pub replayed: bool,
}

/// What was done, and where that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered<T> {
    /// The body of the answer.
    pub body: T,
    /// Its place.
    pub mark: Mark,
}

/// Why there is nothing to answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The books said no; under a key or an id they will say so again.
    #[error("{0}")]
    Refused(Refusal, Mark),
    /// It was not decided.
    #[error(transparent)]
    Undecided(#[from] SubmitError),
    /// What was asked for could not be read.
    #[error("the history of the books cannot be read: {0}")]
    Unread(#[from] StoreError),
    /// There is no such thing.
    #[error("{0}")]
    Absent(ProblemCode),
}

impl Failure {
    /// The problem that a client reads.
    pub fn problem(&self) -> Problem {
        let problem = Problem::new(self.code());
        match self {
            Self::Refused(_, mark) => problem.with("seq", mark.seq),
            Self::Undecided(_) | Self::Unread(_) | Self::Absent(_) => problem,
        }
    }

    /// The problem's code.
    pub fn code(&self) -> ProblemCode {
        match self {
            Self::Refused(refusal, _) => code_of(*refusal),
            Self::Undecided(SubmitError::Busy) => ProblemCode::Busy,
            Self::Undecided(SubmitError::OutcomeUnknown) => ProblemCode::OutcomeUnknown,
            Self::Undecided(SubmitError::StoreUnavailable) | Self::Unread(_) => {
                ProblemCode::StoreUnavailable
            }
            Self::Undecided(SubmitError::DiskFull) => ProblemCode::DiskFull,
            Self::Undecided(SubmitError::Closed) => ProblemCode::Draining,
            Self::Absent(code) => *code,
        }
    }
}

/// The word of a refusal on the wire.
pub fn code_of(refusal: Refusal) -> ProblemCode {
    match refusal {
        Refusal::IdempotencyKeyReused => ProblemCode::IdempotencyKeyReused,
        Refusal::IdReused => ProblemCode::IdReused,
        Refusal::SameAccount => ProblemCode::SameAccount,
        Refusal::AccountKindConflict => ProblemCode::AccountKindConflict,
        Refusal::AccountNotFound => ProblemCode::AccountNotFound,
        Refusal::SupplyCap => ProblemCode::SupplyCap,
        Refusal::NodeNotFound => ProblemCode::NodeNotFound,
        Refusal::NodeExists => ProblemCode::NodeExists,
        Refusal::NodeBanned => ProblemCode::NodeBanned,
        Refusal::NodePriceMissing => ProblemCode::NodePriceMissing,
        Refusal::PriceAboveMax => ProblemCode::PriceAboveMax,
        Refusal::CapacityExceeded => ProblemCode::CapacityExceeded,
        Refusal::PeriodOverlap => ProblemCode::PeriodOverlap,
        Refusal::PeriodOpen => ProblemCode::PeriodOpen,
        Refusal::PeriodFinalized => ProblemCode::PeriodFinalized,
        Refusal::StakeInUse => ProblemCode::StakeInUse,
        Refusal::LockNotFound => ProblemCode::LockNotFound,
        Refusal::LockStarted => ProblemCode::LockStarted,
        Refusal::LockResolved => ProblemCode::LockResolved,
        Refusal::ReportNotFound => ProblemCode::ReportNotFound,
        Refusal::ReportAlreadyDecided => ProblemCode::ReportAlreadyDecided,
        Refusal::SlashNotFound => ProblemCode::SlashNotFound,
        Refusal::SlashAlreadyDecided => ProblemCode::SlashAlreadyDecided,
        Refusal::InsufficientFunds => ProblemCode::InsufficientFunds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LEDGER 4: number, status and word of every refusal.
    const TABLE: [(u16, u16, &str); 24] = [
        (10, 422, "idempotency_key_reused"),
        (11, 409, "id_reused"),
        (20, 400, "same_account"),
        (21, 409, "account_kind_conflict"),
        (22, 404, "account_not_found"),
        (23, 409, "supply_cap"),
        (30, 400, "node_not_found"),
        (31, 400, "node_exists"),
        (32, 403, "node_banned"),
        (33, 400, "node_price_missing"),
        (34, 409, "price_above_max"),
        (35, 409, "capacity_exceeded"),
        (40, 400, "period_overlap"),
        (41, 409, "period_open"),
        (42, 400, "period_finalized"),
        (43, 409, "stake_in_use"),
        (50, 404, "lock_not_found"),
        (51, 409, "lock_started"),
        (52, 409, "lock_resolved"),
        (60, 400, "report_not_found"),
        (61, 409, "report_already_decided"),
        (62, 400, "slash_not_found"),
        (63, 409, "slash_already_decided"),
        (70, 400, "insufficient_funds"),
    ];

    #[test]
    fn every_refusal_has_the_documents_number_word_and_status() {
        let ours: Vec<_> = Refusal::ALL
            .into_iter()
            .map(|refusal| {
                let code = code_of(refusal);
                (refusal.number(), code.status(), code.as_str())
            })
            .collect();
        assert_eq!(ours, TABLE);
    }

    #[test]
    fn only_what_was_not_decided_may_be_tried_again() {
        let mark = Mark {
            seq: 7,
            replayed: false,
        };
        let refused = Failure::Refused(Refusal::InsufficientFunds, mark);
        assert!(!refused.code().is_retryable());
        assert_eq!(refused.problem().extensions["seq"], 7);
        for (error, status) in [
            (SubmitError::Busy, 503),
            (SubmitError::OutcomeUnknown, 503),
            (SubmitError::StoreUnavailable, 503),
            (SubmitError::DiskFull, 507),
            (SubmitError::Closed, 503),
        ] {
            let code = Failure::Undecided(error).code();
            assert!(code.is_retryable(), "{error}");
            assert_eq!(code.status(), status, "{error}");
        }
    }

    const PAGE: &str = include_str!("../../../docs/refusals.md");

    /// The first cells of the rows below a heading, without backticks.
    fn rows(heading: &str) -> Vec<Vec<String>> {
        let (_, rest) = PAGE.split_once(heading).expect("the heading is there");
        let section = rest.split_once("\n#").map_or(rest, |(section, _)| section);
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let cells = |line: &str| {
            let cells = line.trim_matches('|').split(" | ");
            cells
                .map(|cell| cell.trim().trim_matches('`').to_owned())
                .collect()
        };
        rows.map(cells).collect()
    }

    #[test]
    fn every_refusal_of_the_books_is_documented_in_its_order() {
        let documented = rows("### What the books refuse");
        let documented: Vec<_> = documented.iter().map(|row| row[..3].join(" ")).collect();
        let ours = TABLE.map(|(number, status, code)| format!("{code} {number} {status}"));
        assert_eq!(documented, ours);
    }

    #[test]
    fn what_else_is_documented_exists_with_its_status() {
        let others = rows("### What is wrong with a request")
            .into_iter()
            .chain(rows("### What was not decided"));
        for row in others {
            let code = ProblemCode::parse(&row[0]);
            let code = code.unwrap_or_else(|| panic!("{} is no code", row[0]));
            assert_eq!(row[1], code.status().to_string(), "{code}");
            assert!(!row[2].is_empty() && !row[3].is_empty(), "{code}");
        }
        let undecided: Vec<_> = rows("### What was not decided")
            .iter()
            .map(|row| ProblemCode::parse(&row[0]).is_some_and(ProblemCode::is_retryable))
            .collect();
        assert_eq!(undecided, [true; 4]);
    }
}
