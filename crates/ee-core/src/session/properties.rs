//! Any input in any order, against the session's invariants.
//!
//! A plain model watches the commands: it counts open challenges, remembers nonces and verdicts,
//! and knows what may follow what.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ee_protocol::{
    report_data::Nonce,
    time::Timestamp,
    tunnel::{
        AgentMessage, AttestResponse, ControlMessage, Credits, Drain, Health, MessageError,
        Register, StatusState,
    },
};
use proptest::prelude::*;

use super::{rig, *};
use crate::attestation::{AttestationCode, Failure, Verdict};

/// One input. Nonces are chosen among those seen, so that stale ones are common.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    NextDeadline,
    Junk,
    Register(bool),
    Granted(bool),
    Sent,
    InnerTls(bool),
    Respond { nonce: usize, error: bool },
    Verdict { nonce: usize, kind: u8 },
    Admission(u8),
    Health(bool),
    Credits(u32),
    AgentDrain,
    Order(u8),
    Pong,
    Violation,
    Disconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => prop_oneof![0_u64..40_000_000, 0_u64..7_200_000_000].prop_map(Step::Wait),
        3 => Just(Step::NextDeadline),
        1 => Just(Step::Junk),
        4 => prop::bool::weighted(0.9).prop_map(Step::Register),
        4 => prop::bool::weighted(0.9).prop_map(Step::Granted),
        2 => Just(Step::Sent),
        4 => prop::bool::weighted(0.9).prop_map(Step::InnerTls),
        6 => (0_usize..4, prop::bool::weighted(0.1))
            .prop_map(|(nonce, error)| Step::Respond { nonce, error }),
        6 => (0_usize..4, 0_u8..5).prop_map(|(nonce, kind)| Step::Verdict { nonce, kind }),
        4 => (0_u8..6).prop_map(Step::Admission),
        2 => any::<bool>().prop_map(Step::Health),
        1 => any::<u32>().prop_map(Step::Credits),
        1 => Just(Step::AgentDrain),
        1 => (0_u8..12).prop_map(Step::Order),
        1 => Just(Step::Pong),
        1 => prop::bool::weighted(0.1).prop_map(|v| if v { Step::Violation } else { Step::Sent }),
        1 => prop::bool::weighted(0.1).prop_map(|d| if d { Step::Disconnect } else { Step::Pong }),
    ]
}

/// What the commands so far allow.
#[derive(Debug, Default)]
struct Model {
    nonces: Vec<Nonce>,
    /// The challenge that no answer, deadline or close has ended.
    open: Option<Nonce>,
    /// Sent for appraisal.
    appraised: BTreeSet<Nonce>,
    /// Passed under a nonce that was appraised and not stale.
    passes: u32,
    attested_events: u32,
    admitted: bool,
    closed: bool,
    told_closed: bool,
    attested_asked: bool,
}

impl Model {
    fn nonce(&self, age: usize) -> Nonce {
        let index = self.nonces.len().checked_sub(age + 1);
        index.map_or([0xee; 32], |index| self.nonces[index])
    }

    fn see(&mut self, command: &Command) {
        assert!(!self.closed, "close is the last command");
        match command {
            Command::Challenge(Outgoing { message, .. }) => self.see_challenge(message),
            Command::Verify(request) => {
                assert_eq!(
                    self.open.take(),
                    Some(request.nonce),
                    "verifies the open challenge"
                );
                assert!(self.appraised.insert(request.nonce), "a nonce is used once");
            }
            Command::Emit(event) => self.see_event(event),
            Command::Send(Outgoing {
                message: ControlMessage::Status(status),
                ..
            }) => {
                if status.state == StatusState::Ok {
                    assert!(self.admitted, "attested only after the plane's word");
                }
            }
            Command::OpenTraffic { .. } => assert!(self.admitted),
            Command::Close(_) => self.closed = true,
            Command::AskChallenge(_)
            | Command::StartInnerTls
            | Command::SetCredits(_)
            | Command::Send(_)
            | Command::Ping => {}
        }
    }

