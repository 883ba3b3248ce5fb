//! From `register` to the plane's word: waiting for a slot, proving, joining.

use std::time::Duration;

use ee_protocol::{
    time::Timestamp,
    tunnel::{AttestResponse, InnerTlsMode, Register, StatusState},
};

use super::{
    Active, Admission, Attested, AttestedRegistration, ChallengeAnswer, ChallengeReason, Claimant,
    Command, Event, Holder, InnerTlsOutcome, NodeProof, Offer, Registration, Session,
    SessionRefusal, State, VerificationRequest,
    challenge::Challenge,
    line::{Answer, Due, Line},
    refusal,
};
use crate::attestation::{AttestationCode, Failure, Verdict};

mod unproven;

/// Longest wait of a registered socket for an attestation slot (TUNNEL 11).
const SLOT_WAIT_MAX: Duration = Duration::from_secs(300);
/// Longest inner TLS handshake (TUNNEL 3.1).
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the plane: it commits to the store before it answers.
const JOIN_WAIT_MAX: Duration = Duration::from_secs(60);
/// Time a living holder of the node id has to answer a ping (TUNNEL 2).
const HOLDER_WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Attesting {
    claimant: Claimant,
    phase: Phase,
    /// Idle without end until the first challenge.
    line: Line,
}

#[derive(Debug)]
enum Phase {
    WaitingForSlot {
        until: Timestamp,
    },
    Proving {
        handshake_until: Option<Timestamp>,
    },
    Joining {
        attested: Box<AttestedRegistration>,
        until: Timestamp,
    },
    AskingHolder {
        attested: Box<AttestedRegistration>,
        until: Timestamp,
    },
}

impl Attesting {
    pub(super) fn claimant(&self) -> &Claimant {
        &self.claimant
    }

    pub(super) fn timeout(&self) -> Timestamp {
        match &self.phase {
            Phase::WaitingForSlot { until }
            | Phase::Joining { until, .. }
            | Phase::AskingHolder { until, .. } => *until,
            Phase::Proving { handshake_until } => self
                .line
                .timeout()
                .min(handshake_until.unwrap_or(Timestamp::FAR_FUTURE)),
        }
    }

    pub(super) fn challenge_open(&self) -> bool {
        self.line.is_open()
    }

    /// Handshake bytes are legal from the first challenge on, if an inner TLS was agreed.
    pub(super) fn handshake_allowed(&self) -> bool {
        self.claimant.registration.inner_tls == InnerTlsMode::Required
            && !matches!(self.phase, Phase::WaitingForSlot { .. })
    }

    fn handshake_missing(&self) -> bool {
        self.claimant.registration.inner_tls == InnerTlsMode::Required
            && self.claimant.channel.is_none()
    }
}

impl Session {
    pub(super) fn register(&mut self, now: Timestamp, message: &Register) {
        let State::AwaitingRegister { .. } = self.state else {
            return self.refuse(SessionRefusal::AlreadyRegistered);
        };
        let mut registration = match Registration::parse(message) {
            Ok(registration) => registration,
            Err(refusal) => return self.refuse(refusal),
        };
        let terms = registration.agree(message, &self.policy);
        self.state = State::Attesting(Box::new(Attesting {
            claimant: Claimant {
                registration: registration.clone(),
                node_keys: Vec::new(),
                channel: None,
            },
            phase: Phase::WaitingForSlot {
                until: now.after(SLOT_WAIT_MAX),
            },
            line: Line::idle_until(Timestamp::FAR_FUTURE),
        }));
        match terms {
            Ok(()) => self.push(Command::AskChallenge(Box::new(registration))),
            Err(refusal) => self.refuse(refusal),
        }
    }

    pub(super) fn challenge_answer(&mut self, now: Timestamp, answer: ChallengeAnswer) {
        let State::Attesting(attesting) = &mut self.state else {
            return;
        };
        let Phase::WaitingForSlot { .. } = attesting.phase else {
            return;
        };
        let node_keys = match answer {
            ChallengeAnswer::Refused(refusal) => return self.refuse(refusal),
            ChallengeAnswer::Granted { node_keys } => node_keys,
        };
        attesting.claimant.node_keys = node_keys;
        let starts_tls = attesting.handshake_missing();
        let nonce = self.entropy.nonce();
        let reason = ChallengeReason::Register;
        let challenge = Challenge::new(nonce, reason, now, self.policy.attest_deadline());
        attesting.line.challenge(challenge);
        attesting.phase = Phase::Proving {
            handshake_until: None,
        };
        self.send_challenge(&nonce, reason, Offer::First);
        if starts_tls {
            self.push(Command::StartInnerTls);
        }
    }

