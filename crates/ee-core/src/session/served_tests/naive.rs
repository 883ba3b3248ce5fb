//! What an attested session must do, as flat facts.

use std::time::Duration;

use ee_protocol::time::Timestamp;

use super::{Judged, Step, after};

/// Times in seconds since `attested`; those of challenges at random are kept as the clock has them.
#[derive(Debug)]
pub(super) struct Naive {
    pub(super) now: Timestamp,
    pub(super) over: bool,
    /// When a miss is told.
    silence: Option<Timestamp>,
    /// When the agent is asked to register anew.
    renew: Option<Timestamp>,
    /// A challenge comes between these two, of its own accord.
    pub(super) periodic: Option<[Timestamp; 2]>,
    /// A challenge comes then.
    again: Option<Timestamp>,
    /// A challenge is open, or its answer is being judged, until then.
    pub(super) open: Option<Timestamp>,
    pub(super) judging: Option<Timestamp>,
    /// The challenge of now has left.
    sent: bool,
    /// Why the agent is, or was last, challenged.
    why: &'static str,
    /// It must be asked once more after a pass.
    policy: bool,
    life: bool,
    errors: u32,
    waits: u32,
    pub(super) said: Vec<String>,
}

impl Naive {
    pub(super) fn new(now: Timestamp, renew: u64) -> Self {
        let mut naive = Self {
            now,
            over: false,
            silence: Some(after(120)),
            renew: Some(after(renew)),
            periodic: None,
            again: None,
            open: None,
            judging: None,
            sent: false,
            why: "periodic",
            policy: false,
            life: false,
            errors: 0,
            waits: 0,
            said: Vec::new(),
        };
        naive.rest();
        naive
    }

    pub(super) fn later(&self, seconds: u64) -> Timestamp {
        self.now.after(Duration::from_secs(seconds))
    }

    fn rest(&mut self) {
        self.periodic = Some([self.later(3_240), self.later(3_600)]);
        self.why = "periodic";
    }

    fn says(&mut self, word: impl Into<String>) {
        self.said.push(word.into());
    }

    fn ends(&mut self, code: u16, reason: &str) {
        self.says("gone");
        self.says(format!("close {code} {reason}"));
        self.over = true;
    }

    fn refused(&mut self, reason: &str) {
        self.says(format!("invalid {reason}"));
        self.ends(1008, reason);
    }

    /// The same for what counts as a failed attestation.
    fn failed(&mut self, reason: &str) {
        self.says(format!("invalid {reason}"));
        self.says("failed");
        self.ends(1008, reason);
    }

    fn challenge(&mut self) {
        (self.periodic, self.again) = (None, None);
        (self.open, self.sent) = (Some(self.later(90)), false);
        self.says(format!("challenge {}", self.why));
    }

    fn unsure(&mut self) {
        let wait = 60.min(1_u64 << self.waits.min(10));
        self.waits += 1;
        self.says(format!("pending log_unavailable {wait}"));
        self.says("waits");
        (self.judging, self.again) = (None, Some(self.later(wait)));
    }

    /// What is due by now, and is no matter of chance.
    pub(super) fn time(&mut self) {
        let now = self.now;
        while !self.over {
            let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
            if due(self.silence) {
                self.silence = None;
                self.says("silent");
            } else if due(self.renew) {
                self.renew = None;
                self.says("drain registration");
            } else if due(self.open) {
                self.failed("attestation_timeout");
            } else if due(self.judging) {
                self.unsure();
            } else if due(self.again) {
                self.challenge();
            } else {
                return;
            }
        }
    }

    /// The challenge that chance makes: `real` says whether it is now.
    pub(super) fn chance(&mut self, real: &[String]) {
        let Some([from, to]) = self.periodic.filter(|_| !self.over) else {
            return;
        };
        assert!(self.now <= to, "no challenge within the interval");
        if real.last().is_some_and(|word| word == "challenge periodic") {
            assert!(from <= self.now, "a challenge too early");
            self.challenge();
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        if self.over {
            return;
        }
        match step {
            Step::Wait(_) | Step::HolderAlive | Step::Stray => {}
            Step::Junk => self.says("invalid invalid_json"),
            Step::Register => self.says("invalid already_registered"),
            Step::Health(good) => {
                self.silence = Some(self.later(120));
                self.says(if good { "beat pass" } else { "beat fail" });
            }
            Step::Credits(asked) => {
                let granted = asked.min(1_024);
                self.says(format!("set {granted}"));
                self.says(format!("credits {granted}"));
            }
            Step::AgentDrain => self.says("leaves"),
            Step::Sent => {
                if self.open.is_some() && !self.sent {
                    (self.sent, self.open) = (true, Some(self.later(30)));
                }
            }
            Step::Answer { right, error } => self.answer(right, error),
            Step::Verdict { stale, judged } => {
                if self.judging.is_some() && !stale {
                    self.verdict(judged);
                }
            }
            Step::Ping => {
                self.life = true;
                self.says("ping");
            }
            Step::Pong => {
                if std::mem::take(&mut self.life) {
                    self.says("alive");
                }
            }
            Step::Reattest => self.reattest(),
            Step::Drain => self.says("drain restart"),
            Step::Replaced => self.refused("replaced"),
            Step::Shutdown => self.ends(1012, "restart"),
            Step::Violation => self.refused("binary_not_allowed"),
            Step::Disconnect => {
                self.says("gone");
                self.over = true;
            }
        }
        self.time();
    }

    fn reattest(&mut self) {
        if self.open.is_some() || self.judging.is_some() {
            self.policy = true;
            return;
        }
        self.why = "policy";
        if self.periodic.take().is_some() {
            self.again = Some(self.now);
        }
    }

    fn answer(&mut self, right: bool, error: bool) {
        if self.open.is_none() {
            return self.says("invalid unexpected_attestation");
        }
        if !right {
            return self.failed("nonce_mismatch");
        }
        if error {
            self.errors += 1;
            if self.errors > 1 {
                return self.failed("agent_error");
            }
            (self.open, self.again) = (None, Some(self.later(5)));
            return;
        }
        (self.open, self.judging) = (None, Some(self.later(300)));
        self.says(format!("verify {}", self.why));
    }

    fn verdict(&mut self, judged: Judged) {
        match judged {
            Judged::Fail => self.failed("quote_malformed"),
            Judged::Unsure => self.unsure(),
            Judged::Pass => {
                self.says("again");
                self.says("ok attested");
                (self.judging, self.errors, self.waits) = (None, 0, 0);
                self.rest();
                if std::mem::take(&mut self.policy) {
                    self.reattest();
                }
            }
        }
    }

    pub(super) fn text_max(&self) -> usize {
        match (self.over, self.open) {
            (true, _) => 16 * 1024,
            (false, Some(_)) => 2 * 1024 * 1024,
            (false, None) => 64 * 1024,
        }
    }

    /// When something happens by itself and not by chance.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let all = [
            self.silence,
            self.renew,
            self.open,
            self.judging,
            self.again,
        ];
        all.into_iter().flatten().min()
    }
}
