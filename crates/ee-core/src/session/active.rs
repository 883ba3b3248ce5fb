//! After `attested`: heartbeats, re-attestation, credits, the warning window, draining.

use ee_protocol::{
    report_data::Nonce,
    time::Timestamp,
    tunnel::{Credits, Health, InnerTlsMode, StatusState},
};

use super::{
    CLOSE_SERVER_DRAINS, CREDITS_MAX, ChallengeReason, Claimant, Command, Event, HealthWord,
    Heartbeat, Mux, Offer, Protection, Session, SessionRefusal, State,
    challenge::Challenge,
    line::{Due, Line},
    refusal,
};
use crate::{
    attestation::{AttestationCode, Failure, Verdict},
    policy::LivePolicy,
};

#[derive(Debug)]
pub(super) struct Active {
    claimant: Claimant,
    /// The one attestation timer of the session.
    line: Line,
    /// When silence becomes a miss; none after it did, until the next heartbeat.
    health_until: Option<Timestamp>,
    /// When to ask the agent to renew its registration; none once it was asked.
    warn_at: Option<Timestamp>,
    /// The plane wants to know whether the agent lives.
    life_asked: bool,
}

impl Active {
    pub(super) fn new(
        claimant: Claimant,
        policy: &LivePolicy,
        now: Timestamp,
        next_attest: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        Self {
            claimant,
            line: Line::idle_until(next_attest),
            health_until: Some(now.after(policy.health_timeout)),
            warn_at: Some(policy.warning_begins(expires_at)),
            life_asked: false,
        }
    }

    pub(super) fn claimant(&self) -> &Claimant {
        &self.claimant
    }

    pub(super) fn line_mut(&mut self) -> &mut Line {
        &mut self.line
    }

    pub(super) fn challenge_open(&self) -> bool {
        self.line.is_open()
    }

    pub(super) fn is_legacy(&self) -> bool {
        self.claimant.registration.mux == Mux::Legacy
    }

    pub(super) fn protection(&self) -> Protection {
        match self.claimant.registration.inner_tls {
            InnerTlsMode::Required => Protection::Mac,
            InnerTlsMode::Off => Protection::Plain,
        }
    }

    pub(super) fn timeout(&self) -> Timestamp {
        [self.health_until, self.warn_at]
            .into_iter()
            .flatten()
            .fold(self.line.timeout(), Ord::min)
    }
}

/// Whether `at` is set and has passed; if so it is cleared, so that it fires once.
fn take_due(at: &mut Option<Timestamp>, now: Timestamp) -> bool {
    at.take_if(|at| *at <= now).is_some()
}

impl Session {
    pub(super) fn health(&mut self, now: Timestamp, health: &Health) {
        let State::Active(active) = &mut self.state else {
            return self.refuse(SessionRefusal::NotRegistered);
        };
        active.health_until = Some(now.after(self.policy.health_timeout));
        let word = if health.passes() {
            HealthWord::Pass
        } else {
            HealthWord::Fail
        };
        let Health {
            status: _,
            inflight,
            load_permille,
        } = *health;
        self.emit(Event::Health(Heartbeat {
            word,
            inflight,
            load_permille,
        }));
    }

    pub(super) fn credits(&mut self, credits: Credits) {
        let State::Active(active) = &self.state else {
            return self.refuse(SessionRefusal::NotRegistered);
        };
        let most = match active.claimant.registration.mux {
            Mux::H2 => CREDITS_MAX,
            Mux::Legacy => crate::legacy::CREDITS,
        };
        let granted = credits.max_inflight.min(most);
        self.push(Command::SetCredits(granted));
        self.emit(Event::Credits(granted));
    }

    pub(super) fn agent_drain(&mut self) {
        let State::Active(_) = self.state else {
            return self.refuse(SessionRefusal::NotRegistered);
        };
        self.emit(Event::Draining);
    }

    /// The control plane shuts down: who serves finishes, who does not yet serve goes at once.
    pub(super) fn server_drain(&mut self) {
        match self.state {
            State::Active(_) => self.send_drain("restart"),
            State::AwaitingRegister { .. } | State::Attesting(_) => {
                self.close(CLOSE_SERVER_DRAINS, "restart");
            }
            State::Closed => {}
        }
    }

    pub(super) fn reattest(&mut self, now: Timestamp) {
        if let State::Active(active) = &mut self.state {
            active.line.policy_changed(now);
            self.apply_deadlines(now);
        }
    }

    pub(super) fn plane_asks_for_life(&mut self) {
        if let State::Active(active) = &mut self.state {
            active.life_asked = true;
            self.push(Command::Ping);
        }
    }

    pub(super) fn pong(&mut self) {
        if let State::Active(active) = &mut self.state
            && std::mem::take(&mut active.life_asked)
        {
            self.emit(Event::Alive);
        }
    }

    /// A verdict on a re-attestation.
    pub(super) fn later_verdict(&mut self, now: Timestamp, nonce: &Nonce, verdict: Verdict) {
        let State::Active(active) = &mut self.state else {
            return;
        };
        let Some(reason) = active.line.appraising(nonce) else {
            return;
        };
        match verdict {
            Verdict::Pass(result) => {
                let next = now.after(self.entropy.shorten(self.policy.attest_interval));
                active.line.passed(now, next);
                self.emit(Event::Reattested(result));
                self.say(StatusState::Ok, "attested", Vec::new(), None);
                self.apply_deadlines(now);
            }
            Verdict::Fail(failure) => self.refuse(failure.into()),
            Verdict::Indeterminate(failure) => self.unjudged(now, reason, failure),
        }
    }

    fn unjudged(&mut self, now: Timestamp, reason: ChallengeReason, failure: Failure) {
        let State::Active(active) = &mut self.state else {
            return;
        };
        let wait = active.line.wait(now, reason);
        self.say(
            StatusState::Pending,
            &failure.reason(),
            failure.refusals.clone(),
            Some(wait),
        );
        self.emit(Event::Waiting(failure));
    }

    pub(super) fn active_deadline(&mut self, now: Timestamp) {
        let State::Active(active) = &mut self.state else {
            return;
        };
        if take_due(&mut active.health_until, now) {
            self.emit(Event::HealthTimedOut);
            return;
        }
        if take_due(&mut active.warn_at, now) {
            self.send_drain("registration");
            return;
        }
        match active.line.due(now) {
            None => {}
            Some(Due::AnswerLate) => self.refuse(refusal::attestation_timeout()),
            Some(Due::VerdictLost) => {
                let reason = active.line.reason();
                self.unjudged(now, reason, Failure::new(AttestationCode::LogUnavailable));
            }
            Some(Due::Challenge(reason)) => {
                let nonce = self.entropy.nonce();
                let answer_in = self.policy.attest_deadline();
                active
                    .line
                    .challenge(Challenge::new(nonce, reason, now, answer_in));
                self.send_challenge(&nonce, reason, Offer::Made);
            }
        }
    }
}