    fn see_challenge(&mut self, message: &ControlMessage) {
        let ControlMessage::AttestRequest(request) = message else {
            panic!("a challenge is an attest_request")
        };
        let nonce: Nonce = hex::decode(&request.nonce).unwrap().try_into().unwrap();
        assert!(!self.nonces.contains(&nonce), "nonces are single-use");
        assert_eq!(self.open, None, "at most one open challenge");
        self.open = Some(nonce);
        self.nonces.push(nonce);
    }

    fn see_event(&mut self, event: &Event) {
        match event {
            Event::Attested(attested) => {
                if attested.holder == Holder::NotAsked {
                    self.attested_events += 1;
                    assert!(
                        self.attested_events <= self.passes,
                        "no Attested before a pass"
                    );
                }
                self.attested_asked = true;
                assert!(!self.admitted, "joins once");
            }
            Event::Closed => {
                assert!(self.attested_asked && !self.told_closed);
                self.told_closed = true;
            }
            Event::Refused(_) => assert!(!self.admitted, "an attested session is not refused"),
            Event::WaitingToJoin(..) => assert!(!self.admitted, "an attested session has joined"),
            Event::Reattested(_)
            | Event::Failed(_)
            | Event::Waiting(_)
            | Event::Health(_)
            | Event::HealthTimedOut
            | Event::Credits(_)
            | Event::Draining
            | Event::Alive => assert!(self.admitted, "{event:?} before attested"),
        }
    }
}

struct Run {
    session: Session,
    now: Timestamp,
    model: Model,
}

impl Run {
    fn new(seed: [u8; 32]) -> Self {
        let now = rig::start();
        let session = Session::new(Arc::new(rig::policy()), seed, now);
        Self {
            session,
            now,
            model: Model::default(),
        }
    }

    fn step(&mut self, step: &Step) {
        let before = self.session.stage();
        // Deadlines come first: after any input none of them lies in the past.
        self.input(step);
        assert!(
            self.session.poll_timeout().is_none_or(|at| at > self.now),
            "{step:?}"
        );
        assert!(self.session.stage() >= before, "stages only advance");
        while let Some(command) = self.session.poll_command() {
            self.model.see(&command);
        }
        if self.session.stage() == Stage::Closed {
            assert_eq!(self.session.poll_timeout(), None);
            assert!(
                !self.model.admitted || self.model.told_closed,
                "the plane hears of the end"
            );
        }
    }

    fn input(&mut self, step: &Step) {
        let now = self.now;
        match step {
            Step::Wait(micros) => {
                self.now = now.after(Duration::from_micros(*micros));
                self.session.handle_timeout(self.now);
            }
            Step::NextDeadline => {
                self.now = self.session.poll_timeout().unwrap_or(now).max(now);
                self.session.handle_timeout(self.now);
            }
            Step::Junk => self
                .session
                .handle_message(now, Err(MessageError::InvalidJson)),
            Step::Register(valid) => self.register(*valid),
            Step::Granted(yes) => self.session.handle_challenge_answer(now, granted(*yes)),
            Step::Sent => self.session.handle_challenge_sent(now),
            Step::InnerTls(yes) => self.session.handle_inner_tls(now, inner_tls(*yes)),
            Step::Respond { nonce, error } => self.respond(*nonce, *error),
            Step::Verdict { nonce, kind } => self.verdict(*nonce, *kind),
            Step::Admission(kind) => self.admission(*kind),
            Step::Health(pass) => {
                self.says(AgentMessage::Health(if *pass {
                    Health::pass()
                } else {
                    Health::fail()
                }));
            }
            Step::Credits(max_inflight) => {
                self.says(AgentMessage::Credits(Credits {
                    max_inflight: *max_inflight,
                }));
            }
            Step::AgentDrain => self.says(AgentMessage::Drain(Drain::default())),
            Step::Order(kind) => self.session.handle_order(now, order(*kind)),
            Step::Pong => self.session.handle_pong(now),
            Step::Violation => self
                .session
                .handle_violation(now, Violation::BinaryNotAllowed),
            Step::Disconnect => self.session.handle_disconnect(now),
        }
    }

