//! The agent's side of a tunnel, without I/O: register → challenge → quote → answer → active.
//!
//! Mirror of the control plane's session (TUNNEL 2 and 3.2). Messages, outcomes and time come in
//! through `handle_*`; everything the agent does about them comes out of [`Session::poll_command`].
//!
//! **Invariant:** nothing is quoted for a control plane whose key does not match: the inner TLS
//! client's key must be the one its challenge names, and one of the pinned ones if any is pinned.
//! **Invariant:** traffic opens only by a `status ok attested`, which with inner TLS must carry a
//! valid MAC.

mod command;
mod proof;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use ee_protocol::{
    report_data::{Binding, Nonce, ReportData, WorkloadClaims},
    time::Timestamp,
    tunnel::{
        AgentMessage, AttestResponse, ControlMessage, Credits, Drain, Health, MessageError, Status,
        StatusState,
    },
};

pub use self::command::{Closing, Command, InnerTlsOutcome};
use crate::{
    health::{HealthSchedule, HealthWord},
    identity::Identity,
    quote::{QuoteBundle, QuoteError},
};

/// A registered socket may wait 5 minutes for a slot and then for collateral (TUNNEL 11); an
/// agent that is not attested after twice that time tries another connection.
const ATTESTED_DEADLINE: Duration = Duration::from_secs(600);
/// A drain without a window spreads reconnections like one that says the usual 15 s.
const DRAIN_WINDOW: [u32; 2] = [0, 15_000];

/// The state machine of one tunnel.
#[derive(Debug)]
pub struct Session {
    identity: Arc<Identity>,
    claims: Arc<WorkloadClaims>,
    channel: Channel,
    challenge: Option<Challenge>,
    phase: Phase,
    health: HealthSchedule,
    commands: VecDeque<Command>,
}

/// What carries the traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Channel {
    /// Not agreed yet.
    Unknown,
    /// The control plane's ClientHello is due.
    Handshaking { deadline: Timestamp },
    /// Inner TLS, or nothing that can be bound.
    Ready(Binding),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Unattested { deadline: Timestamp },
    Active,
    Draining,
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Challenge {
    nonce: Nonce,
    reason: String,
    control_key: Option<String>,
    /// When the quote must be there.
    quote_by: Timestamp,
    /// Filled in once the quote has been asked for.
    report_data: Option<ReportData>,
}

impl Session {
    /// A tunnel whose WebSocket has just been opened: it registers.
    pub fn new(
        identity: Arc<Identity>,
        claims: Arc<WorkloadClaims>,
        health_interval: Duration,
        now: Timestamp,
    ) -> Self {
        let register = AgentMessage::Register(identity.register());
        Self {
            identity,
            claims,
            channel: Channel::Unknown,
            challenge: None,
            phase: Phase::Unattested {
                deadline: now.after(ATTESTED_DEADLINE),
            },
            health: HealthSchedule::new(health_interval, now),
            commands: VecDeque::from([Command::Send(register)]),
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Session::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Timestamp {
        let handshake = match self.channel {
            Channel::Handshaking { deadline } => deadline,
            Channel::Unknown | Channel::Ready(_) => Timestamp::FAR_FUTURE,
        };
        match self.phase {
            Phase::Unattested { deadline } => deadline.min(handshake),
            Phase::Active | Phase::Draining => self.health.next_probe(),
            Phase::Closed => Timestamp::FAR_FUTURE,
        }
    }

    /// Whether the control plane has let this tunnel serve.
    pub const fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Active | Phase::Draining)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if now < self.poll_timeout() {
            return;
        }
        match (&self.phase, &self.channel) {
            (Phase::Unattested { .. }, Channel::Handshaking { .. }) => {
                self.close(1008, "inner_tls_failed");
            }
            (Phase::Unattested { .. }, Channel::Unknown | Channel::Ready(_)) => {
                self.close(1008, "not_attested_in_time");
            }
            (Phase::Active | Phase::Draining, _) => {
                self.health.probe_started();
                self.commands.push_back(Command::Probe);
            }
            (Phase::Closed, _) => {}
        }
    }

    /// A text of the control plane; `authenticated` says that it carried a valid MAC.
    pub fn handle_message(
        &mut self,
        now: Timestamp,
        message: Result<ControlMessage, MessageError>,
        authenticated: bool,
    ) {
        self.handle_timeout(now);
        if self.phase == Phase::Closed {
            return;
        }
        match message {
            Ok(ControlMessage::AttestRequest(request)) => self.handle_challenge(now, request),
            Ok(ControlMessage::Status(status)) => self.handle_status(now, &status, authenticated),
            Ok(ControlMessage::Drain(drain)) => self.handle_drain(&drain),
            // Later control planes may say more; what matters is negotiated by fields.
            Err(MessageError::UnknownMessage) => {}
            Err(MessageError::InvalidJson | MessageError::InvalidField(_)) => {
                self.close(1008, "invalid_json");
            }
        }
    }