    pub(super) fn challenge_sent(&mut self, now: Timestamp) {
        let answer_in = self.policy.attest_deadline();
        match &mut self.state {
            State::Attesting(attesting) => {
                let missing = attesting.handshake_missing();
                attesting.line.mark_sent(now, answer_in);
                if let Phase::Proving {
                    handshake_until: until @ None,
                } = &mut attesting.phase
                {
                    *until = missing.then(|| now.after(HANDSHAKE_MAX));
                }
            }
            State::Active(active) => active.line_mut().mark_sent(now, answer_in),
            State::AwaitingRegister { .. } | State::Closed => {}
        }
    }

    pub(super) fn inner_tls_outcome(&mut self, outcome: InnerTlsOutcome) {
        let State::Attesting(attesting) = &mut self.state else {
            return;
        };
        let InnerTlsOutcome::Established(channel) = outcome else {
            return self.refuse(SessionRefusal::InnerTlsFailed);
        };
        let usable = channel.exporter != [0; 32]
            && channel.control_spki == self.policy.control_key
            && attesting.handshake_missing();
        if !usable {
            return self.refuse(SessionRefusal::InnerTlsFailed);
        }
        attesting.claimant.channel = Some(channel);
        if let Phase::Proving {
            handshake_until, ..
        } = &mut attesting.phase
        {
            *handshake_until = None;
        }
    }

    pub(super) fn attest_response(&mut self, now: Timestamp, response: AttestResponse) {
        let (answer, missing) = match &mut self.state {
            State::Attesting(attesting) => {
                let missing = attesting.handshake_missing();
                (attesting.line.answer(now, &response), missing)
            }
            State::Active(active) => (active.line_mut().answer(now, &response), false),
            State::AwaitingRegister { .. } | State::Closed => (Answer::Unexpected, false),
        };
        match answer {
            Answer::Unexpected => self.refuse(SessionRefusal::UnexpectedAttestation),
            Answer::WrongNonce => self.refuse(refusal::nonce_mismatch()),
            Answer::FirstAgentError => {}
            Answer::RepeatedAgentError(word) => self.refuse(refusal::agent_error(&word)),
            Answer::Evidence { .. } if missing => self.refuse(SessionRefusal::InnerTlsFailed),
            Answer::Evidence { nonce, reason } => self.verify(now, nonce, reason, response),
        }
    }

    fn verify(
        &mut self,
        now: Timestamp,
        nonce: ee_protocol::report_data::Nonce,
        reason: ChallengeReason,
        response: AttestResponse,
    ) {
        let attested_before = match &self.state {
            State::Active(_) => Attested::Yes,
            State::AwaitingRegister { .. } | State::Attesting(_) | State::Closed => Attested::No,
        };
        let Some(claimant) = self.claimant() else {
            return;
        };
        let request = VerificationRequest {
            registration: claimant.registration.clone(),
            nonce,
            reason,
            binding: claimant.binding(),
            node_keys: claimant.node_keys.clone(),
            response,
            received_at: now,
            attested_before,
        };
        self.push(Command::Verify(Box::new(request)));
    }

    /// A verdict before the session was ever attested.
    pub(super) fn first_verdict(
        &mut self,
        now: Timestamp,
        nonce: &ee_protocol::report_data::Nonce,
        verdict: Verdict,
    ) {
        let State::Attesting(attesting) = &mut self.state else {
            return;
        };
        if attesting.line.appraising(nonce).is_none() {
            return;
        }
        match verdict {
            Verdict::Pass(result) => self.first_pass(now, *result),
            Verdict::Fail(failure) => self.refuse(failure.into()),
            Verdict::Indeterminate(failure) => {
                let proved = self.proved_by_token(&failure);
                self.unproven(now, failure, proved);
            }
        }
    }

