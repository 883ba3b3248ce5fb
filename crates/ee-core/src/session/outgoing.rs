//! What leaves a session: statuses, challenges, events, the close.

use std::time::Duration;

use ee_protocol::{
    refusal::Refusal,
    report_data::Nonce,
    tunnel::{AttestRequest, ControlMessage, Drain, Status, StatusState, TunnelOffer},
};

use super::{
    ChallengeReason, Close, Command, Event, Mux, Outgoing, RefusedRegistration, Session,
    SessionRefusal, State, TEXT_CHALLENGED_MAX_BYTES, Then,
};

/// RFC 6455 5.5: a close frame's payload is at most 125 bytes, two of them the code.
const CLOSE_REASON_MAX_BYTES: usize = 123;
/// The window over which drained agents reconnect (TUNNEL 11).
const RECONNECT_WINDOW_MS: [u32; 2] = [0, 15_000];

/// Whether the terms of the tunnel still have to be offered with the challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    First,
    Made,
}

impl Session {
    /// Says no, and does what follows.
    pub(super) fn refuse(&mut self, refusal: SessionRefusal) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.say(
            StatusState::Invalid,
            &refusal.reason(),
            refusal.explain(),
            None,
        );
        let Then::Close(code) = refusal.then() else {
            return;
        };
        let reason = refusal.reason();
        self.report(refusal);
        self.close(code, &reason);
    }

    /// Tells the plane of a refusal that ends the session.
    pub(super) fn report(&mut self, refusal: SessionRefusal) {
        match (&self.state, refusal) {
            (State::Attesting(attesting), refusal) => {
                let registration = attesting.claimant().registration.clone();
                let refused = RefusedRegistration {
                    registration,
                    refusal,
                };
                self.emit(Event::Refused(Box::new(refused)));
            }
            (State::Active(_), SessionRefusal::Evidence(failure)) => {
                self.emit(Event::Failed(*failure));
            }
            (State::Active(_) | State::AwaitingRegister { .. } | State::Closed, _) => {}
        }
    }

    pub(super) fn close(&mut self, code: u16, reason: &str) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.end();
        let mut end = reason.len().min(CLOSE_REASON_MAX_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.push(Command::Close(Close {
            code,
            reason: reason[..end].to_owned(),
        }));
    }

    pub(super) fn end(&mut self) {
        self.state = State::Closed;
        if std::mem::take(&mut self.known_to_plane) {
            self.emit(Event::Closed);
        }
    }

    pub(super) fn say(
        &mut self,
        state: StatusState,
        reason: &str,
        detail: Vec<Refusal>,
        retry_after: Option<Duration>,
    ) {
        let retry_after_ms =
            retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let status = Status {
            state,
            reason: reason.to_owned(),
            detail,
            retry_after_ms,
        };
        self.send(ControlMessage::Status(status));
    }

    pub(super) fn send(&mut self, message: ControlMessage) {
        let protection = self.protection();
        self.push(Command::Send(Outgoing {
            message,
            protection,
        }));
    }

    pub(super) fn send_drain(&mut self, reason: &str) {
        self.send(ControlMessage::Drain(Drain {
            reason: reason.to_owned(),
            reconnect_after_ms: Some(RECONNECT_WINDOW_MS),
        }));
    }

    pub(super) fn send_challenge(&mut self, nonce: &Nonce, reason: ChallengeReason, first: Offer) {
        let Some(claimant) = self.claimant() else {
            return;
        };
        let tunnel = match (first, claimant.registration.mux) {
            (Offer::Made, _) | (Offer::First, Mux::Legacy) => None,
            (Offer::First, Mux::H2) => Some(TunnelOffer {
                version: 2,
                mux: "h2".to_owned(),
                inner_tls: claimant.registration.inner_tls,
                epochs: claimant.registration.epochs,
                max_text: u32::try_from(TEXT_CHALLENGED_MAX_BYTES).expect("2 MiB fit"),
                peers: Vec::new(),
            }),
        };
        let message = ControlMessage::AttestRequest(AttestRequest {
            nonce: hex::encode(nonce),
            deadline_s: self.policy.attest_deadline_s,
            reason: reason.as_str().to_owned(),
            v: Some(2),
            binding: Some(claimant.binding_word().to_owned()),
            cp_key: Some(hex::encode(self.policy.control_key)),
            tunnel,
        });
        let protection = self.protection();
        self.push(Command::Challenge(Outgoing {
            message,
            protection,
        }));
    }

    pub(super) fn emit(&mut self, event: Event) {
        self.push(Command::Emit(event));
    }

    pub(super) fn push(&mut self, command: Command) {
        self.commands.push_back(command);
    }
}
