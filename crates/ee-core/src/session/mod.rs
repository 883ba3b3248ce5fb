//! One agent's tunnel as a state machine without I/O:
//! `AwaitingRegister → Attesting → Active → Closed` (TUNNEL 2, 2.1, 10; ATTESTATION 10).
//!
//! Every `handle_*` first applies the deadlines that have passed by `now`, then its input, and
//! leaves its effects as [`Command`]s to be polled. Time enters as `now`; nonces and jitter come
//! from a ChaCha generator under a seed handed in once.
//!
//! **Invariants.** At most one challenge is open. A nonce is used once. `Event::Attested` follows
//! only a passed verdict that carries the open challenge's nonce. Until the plane has admitted
//! it, a session has no effect on anything another session holds. `Command::Close` is the last
//! command. Outside input never panics.

mod active;
mod attesting;
mod challenge;
mod command;
mod line;
mod outgoing;
mod refusal;
mod registration;

#[cfg(test)]
mod naive_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod rig;
#[cfg(test)]
mod served_tests;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use ee_protocol::{
    report_data::{Binding, Nonce},
    time::Timestamp,
    tunnel::{AgentMessage, InnerTlsMode, MessageError},
};

pub use command::*;
pub use refusal::{SessionRefusal, Then};
pub use registration::{CREDITS_MAX, Mux, Registration};

use self::{active::Active, attesting::Attesting, challenge::Entropy, outgoing::Offer};
use crate::{attestation::Verdict, policy::LivePolicy};

/// Time from connecting to a valid `register` (TUNNEL 10).
const REGISTER_MAX: Duration = Duration::from_secs(10);
/// Longest text while a challenge is open: a quote of 160 KiB in base64, an event log of 1 MiB
/// and room (TUNNEL 10).
pub const TEXT_CHALLENGED_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Longest text before `attested`, else.
pub const TEXT_STRANGER_MAX_BYTES: usize = 16 * 1024;
/// Longest text after `attested`, else.
pub const TEXT_ATTESTED_MAX_BYTES: usize = 64 * 1024;
/// Longest text of an attested agent that answers requests in text (TUNNEL 7): one above the
/// longest answer that is passed on fails its request, one above this ends the tunnel.
pub const TEXT_LEGACY_MAX_BYTES: usize = 16 * 1024 * 1024;

/// One agent's tunnel.
#[derive(Debug)]
pub struct Session {
    policy: Arc<LivePolicy>,
    entropy: Entropy,
    state: State,
    commands: VecDeque<Command>,
    /// Whether the plane has been told that this session attested: then it is told of its end.
    known_to_plane: bool,
}

#[derive(Debug)]
enum State {
    AwaitingRegister { until: Timestamp },
    Attesting(Box<Attesting>),
    Active(Box<Active>),
    Closed,
}

/// Who an open session registered as, and what it may prove it with.
#[derive(Debug)]
struct Claimant {
    registration: Registration,
    node_keys: Vec<ee_protocol::report_data::Digest>,
    /// The inner TLS session, once established.
    channel: Option<Channel>,
}

impl Claimant {
    fn binding(&self) -> Binding {
        match self.channel {
            Some(Channel {
                exporter,
                agent_spki,
                control_spki,
            }) => Binding::TlsExporter {
                exporter,
                agent_spki,
                control_spki,
            },
            None => Binding::None,
        }
    }

    fn binding_word(&self) -> &'static str {
        match self.registration.inner_tls {
            InnerTlsMode::Required => "tls-exporter",
            InnerTlsMode::Off => "none",
        }
    }
}

impl Session {
    /// A session on a socket that was just accepted. `seed` must be unpredictable.
    pub fn new(policy: Arc<LivePolicy>, seed: [u8; 32], now: Timestamp) -> Self {
        Self {
            policy,
            entropy: Entropy::new(seed),
            state: State::AwaitingRegister {
                until: now.after(REGISTER_MAX),
            },
            commands: VecDeque::new(),
            known_to_plane: false,
        }
    }

    /// A text frame arrived and was parsed (after its MAC was checked, where it must carry one).
    pub fn handle_message(&mut self, now: Timestamp, message: Result<AgentMessage, MessageError>) {
        self.apply_deadlines(now);
        match message {
            Err(error) => self.refuse(refusal_of(error)),
            Ok(AgentMessage::Register(register)) => self.register(now, &register),
            Ok(AgentMessage::AttestResponse(response)) => self.attest_response(now, *response),
            Ok(AgentMessage::Health(health)) => self.health(now, &health),
            Ok(AgentMessage::Credits(credits)) => self.credits(credits),
            Ok(AgentMessage::Drain(_)) => self.agent_drain(),
        }
    }

    /// The plane says whether the agent may be challenged; a slot is held.
    pub fn handle_challenge_answer(&mut self, now: Timestamp, answer: ChallengeAnswer) {
        self.apply_deadlines(now);
        self.challenge_answer(now, answer);
    }

    /// The last challenge is on the wire.
    pub fn handle_challenge_sent(&mut self, now: Timestamp) {
        self.apply_deadlines(now);
        self.challenge_sent(now);
    }

    /// The inner TLS handshake ended.
    pub fn handle_inner_tls(&mut self, now: Timestamp, outcome: InnerTlsOutcome) {
        self.apply_deadlines(now);
        self.inner_tls_outcome(outcome);
    }