    fn first_pass(&mut self, now: Timestamp, result: crate::attestation::AttestationResult) {
        let State::Attesting(attesting) = &mut self.state else {
            return;
        };
        let claimant = &attesting.claimant;
        let attested = AttestedRegistration {
            registration: claimant.registration.clone(),
            result,
            agent_key: claimant.channel.map(|channel| channel.agent_spki),
            node_proof: match claimant.node_keys.is_empty() {
                true => NodeProof::NotRegistered,
                false => NodeProof::Proved,
            },
            holder: Holder::NotAsked,
        };
        self.ask_to_join(now, attested);
    }

    fn ask_to_join(&mut self, now: Timestamp, attested: AttestedRegistration) {
        let State::Attesting(attesting) = &mut self.state else {
            return;
        };
        let attested = Box::new(attested);
        attesting.line.rest();
        attesting.phase = Phase::Joining {
            attested: attested.clone(),
            until: now.after(JOIN_WAIT_MAX),
        };
        self.known_to_plane = true;
        self.emit(Event::Attested(attested));
    }

    pub(super) fn admission(&mut self, now: Timestamp, admission: Admission) {
        let State::Attesting(attesting) = &mut self.state else {
            return;
        };
        let Phase::Joining { attested, .. } = &attesting.phase else {
            return;
        };
        match admission {
            Admission::Joined { expires_at } => self.joined(now, expires_at),
            Admission::HolderAsked => {
                let attested = attested.clone();
                let until = now.after(HOLDER_WAIT_MAX);
                attesting.phase = Phase::AskingHolder { attested, until };
            }
            Admission::Refused(refusal) => {
                self.known_to_plane = false;
                self.refuse(refusal);
            }
            Admission::Deferred(failure) => {
                self.known_to_plane = false;
                attesting.phase = Phase::Proving {
                    handshake_until: None,
                };
                let proved = self.proved_by_token(&failure);
                self.unproven(now, failure, proved);
            }
        }
    }

    fn joined(&mut self, now: Timestamp, expires_at: Timestamp) {
        let State::Attesting(attesting) = std::mem::replace(&mut self.state, State::Closed) else {
            unreachable!("only an attesting session joins");
        };
        let next = now.after(self.entropy.shorten(self.policy.attest_interval));
        let credits = attesting.claimant.registration.initial_credits();
        self.push(Command::OpenTraffic { credits });
        self.state = State::Active(Box::new(Active::new(
            attesting.claimant,
            &self.policy,
            now,
            next,
            expires_at,
        )));
        self.say(StatusState::Ok, "attested", Vec::new(), None);
    }

    pub(super) fn holder_alive(&mut self) {
        let State::Attesting(attesting) = &self.state else {
            return;
        };
        if matches!(
            attesting.phase,
            Phase::Joining { .. } | Phase::AskingHolder { .. }
        ) {
            self.refuse(SessionRefusal::NodeInUse);
        }
    }

    pub(super) fn attesting_deadline(&mut self, now: Timestamp) {
        let State::Attesting(attesting) = &mut self.state else {
            return;
        };
        match &mut attesting.phase {
            Phase::WaitingForSlot { .. } | Phase::Joining { .. } => {
                self.refuse(SessionRefusal::TooManyPending);
            }
            Phase::AskingHolder { attested, .. } => {
                let mut attested = (**attested).clone();
                attested.holder = Holder::Silent;
                self.ask_to_join(now, attested);
            }
            Phase::Proving { .. } => match attesting.line.due(now) {
                None => self.refuse(SessionRefusal::InnerTlsFailed),
                Some(Due::AnswerLate) => self.refuse(refusal::attestation_timeout()),
                Some(Due::VerdictLost) => {
                    self.unproven(now, Failure::new(AttestationCode::LogUnavailable), None);
                }
                Some(Due::Challenge(_)) => self.challenge_again(now),
            },
        }
    }

    fn challenge_again(&mut self, now: Timestamp) {
        let nonce = self.entropy.nonce();
        let reason = ChallengeReason::Register;
        let challenge = Challenge::new(nonce, reason, now, self.policy.attest_deadline());
        let State::Attesting(attesting) = &mut self.state else {
            return;
        };
        attesting.line.challenge(challenge);
        self.send_challenge(&nonce, reason, Offer::Made);
    }
}
