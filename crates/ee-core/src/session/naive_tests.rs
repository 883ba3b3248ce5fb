//! What an agent hears until it is attested, against a model that knows only TUNNEL's table: one
//! flat list of what has happened, one timer a wait, no phases.

use std::{sync::Arc, time::Duration};

use ee_protocol::{
    report_data::Nonce,
    time::Timestamp,
    tunnel::{
        AgentMessage, AttestResponse, ControlMessage, Health, MessageError, Register, StatusState,
    },
};
use proptest::prelude::*;

use super::{rig, *};
use crate::attestation::{AttestationCode, Failure, Verdict};

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u64),
    Junk,
    Register(bool),
    Granted(bool),
    Sent,
    InnerTls(bool),
    Answer { right: bool, error: bool },
    Verdict(Judged),
    Admission(Word),
    Health,
    HolderAlive,
    Violation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    Pass,
    Fail,
    Unsure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Joined,
    HolderAsked,
    Refused,
    Deferred,
}

fn step() -> impl Strategy<Value = Step> {
    let judged = prop::sample::select(vec![Judged::Pass, Judged::Fail, Judged::Unsure]);
    let word = vec![
        Word::Joined,
        Word::HolderAsked,
        Word::Refused,
        Word::Deferred,
    ];
    let mostly = |chance| prop::bool::weighted(chance);
    prop_oneof![
        4 => prop::sample::select(vec![0, 1, 4, 5, 10, 29, 30, 59, 60, 90, 299, 300]).prop_map(Step::Wait),
        1 => Just(Step::Junk),
        3 => mostly(0.9).prop_map(Step::Register),
        4 => mostly(0.95).prop_map(Step::Granted),
        3 => Just(Step::Sent),
        4 => mostly(0.95).prop_map(Step::InnerTls),
        6 => (mostly(0.95), mostly(0.2)).prop_map(|(right, error)| Step::Answer { right, error }),
        6 => judged.prop_map(Step::Verdict),
        4 => prop::sample::select(word).prop_map(Step::Admission),
        1 => Just(Step::Health),
        1 => mostly(0.2).prop_map(|holder| if holder { Step::HolderAlive } else { Step::Health }),
        1 => mostly(0.1).prop_map(|broken| if broken { Step::Violation } else { Step::Junk }),
    ]
}

/// What the open challenge has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Not yet, or the plane has the word.
    Nothing,
    Open {
        sent: bool,
    },
    Judging,
    Later,
}

/// Times in seconds since the session began.
#[derive(Debug)]
struct Naive {
    now: u64,
    registered: bool,
    granted: bool,
    tls: bool,
    asked: Asked,
    /// The plane was told of a pass.
    joining: bool,
    holder: bool,
    attested: bool,
    over: bool,
    errors: u32,
    waits: u32,
    /// What the present wait ends at, and the handshake's own end.
    until: u64,
    tls_until: Option<u64>,
    said: Vec<String>,
}

impl Naive {
    fn new() -> Self {
        Self {
            now: 0,
            registered: false,
            granted: false,
            tls: false,
            asked: Asked::Nothing,
            joining: false,
            holder: false,
            attested: false,
            over: false,
            errors: 0,
            waits: 0,
            until: 10,
            tls_until: None,
            said: Vec::new(),
        }
    }

    fn says(&mut self, word: &str) {
        self.said.push(word.to_owned());
    }

    fn no(&mut self, reason: &str) {
        if !self.over {
            self.says(&format!("invalid {reason}"));
        }
    }

    fn closes(&mut self, reason: &str, code: u16) {
        if !self.over {
            self.no(reason);
            self.says(&format!("close {code}"));
            self.over = true;
        }
    }

    /// When something happens by itself.
    fn next(&self) -> Option<u64> {
        let proving = self.granted && !self.joining;
        let tls = self.tls_until.filter(|_| proving);
        (!self.over && !self.attested).then(|| tls.map_or(self.until, |tls| tls.min(self.until)))
    }

