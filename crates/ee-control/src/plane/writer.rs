//! The writer itself: takes messages in batches, decides, persists, publishes, answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ee_core::{
    attestation::AttestationResult,
    eligibility::assess,
    policy::LivePolicy,
    registry::{Decision, Grant, Node, Registry, TunnelId},
    routing::{NodeCell, Slot, TunnelCell},
    session::{
        Admission, ChallengeAnswer, Event, Heartbeat, Order, Registration, SessionRefusal,
    },
};
use ee_protocol::{
    names::{AppName, NodeId, ReleaseTag, Repo},
    time::Timestamp,
};
use ee_store::Store;
use futures_util::future::{join, join_all};
use tokio::sync::{mpsc, oneshot};

use super::{Join, Message, TunnelLink, gone, rows};
use crate::{
    ports::Clock,
    routes::{AppEntry, NodeEntry, Routes},
};

/// Messages taken at once: enough that a storm of joins shares one commit, few enough that a
/// closing gate waits for no more than one batch.
const BATCH_MAX: usize = 256;
/// How often heartbeats are kept: they serve display and the first minutes after a restart, so
/// losing half a minute of them costs nothing.
const HEALTH_KEPT_EVERY: Duration = Duration::from_secs(30);

/// The single writer of the live half.
pub struct Plane<L> {
    registry: Registry,
    store: Store,
    policy: Arc<LivePolicy>,
    clock: Arc<dyn Clock>,
    routes: Arc<Routes<L>>,
    receiver: mpsc::Receiver<Message<L>>,
    nodes: BTreeMap<NodeId, Arc<NodeCell>>,
    tunnels: BTreeMap<TunnelId, LiveTunnel<L>>,
    /// Nodes with slots in their app's published pool.
    in_pool: BTreeSet<NodeId>,
    /// Newcomers that wait for a holder's sign of life.
    waiting: BTreeMap<NodeId, BTreeMap<TunnelId, L>>,
    /// Apps to publish at the end of the batch.
    stale: BTreeSet<AppName>,
    /// Nodes whose rows have to go.
    removed: BTreeSet<NodeId>,
    beats: BTreeMap<NodeId, Timestamp>,
    beats_kept_at: Timestamp,
}

struct LiveTunnel<L> {
    link: L,
    cell: Arc<TunnelCell>,
}

/// Joins of one batch that were granted and are not durable yet.
struct Granted<L> {
    joins: Vec<(Join<L>, Box<Grant>)>,
    results: Vec<(NodeId, AttestationResult)>,
}

impl<L: TunnelLink> Plane<L> {
    pub(super) fn new(
        registry: Registry,
        store: Store,
        policy: Arc<LivePolicy>,
        clock: Arc<dyn Clock>,
        routes: Arc<Routes<L>>,
        receiver: mpsc::Receiver<Message<L>>,
    ) -> Self {
        let mut plane = Self {
            registry,
            store,
            policy,
            clock,
            routes,
            receiver,
            nodes: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            in_pool: BTreeSet::new(),
            waiting: BTreeMap::new(),
            stale: BTreeSet::new(),
            removed: BTreeSet::new(),
            beats: BTreeMap::new(),
            beats_kept_at: Timestamp::EPOCH,
        };
        plane.stale = plane.registry.apps().map(|app| app.name.clone()).collect();
        plane.publish();
        plane
    }