    /// The inner TLS handshake has ended.
    pub fn handle_inner_tls(&mut self, now: Timestamp, outcome: InnerTlsOutcome) {
        self.handle_timeout(now);
        if !matches!(self.channel, Channel::Handshaking { .. }) || self.phase == Phase::Closed {
            return;
        }
        match outcome {
            InnerTlsOutcome::Established(binding) => {
                self.channel = Channel::Ready(binding);
                self.ask_for_quote(now);
            }
            InnerTlsOutcome::Failed(_) => self.close(1008, "inner_tls_failed"),
        }
    }

    /// The quote asked for by [`Command::Quote`] is there, or will not come.
    pub fn handle_quote(
        &mut self,
        now: Timestamp,
        nonce: &Nonce,
        outcome: Result<QuoteBundle, QuoteError>,
    ) {
        self.handle_timeout(now);
        let asked = |challenge: &Challenge| challenge.nonce == *nonce;
        if !self.challenge.as_ref().is_some_and(asked) || self.phase == Phase::Closed {
            return;
        }
        let Some(Challenge {
            nonce,
            report_data: Some(report_data),
            ..
        }) = self.challenge.take()
        else {
            return;
        };
        let response = match outcome {
            Ok(bundle) => self.answer(&nonce, &report_data, bundle),
            Err(error) => AttestResponse {
                nonce: hex::encode(nonce),
                error: Some(error.code().to_owned()),
                ..AttestResponse::default()
            },
        };
        self.send(AgentMessage::AttestResponse(Box::new(response)));
    }

    /// The probe asked for by [`Command::Probe`] has ended.
    pub fn handle_probe(&mut self, now: Timestamp, passed: bool, inflight: u32) {
        let Some(word) = self.health.probe_ended(now, passed) else {
            return;
        };
        if self.is_active() {
            let health = match word {
                HealthWord::Pass => Health::pass(),
                HealthWord::Fail => Health::fail(),
            };
            self.send(AgentMessage::Health(Health {
                inflight: Some(inflight),
                ..health
            }));
        }
    }

    /// The agent is about to leave, or this tunnel has been replaced.
    pub fn handle_leave(&mut self, reason: &str) {
        match self.phase {
            Phase::Active => {
                self.phase = Phase::Draining;
                let drain = Drain {
                    reason: reason.to_owned(),
                    reconnect_after_ms: None,
                };
                self.send(AgentMessage::Drain(drain));
                self.commands.push_back(Command::FinishRequests);
            }
            Phase::Unattested { .. } => self.close(1001, reason),
            Phase::Draining | Phase::Closed => {}
        }
    }

    /// The number of streams this tunnel can take has changed.
    pub fn handle_credits(&mut self, max_inflight: u32) {
        if self.is_active() {
            self.send(AgentMessage::Credits(Credits { max_inflight }));
        }
    }

    fn handle_status(&mut self, now: Timestamp, status: &Status, authenticated: bool) {
        match (&self.phase, status.state) {
            (Phase::Unattested { .. }, StatusState::Ok) if status.reason == "attested" => {
                self.open_traffic(now, authenticated);
            }
            // The control plane closes with 1008 after most refusals, but not after those that
            // only concern a message: nothing more would ever come on this tunnel.
            (Phase::Unattested { .. }, StatusState::Invalid) => self.close(1000, &status.reason),
            (Phase::Unattested { .. }, StatusState::Ok | StatusState::Pending)
            | (Phase::Active | Phase::Draining | Phase::Closed, _) => {}
        }
    }

    fn open_traffic(&mut self, now: Timestamp, authenticated: bool) {
        match &self.channel {
            Channel::Ready(Binding::TlsExporter { .. }) if !authenticated => {
                self.close(1008, "control_mac_invalid");
            }
            Channel::Ready(_) => {
                self.phase = Phase::Active;
                self.commands.push_back(Command::OpenTraffic);
                self.health.probe_started();
                self.commands.push_back(Command::Probe);
            }
            Channel::Unknown | Channel::Handshaking { .. } => {
                self.close(1008, "inner_tls_failed");
            }
        }
        debug_assert!(
            self.poll_timeout() >= now,
            "a state never begins with its deadline over"
        );
    }

    fn handle_drain(&mut self, drain: &Drain) {
        if self.phase == Phase::Active {
            let [from, until] = drain.reconnect_after_ms.unwrap_or(DRAIN_WINDOW);
            let millis = |number: u32| Duration::from_millis(u64::from(number));
            self.commands.push_back(Command::Replace {
                from: millis(from.min(until)),
                until: millis(until),
            });
        }
    }

    fn send(&mut self, message: AgentMessage) {
        self.commands.push_back(Command::Send(message));
    }

    /// Nothing that was planned before may still happen after this.
    fn close(&mut self, code: u16, reason: &str) {
        self.phase = Phase::Closed;
        self.challenge = None;
        self.commands.push_back(Command::Close(Closing {
            code,
            reason: reason.to_owned(),
        }));
    }
}
