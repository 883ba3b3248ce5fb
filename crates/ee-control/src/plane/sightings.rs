//! What the plane notes for the books: of nodes that proved who they are, and of nobody else.

use ee_core::{
    attestation::{AttestationCode, Blame, Failure},
    books::command::NodeSeen,
    facts::Dependency,
    observer::{DependencyState, FirstPass},
    registry::{Grant, ProvenNode, TunnelId},
    session::AttestedRegistration,
};
use tokio::sync::oneshot;

use super::{TunnelLink, writer::Plane};
use crate::observation::Sighting;

/// What a join tells: how the node began, and what is to be known of it.
pub(super) fn joined(grant: &Grant, attested: &AttestedRegistration) -> (FirstPass, Box<NodeSeen>) {
    let node = &grant.node;
    let first = match node.last_health_at == Some(node.registered_at) {
        true => FirstPass::Health,
        false => FirstPass::AttestationOnly,
    };
    let seen = NodeSeen {
        node: node.id.clone(),
        network: node.network,
        vcpus: attested.registration.vcpus,
        platform: attested.result.platform,
        expires_at: node.expires_at,
    };
    (first, Box::new(seen))
}

/// Whether a failed attestation is refused evidence. Silence is none: the last pass runs out, and
/// until then the agent may come back. Neither is what the release says: its author is the user,
/// who must not be able to fail the node that he pays.
pub(super) const fn is_rejection(failure: &Failure) -> bool {
    let is_silence = matches!(
        failure.code,
        AttestationCode::AttestationTimeout | AttestationCode::AgentError
    );
    match failure.code.blame() {
        Blame::Agent | Blame::Platform => !is_silence,
        Blame::Release | Blame::Us => false,
    }
}

/// What a verdict waits for.
pub(super) fn dependency(code: AttestationCode) -> Dependency {
    match code.stage() {
        5 => Dependency::Github,
        7 if code != AttestationCode::ClockUntrusted => Dependency::Pccs,
        _ => Dependency::Admission,
    }
}

impl<L: TunnelLink> Plane<L> {
    pub(super) fn note(&self, sighting: Sighting) {
        if let Some(observer) = &self.observer {
            observer.note(self.clock.now(), sighting);
        }
    }

    /// Notes something of a tunnel's node, if the tunnel joined and was not superseded.
    pub(super) fn note_of(&self, tunnel: TunnelId, sighting: impl FnOnce(ProvenNode) -> Sighting) {
        if let Some(node) = self.registry.proven(tunnel) {
            self.note(sighting(node));
        }
    }

    pub(super) fn note_joined(
        &mut self,
        tunnel: TunnelId,
        (first, seen): (FirstPass, Box<NodeSeen>),
    ) {
        self.unjoined.remove(&tunnel);
        self.note_of(tunnel, |node| Sighting::Joined(node, first, seen));
    }

    /// A node is back and waits for its first verdict.
    pub(super) fn note_unjoined(&mut self, tunnel: TunnelId, node: ProvenNode, failure: &Failure) {
        self.note(Sighting::Waits(node.clone(), dependency(failure.code)));
        self.unjoined.insert(tunnel, node);
    }

    /// A session that waited to join gave up, or was refused.
    pub(super) fn note_gone(&mut self, tunnel: TunnelId) {
        let node = self.unjoined.remove(&tunnel);
        self.note_left(node);
    }

    /// A session of a node ended; the node has left if no other is open or waits.
    pub(super) fn note_left(&self, node: Option<ProvenNode>) {
        let Some(node) = node else {
            return;
        };
        let is_open = self.registry.tunnels_of(node.id()).next().is_some();
        if !is_open && !self.unjoined.values().any(|other| *other == node) {
            self.note(Sighting::Left(node));
        }
    }

    pub(super) fn beat(&self, dependencies: Vec<(Dependency, DependencyState)>) {
        for (dependency, state) in dependencies {
            self.note(Sighting::Dependency(dependency, state));
        }
        self.note(Sighting::Beat);
    }

    pub(super) fn stop_observing(&self, reply: oneshot::Sender<()>) {
        self.note(Sighting::Stopped(reply));
    }
}
