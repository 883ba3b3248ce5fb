//! What the control plane knows of apps, nodes and tunnels. Pure: the plane persists and
//! publishes what is decided here.
//!
//! A change is planned against the registry as it is, persisted by the caller, then applied:
//! nothing changes before it is durable. **Invariant:** a failed or unfinished registration
//! changes nothing here; only [`Registry::apply`] of a granted plan does.

use std::collections::{BTreeMap, BTreeSet};

use ee_protocol::{
    names::{AgentId, AppName, Network, NodeId, ReleaseTag, Repo},
    report_data::Digest,
    time::Timestamp,
};

use crate::{
    attestation::{AttestationResult, BindingStrength, Failure},
    books::funding::StakeStanding,
    session::{HealthWord, Heartbeat, SessionRefusal},
};

mod admission;
mod holdings;
mod proven;
#[cfg(test)]
mod tests;

pub use admission::{APPS_PER_REPO_MAX, Decision, Grant, NODES_PER_REPO_MAX, TUNNELS_PER_NODE_MAX};
use holdings::Holdings;
pub use proven::ProvenNode;

/// A tunnel, unique in this process and never shown outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(pub u64);

/// To whom an app belongs: decided by the first attested registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// The repository whose releases may serve it.
    pub repo: Repo,
    /// The network it serves on; moves up from sandbox-1 to forge-1, never down.
    pub network: Network,
    /// When it was bound.
    pub bound_at: Timestamp,
}

/// One agent serving one app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// The app it serves.
    pub app: AppName,
    /// The agent behind it.
    pub agent_id: AgentId,
    /// The release it runs.
    pub release_tag: ReleaseTag,
    /// The network it serves on.
    pub network: Network,
    /// When it last registered and was attested.
    pub registered_at: Timestamp,
    /// When that registration ends.
    pub expires_at: Timestamp,
    /// What its last attestation came to.
    pub attestation: AttestationState,
    /// The last word of a heartbeat; none since the control plane started.
    pub health: Option<HealthWord>,
    /// When a heartbeat last passed.
    pub last_health_at: Option<Timestamp>,
    /// Whether it takes part.
    pub presence: Presence,
    /// Whether it is banned.
    pub banned: bool,
    /// How its stake compares with what its network demands, as the books said last.
    pub stake: StakeStanding,
}

/// Whether a node takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It does.
    Registered,
    /// Its agent said that it leaves, on every tunnel.
    AgentDrains,
    /// An admin takes it out of service.
    AdminDrains,
    /// Its registration was withdrawn.
    Released,
}

/// What a node's last attestation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttestationState {
    /// There was none.
    Unknown,
    /// It passed.
    Valid(Passed),
    /// It passed before; the latest could not be judged, through no fault of the agent.
    Waiting(Passed),
    /// It failed.
    Invalid(Invalid),
}

impl AttestationState {
    /// The last pass, if the state still stands on one or remembers it.
    pub const fn passed(&self) -> Option<&Passed> {
        match self {
            Self::Valid(passed) | Self::Waiting(passed) => Some(passed),
            Self::Invalid(invalid) => invalid.last_pass.as_ref(),
            Self::Unknown => None,
        }
    }
}

/// A passed attestation, as far as the live half needs to remember it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// When.
    pub at: Timestamp,
    /// Whether the workload is sealed.
    pub sealed: bool,
    /// How firmly the quote is tied to the connection.
    pub binding: BindingStrength,
    /// The whole result, if it was reached since the control plane started.
    pub result: Option<AttestationResult>,
}

impl From<AttestationResult> for Passed {
    fn from(result: AttestationResult) -> Self {
        Self {
            at: result.at,
            sealed: result.sealed,
            binding: result.binding,
            result: Some(result),
        }
    }
}

/// A failed attestation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// When.
    pub at: Timestamp,
    /// `status.reason`.
    pub reason: String,
    /// The pass before it.
    pub last_pass: Option<Passed>,
}