    /// Works until every handle is gone.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.receiver.recv_many(&mut batch, BATCH_MAX).await > 0 {
            self.work(&mut batch).await;
        }
    }

    /// One batch. Messages keep their order: what touches a join that is not durable yet waits
    /// for its commit.
    async fn work(&mut self, batch: &mut Vec<Message<L>>) {
        let mut granted = Granted { joins: Vec::new(), results: Vec::new() };
        for message in batch.drain(..) {
            if granted.is_touched_by(&message) {
                self.commit(&mut granted).await;
            }
            self.take(message, &mut granted);
        }
        self.commit(&mut granted).await;
        self.keep_beats().await;
    }

    fn take(&mut self, message: Message<L>, granted: &mut Granted<L>) {
        match message {
            Message::AskChallenge(registration, reply) => self.precheck(&registration, reply),
            Message::Attested(join) => self.decide(join, granted),
            Message::Event(tunnel, event) => self.event(tunnel, event, granted),
            Message::NodeKeys(node, keys) => self.registry.set_node_keys(node, keys),
            Message::Reattest(repo, tag) => self.reattest(&repo, &tag),
            Message::OrderAll(order) => {
                for tunnel in self.tunnels.values() {
                    tunnel.link.order(order.clone());
                }
            }
        }
    }

    fn precheck(&self, registration: &Registration, reply: oneshot::Sender<ChallengeAnswer>) {
        let answer = match self.registry.precheck(registration) {
            Some(refusal) => ChallengeAnswer::Refused(refusal),
            None => ChallengeAnswer::Granted {
                node_keys: self.registry.node_keys(&registration.node_id).to_vec(),
            },
        };
        let _session_gone = reply.send(answer).is_err();
    }

    fn decide(&mut self, join: Join<L>, granted: &mut Granted<L>) {
        let now = self.clock.now();
        match self.registry.decide(&join.attested, &self.policy, now) {
            Decision::Join(grant) => granted.joins.push((join, grant)),
            Decision::Refuse(refusal) => answer(join.reply, Admission::Refused(refusal)),
            Decision::AskHolder(tunnels) => self.ask_holder(join, &tunnels),
        }
    }

    fn ask_holder(&mut self, join: Join<L>, holders: &[TunnelId]) {
        for holder in holders.iter().filter_map(|id| self.tunnels.get(id)) {
            holder.link.order(Order::Ping);
        }
        let node = join.attested.registration.node_id.clone();
        self.waiting.entry(node).or_default().insert(join.tunnel, join.link);
        answer(join.reply, Admission::HolderAsked);
    }

    /// Makes granted joins durable together, then applies, publishes and answers them.
    async fn commit(&mut self, granted: &mut Granted<L>) {
        let Granted { joins, results } =
            std::mem::replace(granted, Granted { joins: Vec::new(), results: Vec::new() });
        let kept = results.into_iter().map(|(node, result)| self.store.save_attestation(node, result));
        let saved = joins.iter().map(|(_, grant)| {
            self.store.save_registration(rows::app_row(&grant.app), rows::node_row(&grant.node))
        });
        let (kept, saved) = join(join_all(kept), join_all(saved)).await;
        for error in kept.into_iter().filter_map(Result::err) {
            tracing::error!(event = "attestation_not_kept", %error);
        }
        let mut answers = Vec::new();
        for ((join, grant), outcome) in joins.into_iter().zip(saved) {
            match outcome {
                Ok(()) => answers.push(self.join(join, *grant)),
                Err(error) => {
                    tracing::error!(event = "registration_not_kept", %error);
                    answer(join.reply, Admission::Deferred(gone()));
                }
            }
        }
        self.forget_removed().await;
        self.publish();
        for (reply, admission) in answers {
            answer(reply, admission);
        }
    }
}

impl<L> Granted<L> {
    /// Whether a message must not overtake these joins: it is about the same tunnel, node or app,
    /// or about all of them.
    fn is_touched_by(&self, message: &Message<L>) -> bool {
        if self.joins.is_empty() {
            return false;
        }
        match message {
            Message::AskChallenge(..) => false,
            Message::Event(tunnel, _) => self.joins.iter().any(|(join, _)| join.tunnel == *tunnel),
            Message::Attested(new) => {
                let new = &new.attested.registration;
                self.joins.iter().any(|(join, _)| {
                    let old = &join.attested.registration;
                    old.app_name == new.app_name || old.node_id == new.node_id
                })
            }
            Message::NodeKeys(..) | Message::Reattest(..) | Message::OrderAll(_) => true,
        }
    }
}

fn closed_cell() -> Arc<NodeCell> {
    Arc::new(NodeCell::closed())
}

fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _session_gone = reply.send(value).is_err();
}

