//! The writer itself: takes messages in batches, decides, persists, publishes, answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ee_core::{
    attestation::AttestationResult,
    policy::LivePolicy,
    registry::{Decision, Grant, ProvenNode, Registry, TunnelId},
    routing::{NodeCell, TunnelCell},
    session::{Admission, ChallengeAnswer, Order, Registration, SessionRefusal},
};
use ee_protocol::{
    names::{AppName, NodeId},
    time::Timestamp,
};
use ee_store::Store;
use futures_util::future::{join, join_all};
use tokio::sync::{mpsc, oneshot};

use super::{Gates, Join, Message, TunnelLink, gone, rows, sightings};
use crate::{
    observation::{ObserverHandle, Sighting},
    ports::Clock,
    routes::Routes,
};

/// Messages taken at once: enough that a storm of joins shares one commit, few enough that a
/// closing gate waits for no more than one batch.
const BATCH_MAX: usize = 256;
/// How often heartbeats are kept: they serve display and the first minutes after a restart, so
/// losing half a minute of them costs nothing.
const HEALTH_KEPT_EVERY: Duration = Duration::from_secs(30);

/// The single writer of the live half.
pub struct Plane<L> {
    pub(super) registry: Registry,
    pub(super) store: Store,
    pub(super) policy: Arc<LivePolicy>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) routes: Arc<Routes<L>>,
    pub(super) receiver: mpsc::Receiver<Message<L>>,
    pub(super) nodes: BTreeMap<NodeId, Arc<NodeCell>>,
    pub(super) tunnels: BTreeMap<TunnelId, LiveTunnel<L>>,
    /// Nodes with slots in their app's published pool.
    pub(super) in_pool: BTreeSet<NodeId>,
    /// Newcomers that wait for a holder's sign of life.
    pub(super) waiting: BTreeMap<NodeId, BTreeMap<TunnelId, L>>,
    /// Apps to publish at the end of the batch.
    pub(super) stale: BTreeSet<AppName>,
    /// Nodes whose rows have to go.
    pub(super) removed: BTreeSet<NodeId>,
    pub(super) beats: BTreeMap<NodeId, Timestamp>,
    pub(super) beats_kept_at: Timestamp,
    pub(super) observer: Option<ObserverHandle>,
    /// What the books say of apps and nodes.
    pub(super) gates: Gates,
    /// Sessions that proved a node's token and wait for their first verdict.
    pub(super) unjoined: BTreeMap<TunnelId, ProvenNode>,
}

pub(super) struct LiveTunnel<L> {
    pub(super) link: L,
    pub(super) cell: Arc<TunnelCell>,
    pub(super) joined_at: Timestamp,
}

/// Joins of one batch that were granted and are not durable yet.
pub(super) struct Granted<L> {
    pub(super) joins: Vec<(Join<L>, Box<Grant>)>,
    pub(super) results: Vec<(NodeId, AttestationResult)>,
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
            observer: None,
            unjoined: BTreeMap::new(),
            gates: Gates::default(),
        };
        plane.stale = plane.registry.apps().map(|app| app.name.clone()).collect();
        plane.publish();
        plane
    }

    /// Notes what happens to nodes, for the books.
    #[must_use]
    pub fn observed_by(mut self, observer: ObserverHandle) -> Self {
        self.observer = Some(observer);
        self
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
        let mut granted = Granted {
            joins: Vec::new(),
            results: Vec::new(),
        };
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
            Message::ReattestNode(node) => self.reattest_node(&node),
            Message::Gates(gates) => self.gate(gates),
            Message::Beat(dependencies) => self.beat(dependencies),
            Message::StopObserving(reply) => self.stop_observing(reply),
            Message::OrderAll(order) => {
                if order == Order::Drain {
                    self.note(Sighting::Drained);
                }
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
        self.waiting
            .entry(node)
            .or_default()
            .insert(join.tunnel, join.link);
        answer(join.reply, Admission::HolderAsked);
    }

    /// Makes granted joins durable together, then applies, publishes and answers them.
    async fn commit(&mut self, granted: &mut Granted<L>) {
        let Granted { joins, results } = std::mem::replace(
            granted,
            Granted {
                joins: Vec::new(),
                results: Vec::new(),
            },
        );
        let kept = results
            .into_iter()
            .map(|(node, result)| self.store.save_attestation(node, result));
        let saved = joins.iter().map(|(_, grant)| {
            self.store
                .save_registration(rows::app_row(&grant.app), rows::node_row(&grant.node))
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
            Message::NodeKeys(..)
            | Message::Reattest(..)
            | Message::ReattestNode(_)
            | Message::Gates(_)
            | Message::Beat(_)
            | Message::StopObserving(_)
            | Message::OrderAll(_) => true,
        }
    }
}

fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _session_gone = reply.send(value).is_err();
}

impl<L: TunnelLink> Plane<L> {
    /// Carries out a join that is durable; its answer goes out after the publication.
    fn join(&mut self, join: Join<L>, grant: Grant) -> (oneshot::Sender<Admission>, Admission) {
        let Join {
            tunnel,
            link,
            attested,
            reply,
        } = join;
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
        let sighting = sightings::joined(&grant, &attested);
        let cell = Arc::new(TunnelCell::new(attested.registration.initial_credits()));
        self.registry.apply(tunnel, grant);
        self.tunnels.insert(
            tunnel,
            LiveTunnel {
                link,
                cell,
                joined_at: now,
            },
        );
        self.beats.insert(node.clone(), now);
        self.note_joined(tunnel, sighting);
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
        if let Some(LiveTunnel { link, cell, .. }) = self.tunnels.remove(&tunnel) {
            cell.grant(0);
            link.order(Order::Close(refusal));
        }
    }

    /// Refuses everybody else who waits for this node's holder to be silent.
    pub(super) fn holder_lives(&mut self, node: &NodeId, newcomer: Option<TunnelId>) {
        for (tunnel, link) in self.waiting.remove(node).into_iter().flatten() {
            if Some(tunnel) != newcomer {
                link.order(Order::HolderAlive);
            }
        }
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
