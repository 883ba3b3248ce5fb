//! A session whose first evidence could not be judged: it waits, and is asked again.

use ee_protocol::{time::Timestamp, tunnel::StatusState};

use crate::session::{ChallengeReason, Event, RefusedRegistration, Session, State};
use crate::{
    attestation::{AttestationCode, Failure},
    registry::ProvenNode,
};

impl Session {
    /// No verdict: the agent is told to wait and is challenged again. The plane hears of it once.
    pub(super) fn unproven(
        &mut self,
        now: Timestamp,
        failure: Failure,
        proved: Option<ProvenNode>,
    ) {
        let State::Attesting(attesting) = &mut self.state else {
            return;
        };
        let first = attesting.line.never_waited();
        let wait = attesting.line.wait(now, ChallengeReason::Register);
        let registration = attesting.claimant.registration.clone();
        self.say(
            StatusState::Pending,
            &failure.reason(),
            failure.refusals.clone(),
            Some(wait),
        );
        if first {
            let refusal = failure.clone().into();
            self.emit(Event::Refused(Box::new(RefusedRegistration {
                registration,
                refusal,
            })));
        }
        if let Some(node) = proved {
            self.known_to_plane = true;
            self.emit(Event::WaitingToJoin(node, failure));
        }
    }

    /// The node that a session proved to be although its evidence could not be judged: the check
    /// of the node token comes before everything that waits for others.
    pub(super) fn proved_by_token(&self, failure: &Failure) -> Option<ProvenNode> {
        let claimant = self.claimant()?;
        let proved = !claimant.node_keys.is_empty()
            && failure.code.stage() > AttestationCode::NodeTokenInvalid.stage();
        proved.then(|| ProvenNode::by_token(claimant.registration.node_id.clone()))
    }
}