    /// A verdict on the evidence that answered the challenge with this nonce; a stale one is
    /// ignored.
    pub fn handle_verdict(&mut self, now: Timestamp, nonce: Nonce, verdict: Verdict) {
        self.apply_deadlines(now);
        match &self.state {
            State::Attesting(_) => self.first_verdict(now, &nonce, verdict),
            State::Active(_) => self.later_verdict(now, &nonce, verdict),
            State::AwaitingRegister { .. } | State::Closed => {}
        }
    }

    /// The plane's answer to `Event::Attested`.
    pub fn handle_admission(&mut self, now: Timestamp, admission: Admission) {
        self.apply_deadlines(now);
        self.admission(now, admission);
    }

    /// The plane tells this session to do something.
    pub fn handle_order(&mut self, now: Timestamp, order: Order) {
        self.apply_deadlines(now);
        match order {
            Order::Ping => self.plane_asks_for_life(),
            Order::HolderAlive => self.holder_alive(),
            Order::Close(refusal) => self.refuse(refusal),
            Order::Drain => self.server_drain(),
            Order::Shutdown => self.close(CLOSE_SERVER_DRAINS, "restart"),
            Order::Reattest => self.reattest(now),
        }
    }

    /// A pong arrived.
    pub fn handle_pong(&mut self, now: Timestamp) {
        self.apply_deadlines(now);
        self.pong();
    }

    /// The transport saw what no agent may do.
    pub fn handle_violation(&mut self, now: Timestamp, violation: Violation) {
        self.apply_deadlines(now);
        self.refuse(match violation {
            Violation::BinaryNotAllowed => SessionRefusal::BinaryNotAllowed,
            Violation::InnerTlsFailed => SessionRefusal::InnerTlsFailed,
            Violation::ControlMacInvalid => SessionRefusal::ControlMacInvalid,
        });
    }

    /// The socket is gone.
    pub fn handle_disconnect(&mut self, now: Timestamp) {
        self.apply_deadlines(now);
        self.end();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.apply_deadlines(now);
    }

    /// The next effect, in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When `handle_timeout` is due next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.state {
            State::AwaitingRegister { until } => Some(*until),
            State::Attesting(attesting) => Some(attesting.timeout()),
            State::Active(active) => Some(active.timeout()),
            State::Closed => None,
        }
    }

    /// Longest text frame to accept now.
    pub fn text_max_bytes(&self) -> usize {
        match &self.state {
            State::Attesting(attesting) if attesting.challenge_open() => TEXT_CHALLENGED_MAX_BYTES,
            State::Active(active) if active.is_legacy() => TEXT_LEGACY_MAX_BYTES,
            State::Active(active) if active.challenge_open() => TEXT_CHALLENGED_MAX_BYTES,
            State::Active(_) => TEXT_ATTESTED_MAX_BYTES,
            State::AwaitingRegister { .. } | State::Attesting(_) | State::Closed => {
                TEXT_STRANGER_MAX_BYTES
            }
        }
    }

    /// What incoming text must carry now.
    pub fn protection(&self) -> Protection {
        match &self.state {
            State::Active(active) => active.protection(),
            State::AwaitingRegister { .. } | State::Attesting(_) | State::Closed => {
                Protection::Plain
            }
        }
    }

    /// Which binary payload may arrive now.
    pub fn binary(&self) -> BinaryGate {
        match &self.state {
            State::Attesting(attesting) if attesting.handshake_allowed() => BinaryGate::Handshake,
            State::Active(active) if active.is_legacy() => BinaryGate::Closed,
            State::Active(_) => BinaryGate::Open,
            State::AwaitingRegister { .. } | State::Attesting(_) | State::Closed => {
                BinaryGate::Closed
            }
        }
    }

    /// How far the session has come.
    pub fn stage(&self) -> Stage {
        match &self.state {
            State::AwaitingRegister { .. } => Stage::AwaitingRegister,
            State::Attesting(_) => Stage::Attesting,
            State::Active(_) => Stage::Active,
            State::Closed => Stage::Closed,
        }
    }

    /// What the agent registered as.
    pub fn registration(&self) -> Option<&Registration> {
        self.claimant().map(|claimant| &claimant.registration)
    }

    /// Whether this tunnel has an inner TLS session; `None` before `register`.
    pub fn inner_tls(&self) -> Option<InnerTlsMode> {
        self.registration()
            .map(|registration| registration.inner_tls)
    }

    fn claimant(&self) -> Option<&Claimant> {
        match &self.state {
            State::Attesting(attesting) => Some(attesting.claimant()),
            State::Active(active) => Some(active.claimant()),
            State::AwaitingRegister { .. } | State::Closed => None,
        }
    }

    /// Fires every deadline that has passed. Each firing closes the session, opens a challenge or
    /// clears its timer, so the loop ends.
    fn apply_deadlines(&mut self, now: Timestamp) {
        while self.poll_timeout().is_some_and(|at| at <= now) {
            match &self.state {
                State::AwaitingRegister { .. } => self.refuse(SessionRefusal::RegisterTimeout),
                State::Attesting(_) => self.attesting_deadline(now),
                State::Active(_) => self.active_deadline(now),
                State::Closed => return,
            }
        }
    }
}

fn refusal_of(error: MessageError) -> SessionRefusal {
    match error {
        MessageError::InvalidJson => SessionRefusal::InvalidJson,
        MessageError::UnknownMessage => SessionRefusal::UnknownMessage,
        MessageError::InvalidField(name) => SessionRefusal::InvalidField(name),
    }
}
