//! What sessions report after they joined, and what follows for their node.

use ee_core::{
    attestation::Failure,
    eligibility::assess,
    registry::TunnelId,
    session::{Event, HealthWord, Heartbeat, Order},
};
use ee_protocol::{
    names::{NodeId, ReleaseTag, Repo},
    time::Timestamp,
};

use super::{
    TunnelLink, sightings,
    writer::{Granted, Plane},
};
use crate::observation::Sighting;

impl<L: TunnelLink> Plane<L> {
    pub(super) fn event(&mut self, tunnel: TunnelId, event: Event, granted: &mut Granted<L>) {
        let now = self.clock.now();
        match event {
            Event::Refused(refused) => {
                let app = self.registry.app(&refused.registration.app_name);
                self.routes.refusals().record(now, &refused, app);
                self.note_gone(tunnel);
            }
            Event::Attested(_) => {
                tracing::error!(event = "unanswerable_attested", "attested() must be called");
            }
            Event::Reattested(result) => {
                if let Some(node) = self.registry.reattested(tunnel, (*result).clone()) {
                    granted.results.push((node.id.clone(), *result));
                    let app = node.app.clone();
                    self.stale.insert(app);
                    self.note_of(tunnel, Sighting::Reattested);
                }
            }
            Event::Failed(failure) => {
                self.note_failure(tunnel, now, &failure);
                if sightings::is_rejection(&failure) {
                    self.note_of(tunnel, Sighting::Rejected);
                }
                let node = self
                    .registry
                    .failed(tunnel, now, &failure)
                    .map(|node| node.id.clone());
                self.reconsider(node, now);
            }
            Event::Waiting(failure) => {
                let dependency = sightings::dependency(failure.code);
                self.note_of(tunnel, |node| Sighting::Waits(node, dependency));
                let node = self.registry.waiting(tunnel).map(|node| node.id.clone());
                self.reconsider(node, now);
            }
            Event::WaitingToJoin(node, failure) => self.note_unjoined(tunnel, node, &failure),
            Event::Health(heartbeat) => self.heartbeat(tunnel, now, heartbeat),
            Event::HealthTimedOut => {
                let node = self
                    .registry
                    .tunnel(tunnel)
                    .map(|tunnel| tunnel.node.clone());
                self.reconsider(node, now);
            }
            Event::Credits(credits) => self.credits(tunnel, credits),
            Event::Draining => self.draining(tunnel, now),
            Event::Alive => {
                if let Some(node) = self
                    .registry
                    .tunnel(tunnel)
                    .map(|tunnel| tunnel.node.clone())
                {
                    self.holder_lives(&node, None);
                }
            }
            Event::Closed => self.closed(tunnel, now),
        }
    }

    fn note_failure(&self, tunnel: TunnelId, now: Timestamp, failure: &Failure) {
        let node = self
            .registry
            .tunnel(tunnel)
            .and_then(|t| self.registry.node(&t.node));
        let Some(node) = node else {
            return;
        };
        tracing::warn!(event = "attestation_failed", node = %node.id, reason = failure.reason());
        if let Some(app) = self.registry.app(&node.app) {
            self.routes
                .refusals()
                .record_failed(now, app, node, failure);
        }
    }

    fn heartbeat(&mut self, tunnel: TunnelId, now: Timestamp, heartbeat: Heartbeat) {
        let sighting = match heartbeat.word {
            HealthWord::Pass => Sighting::Passed,
            HealthWord::Fail => Sighting::Failed,
        };
        self.note_of(tunnel, sighting);
        let Some(node) = self.registry.heartbeat(tunnel, now, heartbeat) else {
            return;
        };
        let id = node.id.clone();
        if node.last_health_at == Some(now) {
            self.beats.insert(id.clone(), now);
        }
        if let (Ok(eligible), true) = (
            assess(node, &self.policy, now).eligible(),
            self.in_pool.contains(&id),
        ) {
            if let Some(cell) = self.nodes.get(&id) {
                cell.open(&eligible);
            }
            return;
        }
        self.reconsider(Some(id), now);
    }

    fn credits(&mut self, tunnel: TunnelId, credits: u32) {
        let draining = self
            .registry
            .tunnel(tunnel)
            .is_some_and(|tunnel| tunnel.draining);
        if draining || self.registry.credits(tunnel, credits).is_none() {
            return;
        }
        if let Some(live) = self.tunnels.get(&tunnel) {
            live.cell.grant(credits);
        }
    }

    fn draining(&mut self, tunnel: TunnelId, now: Timestamp) {
        if let Some(live) = self.tunnels.get(&tunnel) {
            live.cell.grant(0);
        }
        let node = self.registry.draining(tunnel).map(|node| node.id.clone());
        self.reconsider(node, now);
    }

    fn closed(&mut self, tunnel: TunnelId, now: Timestamp) {
        if let Some(live) = self.tunnels.remove(&tunnel) {
            live.cell.grant(0);
        }
        for newcomers in self.waiting.values_mut() {
            newcomers.remove(&tunnel);
        }
        self.waiting.retain(|_, newcomers| !newcomers.is_empty());
        self.note_gone(tunnel);
        let proven = self.registry.proven(tunnel);
        let node = self.registry.closed(tunnel).map(|node| node.id.clone());
        self.note_left(proven);
        self.reconsider(node, now);
    }

    /// Something about a node changed: a closed gate acts at once, readers see the rest at the
    /// end of the batch.
    pub(super) fn reconsider(&mut self, node: Option<NodeId>, now: Timestamp) {
        let Some(node) = node.and_then(|id| self.registry.node(&id)) else {
            return;
        };
        if assess(node, &self.policy, now).eligible().is_err()
            && let Some(cell) = self.nodes.get(&node.id)
        {
            cell.close();
        }
        self.stale.insert(node.app.clone());
    }

    pub(super) fn reattest(&self, repo: &Repo, tag: &ReleaseTag) {
        let apps = self
            .registry
            .apps()
            .filter(|app| app.repo.key() == repo.key());
        let nodes = apps.flat_map(|app| self.registry.nodes_of(&app.name));
        for node in nodes.filter(|node| node.release_tag == *tag) {
            self.reattest_node(&node.id);
        }
    }

    pub(super) fn reattest_node(&self, node: &NodeId) {
        for (id, _) in self.registry.tunnels_of(node) {
            if let Some(live) = self.tunnels.get(&id) {
                live.link.order(Order::Reattest);
            }
        }
    }
}