    fn time(&mut self) {
        if self.until > self.now {
            return self.closes("inner_tls_failed", 1008);
        }
        match (self.registered, self.granted, self.joining, self.holder) {
            (false, ..) => self.closes("register_timeout", 1008),
            (true, false, ..) | (_, _, true, false) => self.closes("too_many_pending", 1013),
            (_, _, true, true) => (self.holder, self.until) = (false, self.now + 60),
            (true, true, false, _) => match self.asked {
                Asked::Open { .. } => self.closes("attestation_timeout", 1008),
                Asked::Judging => self.unsure(),
                Asked::Later => self.challenge(),
                Asked::Nothing => unreachable!("nothing is waited for"),
            },
        }
    }

    fn challenge(&mut self) {
        (self.asked, self.until) = (Asked::Open { sent: false }, self.now + 60 + 30);
        self.says("challenge");
    }

    /// 1, 2, 4 ... 60 s.
    fn unsure(&mut self) {
        self.says("pending log_unavailable");
        let wait = 60.min(1_u64 << self.waits.min(10));
        self.waits += 1;
        (self.asked, self.until) = (Asked::Later, self.now + wait);
    }

    fn step(&mut self, step: Step) {
        let attesting = self.registered && !self.over && !self.attested;
        match step {
            Step::Wait(_) => {}
            Step::Junk => self.no("invalid_json"),
            Step::Register(good) => self.register(good),
            Step::Granted(yes) if attesting && !self.granted => self.granted(yes),
            Step::Sent if attesting && self.granted && !self.joining => self.sent(),
            Step::InnerTls(good) if attesting => match good && !self.tls {
                true => (self.tls, self.tls_until) = (true, None),
                false => self.closes("inner_tls_failed", 1008),
            },
            Step::Answer { right, error } if !self.over => self.answer(right, error),
            Step::Verdict(judged) if attesting && self.asked == Asked::Judging => match judged {
                Judged::Fail => self.closes("quote_malformed", 1008),
                Judged::Unsure => self.unsure(),
                Judged::Pass => {
                    (self.joining, self.asked) = (true, Asked::Nothing);
                    self.until = self.now + 60;
                }
            },
            Step::Admission(word) if attesting && self.joining && !self.holder => self.word(word),
            Step::HolderAlive if attesting && self.joining => self.closes("node_in_use", 1008),
            Step::Health if !self.attested => self.no("not_registered"),
            Step::Violation => self.closes("binary_not_allowed", 1008),
            Step::Granted(_)
            | Step::Sent
            | Step::InnerTls(_)
            | Step::Answer { .. }
            | Step::Verdict(_)
            | Step::Admission(_)
            | Step::HolderAlive
            | Step::Health => {}
        }
    }

    fn register(&mut self, good: bool) {
        match (self.registered, good) {
            (true, _) => self.no("already_registered"),
            (false, false) => self.no("missing_fields"),
            (false, true) if self.over => {}
            (false, true) => {
                self.says("ask");
                (self.registered, self.until) = (true, self.now + 300);
            }
        }
    }

    fn granted(&mut self, yes: bool) {
        if !yes {
            return self.closes("app_bound_to_other_repo", 1008);
        }
        self.granted = true;
        self.challenge();
        if !self.tls {
            self.says("tls");
        }
    }

    fn sent(&mut self) {
        if self.asked == (Asked::Open { sent: false }) {
            (self.asked, self.until) = (Asked::Open { sent: true }, self.now + 30);
        }
        if !self.tls && self.tls_until.is_none() {
            self.tls_until = Some(self.now + 10);
        }
    }