    fn says(&mut self, message: AgentMessage) {
        self.session.handle_message(self.now, Ok(message));
    }

    fn register(&mut self, valid: bool) {
        let mut message = rig::register();
        if !valid {
            message = Register {
                repo: String::new(),
                ..message
            };
        }
        self.says(AgentMessage::Register(message));
    }

    fn respond(&mut self, age: usize, error: bool) {
        let nonce = self.model.nonce(age);
        if error && self.model.open == Some(nonce) {
            self.model.open = None;
        }
        self.says(AgentMessage::AttestResponse(Box::new(AttestResponse {
            nonce: hex::encode(nonce),
            error: error.then(|| "quote_busy".to_owned()),
            ..AttestResponse::default()
        })));
    }

    fn verdict(&mut self, age: usize, kind: u8) {
        let nonce = self.model.nonce(age);
        let verdict = match kind {
            0..=2 => Verdict::Pass(Box::new(rig::result(self.now))),
            3 => Verdict::Fail(Failure::new(AttestationCode::QuoteMalformed)),
            _ => Verdict::from(Failure::new(AttestationCode::CollateralExpired)),
        };
        let fresh = self.model.nonces.last() == Some(&nonce)
            && self.model.appraised.contains(&nonce)
            && self.model.open.is_none();
        if fresh && matches!(verdict, Verdict::Pass(_)) {
            self.model.passes += 1;
        }
        self.session.handle_verdict(self.now, nonce, verdict);
    }

    fn admission(&mut self, kind: u8) {
        let expires_at = self.now.after(rig::policy().registration_ttl);
        let admission = match kind {
            0..=2 => Admission::Joined { expires_at },
            3 => Admission::HolderAsked,
            4 => Admission::Refused(SessionRefusal::TunnelLimit),
            _ => Admission::Deferred(Failure::new(AttestationCode::LogUnavailable)),
        };
        let joins = matches!(admission, Admission::Joined { .. });
        if joins && self.model.attested_asked && self.session.stage() == Stage::Attesting {
            self.model.admitted = true;
        }
        self.session.handle_admission(self.now, admission);
        self.model.admitted = self.session.stage() == Stage::Active || self.model.told_closed;
    }
}

fn granted(yes: bool) -> ChallengeAnswer {
    match yes {
        true => ChallengeAnswer::Granted {
            node_keys: Vec::new(),
        },
        false => ChallengeAnswer::Refused(SessionRefusal::AppBoundToOtherRepo),
    }
}

fn inner_tls(yes: bool) -> InnerTlsOutcome {
    match yes {
        true => InnerTlsOutcome::Established(rig::channel()),
        false => InnerTlsOutcome::Failed,
    }
}

fn order(kind: u8) -> Order {
    match kind {
        0..=3 => Order::Ping,
        4..=7 => Order::Reattest,
        8 => Order::HolderAlive,
        9 => Order::Close(SessionRefusal::Replaced),
        10 => Order::Drain,
        _ => Order::Shutdown,
    }
}

/// Steps that lead to an attested session, so that what comes after is reached often.
fn opening() -> Vec<Step> {
    vec![
        Step::Register(true),
        Step::Granted(true),
        Step::Sent,
        Step::InnerTls(true),
        Step::Respond {
            nonce: 0,
            error: false,
        },
        Step::Verdict { nonce: 0, kind: 0 },
        Step::Admission(0),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_input_in_any_order_keeps_the_invariants(
        seed in any::<[u8; 32]>(),
        known in 0_usize..8,
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let mut run = Run::new(seed);
        for step in opening().iter().take(known).chain(&steps) {
            run.step(step);
        }
    }
}

#[test]
fn the_opening_reaches_active() {
    let mut run = Run::new([3; 32]);
    for step in opening() {
        run.step(&step);
    }
    assert_eq!(run.session.stage(), Stage::Active);
}
