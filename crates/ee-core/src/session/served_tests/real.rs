//! The session, and what it does in words.

use ee_protocol::{
    report_data::Nonce,
    time::Timestamp,
    tunnel::{
        AgentMessage, AttestResponse, ControlMessage, Credits, Drain, Health, MessageError,
        StatusState,
    },
};

use super::{Judged, Step};
use crate::{
    attestation::{AttestationCode, Failure, Verdict},
    session::{
        Admission, ChallengeAnswer, Command, Event, HealthWord, InnerTlsOutcome, Order, Protection,
        Session, SessionRefusal, Violation, rig,
    },
};

/// The session and its shell, which remembers the last nonce.
pub(super) struct Real {
    pub(super) session: Session,
    pub(super) now: Timestamp,
    pub(super) nonce: Nonce,
}

impl Real {
    pub(super) fn step(&mut self, step: Step) {
        let now = self.now;
        let session = &mut self.session;
        match step {
            Step::Wait(_) => session.handle_timeout(now),
            Step::Junk => session.handle_message(now, Err(MessageError::InvalidJson)),
            Step::Register => says(session, now, AgentMessage::Register(rig::register())),
            Step::Health(good) => {
                let mut health = Health::pass();
                if !good {
                    health.status = Some("fail".to_owned());
                }
                says(session, now, AgentMessage::Health(health));
            }
            Step::Credits(max_inflight) => {
                says(
                    session,
                    now,
                    AgentMessage::Credits(Credits { max_inflight }),
                );
            }
            Step::AgentDrain => {
                let drain = Drain {
                    reason: "restart".to_owned(),
                    reconnect_after_ms: None,
                };
                says(session, now, AgentMessage::Drain(drain));
            }
            Step::Sent => session.handle_challenge_sent(now),
            Step::Answer { right, error } => {
                let nonce = if right { self.nonce } else { [0xee; 32] };
                let response = AttestResponse {
                    nonce: hex::encode(nonce),
                    error: error.then(|| "quote_busy".to_owned()),
                    ..AttestResponse::default()
                };
                says(
                    session,
                    now,
                    AgentMessage::AttestResponse(Box::new(response)),
                );
            }
            Step::Verdict { stale, judged } => {
                let nonce = if stale { [0xee; 32] } else { self.nonce };
                session.handle_verdict(now, nonce, verdict(judged, now));
            }
            Step::Ping => session.handle_order(now, Order::Ping),
            Step::Pong => session.handle_pong(now),
            Step::HolderAlive => session.handle_order(now, Order::HolderAlive),
            Step::Reattest => session.handle_order(now, Order::Reattest),
            Step::Drain => session.handle_order(now, Order::Drain),
            Step::Replaced => session.handle_order(now, Order::Close(SessionRefusal::Replaced)),
            Step::Shutdown => session.handle_order(now, Order::Shutdown),
            Step::Violation => session.handle_violation(now, Violation::BinaryNotAllowed),
            Step::Disconnect => session.handle_disconnect(now),
            Step::Stray => {
                session.handle_admission(now, Admission::HolderAsked);
                session.handle_inner_tls(now, InnerTlsOutcome::Failed);
                let node_keys = Vec::new();
                session.handle_challenge_answer(now, ChallengeAnswer::Granted { node_keys });
            }
        }
    }

    pub(super) fn said(&mut self) -> Vec<String> {
        let commands: Vec<Command> = std::iter::from_fn(|| self.session.poll_command()).collect();
        commands.iter().map(|command| self.word(command)).collect()
    }

    fn word(&mut self, command: &Command) -> String {
        match command {
            Command::Challenge(outgoing) => {
                let request = rig::only(rig::challenges(std::slice::from_ref(command)));
                assert_eq!(outgoing.protection, Protection::Mac, "{request:?}");
                let nonce = hex::decode(&request.nonce).expect("hexadecimal");
                self.nonce = nonce.try_into().expect("32 bytes");
                format!("challenge {}", request.reason)
            }
            Command::Verify(request) => format!("verify {}", request.reason.as_str()),
            Command::SetCredits(credits) => format!("set {credits}"),
            Command::Ping => "ping".to_owned(),
            Command::Close(close) => format!("close {} {}", close.code, close.reason),
            Command::Send(outgoing) => {
                assert_eq!(outgoing.protection, Protection::Mac, "{outgoing:?}");
                sent(&outgoing.message)
            }
            Command::Emit(event) => told(event),
            other @ (Command::AskChallenge(_)
            | Command::StartInnerTls
            | Command::OpenTraffic { .. }) => format!("{other:?}"),
        }
    }
}

fn says(session: &mut Session, now: Timestamp, message: AgentMessage) {
    session.handle_message(now, Ok(message));
}

fn verdict(judged: Judged, now: Timestamp) -> Verdict {
    match judged {
        Judged::Pass => Verdict::Pass(Box::new(rig::result(now))),
        Judged::Fail => Verdict::Fail(Failure::new(AttestationCode::QuoteMalformed)),
        Judged::Unsure => Verdict::from(Failure::new(AttestationCode::LogUnavailable)),
    }
}

fn sent(message: &ControlMessage) -> String {
    match message {
        ControlMessage::Drain(drain) => format!("drain {}", drain.reason),
        ControlMessage::Status(status) => {
            let reason = &status.reason;
            match status.state {
                StatusState::Ok => format!("ok {reason}"),
                StatusState::Invalid => format!("invalid {reason}"),
                StatusState::Pending => {
                    let wait = status.retry_after_ms.unwrap_or_default() / 1_000;
                    format!("pending {reason} {wait}")
                }
            }
        }
        ControlMessage::AttestRequest(_) => "a challenge that is no challenge".to_owned(),
    }
}

fn told(event: &Event) -> String {
    let word = match event {
        Event::Reattested(_) => "again",
        Event::Failed(_) => "failed",
        Event::Waiting(_) => "waits",
        Event::Health(beat) if beat.word == HealthWord::Pass => "beat pass",
        Event::Health(_) => "beat fail",
        Event::HealthTimedOut => "silent",
        Event::Credits(credits) => return format!("credits {credits}"),
        Event::Draining => "leaves",
        Event::Alive => "alive",
        Event::Closed => "gone",
        Event::Attested(_) | Event::Refused(_) | Event::WaitingToJoin(..) => "never told",
    };
    word.to_owned()
}