    fn answer(&mut self, right: bool, error: bool) {
        let Asked::Open { .. } = self.asked else {
            return self.no("unexpected_attestation");
        };
        if !right {
            return self.closes("nonce_mismatch", 1008);
        }
        if error {
            self.errors += 1;
            if self.errors > 1 {
                return self.closes("agent_error", 1008);
            }
            (self.asked, self.until) = (Asked::Later, self.now + 5);
        } else if self.tls {
            self.says("verify");
            (self.asked, self.until) = (Asked::Judging, self.now + 300);
        } else {
            self.closes("inner_tls_failed", 1008);
        }
    }

    fn word(&mut self, word: Word) {
        match word {
            Word::Joined => {
                self.says("open");
                self.says("ok attested");
                self.attested = true;
            }
            Word::HolderAsked => (self.holder, self.until) = (true, self.now + 5),
            Word::Refused => self.closes("tunnel_limit", 1008),
            Word::Deferred => {
                self.joining = false;
                self.unsure();
            }
        }
    }
}

/// The session and its shell, which remembers the last nonce.
struct Real {
    session: Session,
    now: Timestamp,
    nonce: Nonce,
}

impl Real {
    fn step(&mut self, step: Step) {
        let now = self.now;
        let session = &mut self.session;
        match step {
            Step::Wait(_) => session.handle_timeout(now),
            Step::Junk => session.handle_message(now, Err(MessageError::InvalidJson)),
            Step::Register(good) => {
                let repo = if good { "org/repo" } else { "" };
                let repo = repo.to_owned();
                let message = Register {
                    repo,
                    ..rig::register()
                };
                session.handle_message(now, Ok(AgentMessage::Register(message)));
            }
            Step::Granted(true) => {
                let node_keys = Vec::new();
                session.handle_challenge_answer(now, ChallengeAnswer::Granted { node_keys });
            }
            Step::Granted(false) => {
                let refused = ChallengeAnswer::Refused(SessionRefusal::AppBoundToOtherRepo);
                session.handle_challenge_answer(now, refused);
            }
            Step::Sent => session.handle_challenge_sent(now),
            Step::InnerTls(true) => {
                session.handle_inner_tls(now, InnerTlsOutcome::Established(rig::channel()));
            }
            Step::InnerTls(false) => session.handle_inner_tls(now, InnerTlsOutcome::Failed),
            Step::Answer { right, error } => {
                let nonce = if right { self.nonce } else { [0xee; 32] };
                let response = AttestResponse {
                    nonce: hex::encode(nonce),
                    error: error.then(|| "quote_busy".to_owned()),
                    ..AttestResponse::default()
                };
                let message = AgentMessage::AttestResponse(Box::new(response));
                session.handle_message(now, Ok(message));
            }
            Step::Verdict(judged) => session.handle_verdict(now, self.nonce, verdict(judged, now)),
            Step::Admission(word) => session.handle_admission(now, admission(word)),
            Step::Health => {
                session.handle_message(now, Ok(AgentMessage::Health(Health::pass())));
            }
            Step::HolderAlive => session.handle_order(now, Order::HolderAlive),
            Step::Violation => session.handle_violation(now, Violation::BinaryNotAllowed),
        }
    }

    fn said(&mut self) -> Vec<String> {
        let commands: Vec<Command> = std::iter::from_fn(|| self.session.poll_command()).collect();
        commands
            .iter()
            .filter_map(|command| self.word(command))
            .collect()
    }

    fn word(&mut self, command: &Command) -> Option<String> {
        Some(match command {
            Command::AskChallenge(_) => "ask".to_owned(),
            Command::Challenge(_) => {
                let requests = rig::challenges(std::slice::from_ref(command));
                self.nonce = hex::decode(&requests[0].nonce).ok()?.try_into().ok()?;
                "challenge".to_owned()
            }
            Command::StartInnerTls => "tls".to_owned(),
            Command::Verify(_) => "verify".to_owned(),
            Command::OpenTraffic { .. } => "open".to_owned(),
            Command::Close(close) => format!("close {}", close.code),
            Command::Send(outgoing) => match &outgoing.message {
                ControlMessage::Status(status) => {
                    let state = match status.state {
                        StatusState::Ok => "ok",
                        StatusState::Pending => "pending",
                        StatusState::Invalid => "invalid",
                    };
                    format!("{state} {}", status.reason)
                }
                ControlMessage::AttestRequest(_) | ControlMessage::Drain(_) => return None,
            },
            Command::SetCredits(_) | Command::Emit(_) | Command::Ping => return None,
        })
    }
}