/// A tunnel of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Whose it is.
    pub node: NodeId,
    /// What its siblings must share.
    pub boot: Boot,
    /// Streams it may have open.
    pub credits: u32,
    /// Whether its agent said that it leaves.
    pub draining: bool,
}

/// One boot of one agent serving one app: tunnels that share all of it belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    agent_id: AgentId,
    instance: Option<String>,
    agent_key: Option<Digest>,
    app: AppName,
    release_tag: ReleaseTag,
    network: Network,
}

/// Apps, nodes and tunnels.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    apps: BTreeMap<AppName, App>,
    nodes: BTreeMap<NodeId, Node>,
    tunnels: BTreeMap<TunnelId, Tunnel>,
    app_nodes: BTreeMap<AppName, BTreeSet<NodeId>>,
    node_tunnels: BTreeMap<NodeId, BTreeSet<TunnelId>>,
    node_keys: BTreeMap<NodeId, Vec<Digest>>,
    /// What each repository holds, by its key.
    holdings: BTreeMap<String, Holdings>,
}

impl Registry {
    /// The registry as the store remembers it: no tunnel is open.
    pub fn restore(
        apps: impl IntoIterator<Item = App>,
        nodes: impl IntoIterator<Item = Node>,
    ) -> Self {
        let mut registry = Self::default();
        for app in apps {
            registry.put_app(app);
        }
        for node in nodes {
            registry.put_node(node);
        }
        registry
    }

    /// An app's binding.
    pub fn app(&self, name: &AppName) -> Option<&App> {
        self.apps.get(name)
    }

    /// Every app, by name.
    pub fn apps(&self) -> impl Iterator<Item = &App> {
        self.apps.values()
    }