impl<L: TunnelLink> Plane<L> {
    /// Carries out a join that is durable; its answer goes out after the publication.
    fn join(&mut self, join: Join<L>, grant: Grant) -> (oneshot::Sender<Admission>, Admission) {
        let Join { tunnel, link, attested, reply } = join;
        let now = self.clock.now();
        let (node, app) = (grant.node.id.clone(), grant.node.app.clone());
        tracing::info!(event = "joined", %app, %node, network = %grant.node.network);
        for gone in &grant.replaced {
            self.close(*gone, SessionRefusal::Replaced);
        }
        for gone in &grant.evicted {
            self.close(*gone, SessionRefusal::AppBoundToOtherNetwork);
        }
        for gone in &grant.removed_nodes {
            self.drop_node(gone);
        }
        self.stale.insert(app);
        self.stale.extend(grant.left_app.clone());
        let expires_at = grant.node.expires_at;
        let cell = Arc::new(TunnelCell::new(attested.registration.initial_credits()));
        self.registry.apply(tunnel, grant);
        self.tunnels.insert(tunnel, LiveTunnel { link, cell });
        self.beats.insert(node.clone(), now);
        self.holder_lives(&node, Some(tunnel));
        (reply, Admission::Joined { expires_at })
    }

    fn drop_node(&mut self, node: &NodeId) {
        if let Some(cell) = self.nodes.remove(node) {
            cell.close();
        }
        self.in_pool.remove(node);
        self.removed.insert(node.clone());
    }

    /// A session has to end; its tunnel takes no request from now on.
    fn close(&mut self, tunnel: TunnelId, refusal: SessionRefusal) {
        if let Some(LiveTunnel { link, cell }) = self.tunnels.remove(&tunnel) {
            cell.grant(0);
            link.order(Order::Close(refusal));
        }
    }

    /// Refuses everybody else who waits for this node's holder to be silent.
    fn holder_lives(&mut self, node: &NodeId, newcomer: Option<TunnelId>) {
        for (tunnel, link) in self.waiting.remove(node).into_iter().flatten() {
            if Some(tunnel) != newcomer {
                link.order(Order::HolderAlive);
            }
        }
    }

    fn event(&mut self, tunnel: TunnelId, event: Event, granted: &mut Granted<L>) {
        let now = self.clock.now();
        match event {
            Event::Refused(refused) => self.routes.refusals().record(now, &refused),
            Event::Attested(_) => {
                tracing::error!(event = "unanswerable_attested", "attested() must be called");
            }
            Event::Reattested(result) => {
                if let Some(node) = self.registry.reattested(tunnel, (*result).clone()) {
                    granted.results.push((node.id.clone(), *result));
                    let app = node.app.clone();
                    self.stale.insert(app);
                }
            }
            Event::Failed(failure) => {
                self.note_failure(tunnel, now, &failure);
                let node = self.registry.failed(tunnel, now, &failure).map(|node| node.id.clone());
                self.reconsider(node, now);
            }
            Event::Waiting(_) => {
                let node = self.registry.waiting(tunnel).map(|node| node.id.clone());
                self.reconsider(node, now);
            }
            Event::Health(heartbeat) => self.heartbeat(tunnel, now, heartbeat),
            Event::HealthTimedOut => {
                let node = self.registry.tunnel(tunnel).map(|tunnel| tunnel.node.clone());
                self.reconsider(node, now);
            }
            Event::Credits(credits) => self.credits(tunnel, credits),
            Event::Draining => self.draining(tunnel, now),
            Event::Alive => {
                if let Some(node) = self.registry.tunnel(tunnel).map(|tunnel| tunnel.node.clone()) {
                    self.holder_lives(&node, None);
                }
            }
            Event::Closed => self.closed(tunnel, now),
        }
    }

    fn note_failure(
        &self,
        tunnel: TunnelId,
        now: Timestamp,
        failure: &ee_core::attestation::Failure,
    ) {
        let node = self.registry.tunnel(tunnel).and_then(|t| self.registry.node(&t.node));
        let Some(node) = node else {
            return;
        };
        tracing::warn!(event = "attestation_failed", node = %node.id, reason = failure.reason());
        if let Some(app) = self.registry.app(&node.app) {
            self.routes.refusals().record_failed(now, app, node, failure);
        }
    }

