//! What readers see of the live half: immutable snapshots, one per app, in 256 shards.
//!
//! Publishing an app clones one shard's map of pointers and swaps it in; readers load a pointer
//! and never wait for the writer (ROUTING 4).

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use ee_core::{
    eligibility::{Assessment, assess},
    policy::LivePolicy,
    registry::{App, Node},
    routing::{NodeCell, Offer, Pool, TunnelCell},
};
use ee_protocol::{
    names::{AppName, NodeId},
    time::Timestamp,
};

use crate::explain::Refusals;

/// Shards of the table: with 10 000 apps a publication copies some 40 pointers.
const SHARDS: usize = 256;

type Shard<L> = BTreeMap<AppName, Arc<AppEntry<L>>>;

/// One app as readers see it.
#[derive(Debug)]
pub struct AppEntry<L> {
    /// To whom it belongs.
    pub app: App,
    /// Its nodes, by id, eligible or not.
    pub nodes: Vec<NodeEntry>,
    /// The tunnels of its eligible nodes; none while it is not paid for.
    pub pool: Pool<L>,
    /// Whether it is paid for.
    pub funds: Funds,
}

/// Whether an app is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Funds {
    /// It is, or nobody has to pay.
    Enough,
    /// It has a payer, and no lock pays for now.
    Exhausted,
}

/// One node as readers see it.
#[derive(Debug)]
pub struct NodeEntry {
    node: Node,
    cell: Arc<NodeCell>,
    tunnels: Vec<Arc<TunnelCell>>,
    offer: Option<Offer>,
}

impl NodeEntry {
    /// A node, the cell that its heartbeats update, and its open tunnels.
    pub fn new(node: Node, cell: Arc<NodeCell>, tunnels: Vec<Arc<TunnelCell>>) -> Self {
        Self {
            node,
            cell,
            tunnels,
            offer: None,
        }
    }

    /// The same node, which offers that.
    #[must_use]
    pub fn offering(mut self, offer: Option<Offer>) -> Self {
        self.offer = offer;
        self
    }

    /// What it offers; none without a price.
    pub const fn offer(&self) -> Option<&Offer> {
        self.offer.as_ref()
    }

    /// The node's id.
    pub fn id(&self) -> &NodeId {
        &self.node.id
    }

    /// The node as it is now: heartbeats since the snapshot included.
    pub fn current(&self) -> Node {
        let mut node = self.node.clone();
        node.last_health_at = node.last_health_at.max(self.cell.last_health_at());
        node
    }

    /// When it last registered and was attested.
    pub fn registered_at(&self) -> Timestamp {
        self.node.registered_at
    }

    /// Open tunnels.
    pub fn tunnel_count(&self) -> usize {
        self.tunnels.len()
    }
}

impl<L> AppEntry<L> {
    /// The nodes as they are now.
    pub fn current_nodes(&self) -> Vec<Node> {
        self.nodes.iter().map(NodeEntry::current).collect()
    }
}

/// The assessment that got furthest down the list of gates; of equals the lowest node id.
pub fn furthest<'a>(
    nodes: &'a [Node],
    policy: &LivePolicy,
    now: Timestamp,
) -> Option<(&'a Node, Assessment<'a>)> {
    let mut best: Option<(&Node, Assessment<'_>)> = None;
    for node in nodes {
        let assessment = assess(node, policy, now);
        if best
            .as_ref()
            .is_none_or(|(_, best)| assessment.depth() > best.depth())
        {
            best = Some((node, assessment));
        }
    }
    best
}

/// Snapshots of every app.
#[derive(Debug)]
pub struct Routes<L> {
    shards: Vec<ArcSwap<Shard<L>>>,
    policy: Arc<LivePolicy>,
    refusals: Refusals,
}

impl<L> Routes<L> {
    /// No app.
    pub fn new(policy: Arc<LivePolicy>) -> Self {
        let shards = (0..SHARDS)
            .map(|_| ArcSwap::from_pointee(Shard::new()))
            .collect();
        Self {
            shards,
            policy,
            refusals: Refusals::default(),
        }
    }

    /// An app as it is now.
    pub fn app(&self, name: &AppName) -> Option<Arc<AppEntry<L>>> {
        self.shard(name).load().get(name).cloned()
    }

    /// Every app, by name.
    pub fn apps(&self) -> Vec<Arc<AppEntry<L>>> {
        let mut apps: Vec<Arc<AppEntry<L>>> = Vec::new();
        for shard in &self.shards {
            apps.extend(shard.load().values().cloned());
        }
        apps.sort_by(|a, b| a.app.name.cmp(&b.app.name));
        apps
    }

    /// How many apps are bound and how many tunnels are open.
    pub fn counts(&self) -> (u64, u64) {
        let (mut apps, mut tunnels) = (0, 0);
        for shard in &self.shards {
            for entry in shard.load().values() {
                apps += 1;
                tunnels += entry
                    .nodes
                    .iter()
                    .map(|node| node.tunnels.len() as u64)
                    .sum::<u64>();
            }
        }
        (apps, tunnels)
    }

    /// The rules that readers assess by.
    pub fn policy(&self) -> &LivePolicy {
        &self.policy
    }

    /// The latest refused attempts to join.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Runs `read` on an app's entry without counting a reference: the request path.
    pub fn with_app<T>(&self, name: &AppName, read: impl FnOnce(Option<&AppEntry<L>>) -> T) -> T {
        let shard = self.shard(name).load();
        read(shard.get(name).map(Arc::as_ref))
    }

    /// Replaces an app's entry. Only the plane calls it, so no publication is lost.
    pub(crate) fn publish(&self, entry: AppEntry<L>) {
        let shard = self.shard(&entry.app.name);
        let mut apps = Shard::clone(&shard.load());
        apps.insert(entry.app.name.clone(), Arc::new(entry));
        shard.store(Arc::new(apps));
    }

    fn shard(&self, name: &AppName) -> &ArcSwap<Shard<L>> {
        &self.shards[shard_of(name.as_str())]
    }
}

/// FNV-1a, folded to a byte: fixed, so that a table looks the same in every run.
fn shard_of(name: &str) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in name.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let [a, b, c, d] = hash.to_le_bytes();
    usize::from(a ^ b ^ c ^ d)
}
