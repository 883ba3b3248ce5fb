//! The line of challenges of one session: at most one is open, and one timer drives it.
//!
//! Idle until the next challenge, open until the answer, appraising until the verdict, waiting
//! after a verdict that could not be reached. Each state has an end, so nothing waits for ever.

use std::time::Duration;

use ee_protocol::{report_data::Nonce, time::Timestamp, tunnel::AttestResponse};

use super::{
    ChallengeReason,
    challenge::{AGENT_ERROR_WAIT, Challenge, Retry},
};

/// Longest wait for a verdict: both upstreams at 10 s each, several endpoints, and a queue. Past
/// it the answer counts as lost on our side, and the agent is challenged again.
const VERDICT_WAIT_MAX: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Line {
    state: LineState,
    retry: Retry,
    agent_errors: u8,
    /// The policy changed while an older challenge was under way: ask again after it.
    policy_changed: bool,
}

#[derive(Debug)]
enum LineState {
    Idle {
        next: Timestamp,
    },
    Open(Challenge),
    Appraising {
        nonce: Nonce,
        reason: ChallengeReason,
        until: Timestamp,
    },
    Waiting {
        until: Timestamp,
        reason: ChallengeReason,
    },
}

/// What a passed deadline of the line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Challenge(ChallengeReason),
    AnswerLate,
    VerdictLost,
}

/// What an `attest_response` is to the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Unexpected,
    WrongNonce,
    FirstAgentError,
    RepeatedAgentError(String),
    Evidence {
        nonce: Nonce,
        reason: ChallengeReason,
    },
}

impl Line {
    pub(super) fn idle_until(next: Timestamp) -> Self {
        Self {
            state: LineState::Idle { next },
            retry: Retry::new(),
            agent_errors: 0,
            policy_changed: false,
        }
    }

    pub(super) fn timeout(&self) -> Timestamp {
        match &self.state {
            LineState::Idle { next } => *next,
            LineState::Open(challenge) => challenge.deadline,
            LineState::Appraising { until, .. } | LineState::Waiting { until, .. } => *until,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, LineState::Open(_))
    }

    /// What is due, if anything is by `now`.
    pub(super) fn due(&self, now: Timestamp) -> Option<Due> {
        (self.timeout() <= now).then_some(match &self.state {
            LineState::Idle { .. } => Due::Challenge(ChallengeReason::Periodic),
            LineState::Waiting { reason, .. } => Due::Challenge(*reason),
            LineState::Open(_) => Due::AnswerLate,
            LineState::Appraising { .. } => Due::VerdictLost,
        })
    }

    /// Opens the next challenge. No other is open: only `Idle` and `Waiting` lead here.
    pub(super) fn challenge(&mut self, challenge: Challenge) {
        assert!(!self.is_open(), "at most one challenge is open");
        self.state = LineState::Open(challenge);
    }

    pub(super) fn mark_sent(&mut self, now: Timestamp, answer_in: Duration) {
        if let LineState::Open(challenge) = &mut self.state {
            challenge.mark_sent(now, answer_in);
        }
    }

    /// Takes an answer: the open challenge is spent, whatever the answer says.
    pub(super) fn answer(&mut self, now: Timestamp, response: &AttestResponse) -> Answer {
        let LineState::Open(challenge) = &self.state else {
            return Answer::Unexpected;
        };
        if !challenge.matches(&response.nonce) {
            return Answer::WrongNonce;
        }
        let (nonce, reason) = (challenge.nonce, challenge.reason);
        if let Some(word) = &response.error {
            return self.agent_error(now, reason, word);
        }
        let until = now.after(VERDICT_WAIT_MAX);
        self.state = LineState::Appraising {
            nonce,
            reason,
            until,
        };
        Answer::Evidence { nonce, reason }
    }

    fn agent_error(&mut self, now: Timestamp, reason: ChallengeReason, word: &str) -> Answer {
        self.agent_errors += 1;
        if self.agent_errors > 1 {
            return Answer::RepeatedAgentError(word.chars().take(64).collect());
        }
        self.state = LineState::Waiting {
            until: now.after(AGENT_ERROR_WAIT),
            reason,
        };
        Answer::FirstAgentError
    }

    /// The reason of the challenge that is being appraised under this nonce; `None` for a stale
    /// verdict.
    pub(super) fn appraising(&self, of: &Nonce) -> Option<ChallengeReason> {
        match &self.state {
            LineState::Appraising { nonce, reason, .. } if nonce == of => Some(*reason),
            LineState::Appraising { .. }
            | LineState::Idle { .. }
            | LineState::Open(_)
            | LineState::Waiting { .. } => None,
        }
    }

    /// A pass: forget what went wrong, rest until the next challenge.
    pub(super) fn passed(&mut self, now: Timestamp, next: Timestamp) {
        let policy_changed = self.policy_changed;
        *self = Self::idle_until(next);
        if policy_changed {
            self.policy_changed(now);
        }
    }

    /// The plane has the word now: nothing is due, and the count of retries stays.
    pub(super) fn rest(&mut self) {
        self.state = LineState::Idle {
            next: Timestamp::FAR_FUTURE,
        };
    }

    /// No verdict could be reached: ask again later. Returns the wait.
    pub(super) fn wait(&mut self, now: Timestamp, reason: ChallengeReason) -> Duration {
        let wait = self.retry.next_wait();
        self.state = LineState::Waiting {
            until: now.after(wait),
            reason,
        };
        wait
    }

    /// Whether this is the first time that no verdict could be reached.
    pub(super) fn never_waited(&self) -> bool {
        self.retry == Retry::new()
    }

    /// The reason of the challenge under way, for a retry.
    pub(super) fn reason(&self) -> ChallengeReason {
        match &self.state {
            LineState::Idle { .. } => ChallengeReason::Periodic,
            LineState::Open(challenge) => challenge.reason,
            LineState::Appraising { reason, .. } | LineState::Waiting { reason, .. } => *reason,
        }
    }

    /// The policy changed: challenge at once if nothing is under way, else right after it.
    pub(super) fn policy_changed(&mut self, now: Timestamp) {
        match &mut self.state {
            LineState::Idle { .. } => {
                self.state = LineState::Waiting {
                    until: now,
                    reason: ChallengeReason::Policy,
                };
            }
            LineState::Waiting { reason, .. } => *reason = ChallengeReason::Policy,
            LineState::Open(_) | LineState::Appraising { .. } => self.policy_changed = true,
        }
    }
}