    fn heartbeat(&mut self, tunnel: TunnelId, now: Timestamp, heartbeat: Heartbeat) {
        let Some(node) = self.registry.heartbeat(tunnel, now, heartbeat) else {
            return;
        };
        let id = node.id.clone();
        if node.last_health_at == Some(now) {
            self.beats.insert(id.clone(), now);
        }
        if let (Ok(eligible), true) =
            (assess(node, &self.policy, now).eligible(), self.in_pool.contains(&id))
        {
            if let Some(cell) = self.nodes.get(&id) {
                cell.open(&eligible);
            }
            return;
        }
        self.reconsider(Some(id), now);
    }

    fn credits(&mut self, tunnel: TunnelId, credits: u32) {
        let draining = self.registry.tunnel(tunnel).is_some_and(|tunnel| tunnel.draining);
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
        let node = self.registry.closed(tunnel).map(|node| node.id.clone());
        self.reconsider(node, now);
    }

    /// Something about a node changed: a closed gate acts at once, readers see the rest at the
    /// end of the batch.
    fn reconsider(&mut self, node: Option<NodeId>, now: Timestamp) {
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

    fn reattest(&self, repo: &Repo, tag: &ReleaseTag) {
        let apps = self.registry.apps().filter(|app| app.repo.key() == repo.key());
        let nodes = apps.flat_map(|app| self.registry.nodes_of(&app.name));
        for node in nodes.filter(|node| node.release_tag == *tag) {
            for (id, _) in self.registry.tunnels_of(&node.id) {
                if let Some(live) = self.tunnels.get(&id) {
                    live.link.order(Order::Reattest);
                }
            }
        }
    }

    /// Publishes every app that changed.
    fn publish(&mut self) {
        let now = self.clock.now();
        for name in std::mem::take(&mut self.stale) {
            if let Some(entry) = self.entry(&name, now) {
                self.routes.publish(entry);
            }
        }
    }

    fn entry(&mut self, name: &AppName, now: Timestamp) -> Option<AppEntry<L>> {
        let app = self.registry.app(name)?.clone();
        let nodes: Vec<Node> = self.registry.nodes_of(name).cloned().collect();
        let mut entries = Vec::with_capacity(nodes.len());
        let mut slots = Vec::new();
        for node in nodes {
            let cell = self.nodes.entry(node.id.clone()).or_insert_with(closed_cell).clone();
            slots.extend(self.slots(&node, &cell, now));
            let tunnels = self.registry.tunnels_of(&node.id);
            let tunnels = tunnels.filter_map(|(id, _)| self.tunnels.get(&id));
            let tunnels = tunnels.map(|live| Arc::clone(&live.cell)).collect();
            entries.push(NodeEntry::new(node, cell, tunnels));
        }
        Some(AppEntry { app, nodes: entries, pool: slots.into_iter().collect() })
    }

    /// The slots of a node: none unless it is eligible.
    fn slots(&mut self, node: &Node, cell: &Arc<NodeCell>, now: Timestamp) -> Vec<Slot<L>> {
        let Ok(eligible) = assess(node, &self.policy, now).eligible() else {
            cell.close();
            self.in_pool.remove(&node.id);
            return Vec::new();
        };
        cell.open(&eligible);
        self.in_pool.insert(node.id.clone());
        let open = self.registry.tunnels_of(&node.id).filter(|(_, tunnel)| !tunnel.draining);
        let live = open.filter_map(|(id, _)| self.tunnels.get(&id).map(|live| (id, live)));
        live.map(|(id, live)| {
            let (node_cell, cell) = (Arc::clone(cell), Arc::clone(&live.cell));
            Slot::new(&eligible, node_cell, id, cell, live.link.clone())
        })
        .collect()
    }

    async fn forget_removed(&mut self) {
        let removed: Vec<NodeId> = std::mem::take(&mut self.removed).into_iter().collect();
        if removed.is_empty() {
            return;
        }
        if let Err(error) = self.store.remove_nodes(removed).await {
            tracing::error!(event = "nodes_not_removed", %error);
        }
    }

    async fn keep_beats(&mut self) {
        let now = self.clock.now();
        if self.beats.is_empty() || now.since(self.beats_kept_at) < HEALTH_KEPT_EVERY {
            return;
        }
        self.beats_kept_at = now;
        let beats = std::mem::take(&mut self.beats).into_iter().collect();
        if let Err(error) = self.store.save_health(beats).await {
            tracing::warn!(event = "heartbeats_not_kept", %error);
        }
    }
}