fn verdict(judged: Judged, now: Timestamp) -> Verdict {
    match judged {
        Judged::Pass => Verdict::Pass(Box::new(rig::result(now))),
        Judged::Fail => Verdict::Fail(Failure::new(AttestationCode::QuoteMalformed)),
        Judged::Unsure => Verdict::from(Failure::new(AttestationCode::LogUnavailable)),
    }
}

fn admission(word: Word) -> Admission {
    match word {
        Word::Joined => Admission::Joined {
            expires_at: Timestamp::FAR_FUTURE,
        },
        Word::HolderAsked => Admission::HolderAsked,
        Word::Refused => Admission::Refused(SessionRefusal::TunnelLimit),
        Word::Deferred => Admission::Deferred(Failure::new(AttestationCode::LogUnavailable)),
    }
}

struct Both {
    real: Real,
    naive: Naive,
}

impl Both {
    fn new() -> Self {
        let now = rig::start();
        let session = Session::new(Arc::new(rig::policy()), [3; 32], now);
        let nonce = [0; 32];
        Self {
            real: Real {
                session,
                now,
                nonce,
            },
            naive: Naive::new(),
        }
    }

    /// As its shell does, each deadline is met when it comes, and all of one moment together.
    fn wait(&mut self, seconds: u64) {
        let end = self.naive.now + seconds;
        while let Some(due) = self.naive.next().filter(|due| *due <= end) {
            self.move_to(due);
            while self.naive.next() == Some(due) {
                self.naive.time();
            }
            self.compare(Step::Wait(seconds));
        }
        self.move_to(end);
    }

    fn move_to(&mut self, second: u64) {
        self.naive.now = second;
        self.real.now = rig::start().after(Duration::from_secs(second));
        self.real.step(Step::Wait(0));
    }

    fn step(&mut self, step: Step) {
        if let Step::Wait(seconds) = step {
            // An attested session has times of its own.
            if !self.naive.attested {
                self.wait(seconds);
            }
        } else {
            self.real.step(step);
            self.naive.step(step);
        }
        self.compare(step);
    }

    fn compare(&mut self, step: Step) {
        let expected = std::mem::take(&mut self.naive.said);
        assert_eq!(self.real.said(), expected, "after {step:?}");
        let over = self.real.session.stage() == Stage::Closed;
        let attested = self.real.session.stage() == Stage::Active;
        assert_eq!(
            (over, attested && !over),
            (self.naive.over, self.naive.attested && !over)
        );
        if !self.naive.attested {
            let at = |second| rig::start().after(Duration::from_secs(second));
            let next = self.naive.next().map(at);
            assert_eq!(self.real.session.poll_timeout(), next, "after {step:?}");
        }
    }
}

/// The way to an attested session; a prefix of it begins each story, so that all of it is reached.
const OPENING: [Step; 7] = [
    Step::Register(true),
    Step::Granted(true),
    Step::Sent,
    Step::InnerTls(true),
    Step::Answer {
        right: true,
        error: false,
    },
    Step::Verdict(Judged::Pass),
    Step::Admission(Word::Joined),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn an_agent_hears_what_the_table_says(
        known in 0..OPENING.len(),
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let mut both = Both::new();
        for step in OPENING[..known].iter().chain(&steps) {
            both.step(*step);
        }
    }
}

#[test]
fn the_model_attests_too() {
    let mut both = Both::new();
    for step in OPENING {
        both.step(step);
    }
    assert!(both.naive.attested);
}