    /// A node.
    pub fn node(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// The nodes of an app, by id.
    pub fn nodes_of(&self, app: &AppName) -> impl Iterator<Item = &Node> {
        let ids = self.app_nodes.get(app).into_iter().flatten();
        ids.filter_map(|id| self.nodes.get(id))
    }

    /// A tunnel.
    pub fn tunnel(&self, id: TunnelId) -> Option<&Tunnel> {
        self.tunnels.get(&id)
    }

    /// The tunnels of a node, oldest first.
    pub fn tunnels_of(&self, node: &NodeId) -> impl Iterator<Item = (TunnelId, &Tunnel)> {
        let ids = self.node_tunnels.get(node).into_iter().flatten();
        ids.filter_map(|id| self.tunnels.get(id).map(|tunnel| (*id, tunnel)))
    }

    /// How many tunnels are open.
    pub fn tunnel_count(&self) -> usize {
        self.tunnels.len()
    }

    /// The books say how a node's stake compares; whether that is news.
    pub fn set_stake(&mut self, node: &NodeId, stake: StakeStanding) -> Option<&Node> {
        let node = self
            .nodes
            .get_mut(node)
            .filter(|node| node.stake != stake)?;
        node.stake = stake;
        Some(node)
    }

    /// The books say whether a node is banned; whether that is news.
    pub fn set_banned(&mut self, node: &NodeId, banned: bool) -> Option<&Node> {
        let node = self
            .nodes
            .get_mut(node)
            .filter(|node| node.banned != banned)?;
        node.banned = banned;
        Some(node)
    }

    /// Every node, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The live tokens of a node, as SHA-256; empty if its id was never registered with one.
    pub fn node_keys(&self, node: &NodeId) -> &[Digest] {
        self.node_keys.get(node).map_or(&[], Vec::as_slice)
    }

    /// Replaces a node's live tokens.
    pub fn set_node_keys(&mut self, node: NodeId, keys: Vec<Digest>) {
        if keys.is_empty() {
            self.node_keys.remove(&node);
        } else {
            self.node_keys.insert(node, keys);
        }
    }

    /// A later attestation of a tunnel's node passed.
    pub fn reattested(&mut self, tunnel: TunnelId, result: AttestationResult) -> Option<&Node> {
        let node = self.node_of_mut(tunnel)?;
        node.attestation = AttestationState::Valid(result.into());
        Some(node)
    }

    /// An attestation of a tunnel's node failed.
    pub fn failed(&mut self, tunnel: TunnelId, at: Timestamp, failure: &Failure) -> Option<&Node> {
        let node = self.node_of_mut(tunnel)?;
        let last_pass = node.attestation.passed().cloned();
        let reason = failure.reason();
        node.attestation = AttestationState::Invalid(Invalid {
            at,
            reason,
            last_pass,
        });
        Some(node)
    }

    /// An attestation of a tunnel's node could not be judged: the last pass stands.
    pub fn waiting(&mut self, tunnel: TunnelId) -> Option<&Node> {
        let node = self.node_of_mut(tunnel)?;
        if let AttestationState::Valid(passed) = &node.attestation {
            node.attestation = AttestationState::Waiting(passed.clone());
        }
        Some(node)
    }

    /// A heartbeat of a tunnel's node.
    pub fn heartbeat(
        &mut self,
        tunnel: TunnelId,
        at: Timestamp,
        heartbeat: Heartbeat,
    ) -> Option<&Node> {
        let node = self.node_of_mut(tunnel)?;
        node.health = Some(heartbeat.word);
        if heartbeat.word == HealthWord::Pass {
            node.last_health_at = Some(at);
        }
        Some(node)
    }

    /// The agent set how many streams a tunnel may have open.
    pub fn credits(&mut self, tunnel: TunnelId, credits: u32) -> Option<&Node> {
        let tunnel = self.tunnels.get_mut(&tunnel)?;
        tunnel.credits = credits;
        self.nodes.get(&tunnel.node)
    }

    /// The agent drains a tunnel; when it drains all of them, the node drains.
    pub fn draining(&mut self, tunnel: TunnelId) -> Option<&Node> {
        let tunnel = self.tunnels.get_mut(&tunnel)?;
        tunnel.draining = true;
        let node = tunnel.node.clone();
        self.settle_presence(&node);
        self.nodes.get(&node)
    }

    /// A tunnel closed. Returns its node; the node itself stays, and other tunnels stay.
    pub fn closed(&mut self, tunnel: TunnelId) -> Option<&Node> {
        let Tunnel { node, .. } = self.tunnels.remove(&tunnel)?;
        if let Some(tunnels) = self.node_tunnels.get_mut(&node) {
            tunnels.remove(&tunnel);
            if tunnels.is_empty() {
                self.node_tunnels.remove(&node);
            }
        }
        self.settle_presence(&node);
        self.nodes.get(&node)
    }

    /// The refusal that a registration would meet before any evidence is asked for. Says nothing
    /// about the future: the plan is made again when the evidence has passed.
    pub fn precheck(&self, registration: &crate::session::Registration) -> Option<SessionRefusal> {
        if self
            .node(&registration.node_id)
            .is_some_and(|node| node.banned)
        {
            return Some(SessionRefusal::Banned);
        }
        self.binding_refusal(registration)
            .or_else(|| self.limit_refusal(registration))
    }

    fn node_of_mut(&mut self, tunnel: TunnelId) -> Option<&mut Node> {
        let node = &self.tunnels.get(&tunnel)?.node;
        self.nodes.get_mut(node)
    }

    fn settle_presence(&mut self, id: &NodeId) {
        let open = self.tunnels_of(id).count();
        let draining = self
            .tunnels_of(id)
            .filter(|(_, tunnel)| tunnel.draining)
            .count();
        let all_drain = open > 0 && draining == open;
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        node.presence = match node.presence {
            Presence::Registered | Presence::AgentDrains if all_drain => Presence::AgentDrains,
            Presence::Registered | Presence::AgentDrains => Presence::Registered,
            kept @ (Presence::AdminDrains | Presence::Released) => kept,
        };
    }
}
