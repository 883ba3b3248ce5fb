//! May an attested registration join, and what does that change? (TUNNEL 2: whose id it is, whose
//! app it is, how long.)

use ee_protocol::{
    names::{AppName, Network, NodeId},
    time::Timestamp,
};

use super::{App, AttestationState, Boot, Node, Presence, Registry, Tunnel, TunnelId};
use crate::{
    books::funding::StakeStanding,
    policy::LivePolicy,
    session::{AttestedRegistration, HealthWord, Holder, NodeProof, Registration, SessionRefusal},
};

/// Tunnels one boot of an agent may hold: HTTP/2 has one lock per connection, busy agents open
/// two to four (TUNNEL 2).
pub const TUNNELS_PER_NODE_MAX: usize = 4;

/// App names that the releases of one repository may take. Names never come free, so without a
/// limit whoever runs one attested image could take them all; far above what one publisher serves.
pub const APPS_PER_REPO_MAX: usize = 16_384;
/// Node ids that the agents of one repository may take, for the same reason: the storm of ten
/// thousand agents fits six times.
pub const NODES_PER_REPO_MAX: usize = 65_536;

/// What is to be done with an attested registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It joins: persist the rows, then apply the grant.
    Join(Box<Grant>),
    /// A living agent may hold the node id: ping these tunnels, ask again with the outcome.
    AskHolder(Vec<TunnelId>),
    /// It does not join.
    Refuse(SessionRefusal),
}

/// What a granted registration changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The app's binding, new, unchanged or moved up.
    pub app: App,
    /// The node as it will be.
    pub node: Node,
    /// Sessions that this one replaces.
    pub replaced: Vec<TunnelId>,
    /// Sandbox sessions that close because their app moves up.
    pub evicted: Vec<TunnelId>,
    /// Sandbox nodes that end with them.
    pub removed_nodes: Vec<NodeId>,
    /// The app that the node served before, if it was another.
    pub left_app: Option<AppName>,
    tunnel: Tunnel,
}

impl Boot {
    fn of(attested: &AttestedRegistration) -> Self {
        let registration = &attested.registration;
        Self {
            agent_id: registration.agent_id.clone(),
            instance: registration.instance.clone(),
            agent_key: attested.agent_key,
            app: registration.app_name.clone(),
            release_tag: registration.release_tag.clone(),
            network: registration.network,
        }
    }

    /// Without an instance or an inner TLS key nothing proves that two tunnels are one boot.
    fn is_sibling_of(&self, other: &Self) -> bool {
        self.instance.is_some() && self.agent_key.is_some() && self == other
    }
}

impl Registry {
    /// Decides on an attested registration against the registry as it is now.
    pub fn decide(
        &self,
        attested: &AttestedRegistration,
        policy: &LivePolicy,
        now: Timestamp,
    ) -> Decision {
        let registration = &attested.registration;
        if let Some(refusal) = self.precheck(registration) {
            return Decision::Refuse(refusal);
        }
        // The id may have been given a token while this session was being attested without one.
        let is_guarded = !self.node_keys(&registration.node_id).is_empty();
        let unproven = attested.node_proof == NodeProof::NotRegistered;
        if unproven && (is_guarded || self.is_foreign(registration, now)) {
            return Decision::Refuse(SessionRefusal::NodeInUse);
        }
        let boot = Boot::of(attested);
        let open: Vec<_> = self.tunnels_of(&registration.node_id).collect();
        let siblings = open
            .iter()
            .all(|(_, tunnel)| boot.is_sibling_of(&tunnel.boot));
        if siblings && open.len() >= TUNNELS_PER_NODE_MAX {
            return Decision::Refuse(SessionRefusal::TunnelLimit);
        }
        let holders: Vec<TunnelId> = open.into_iter().map(|(id, _)| id).collect();
        if siblings {
            return self.join(attested, boot, Vec::new(), policy, now);
        }
        match (attested.node_proof, attested.holder) {
            (NodeProof::Proved, _) | (NodeProof::NotRegistered, Holder::Silent) => {
                self.join(attested, boot, holders, policy, now)
            }
            (NodeProof::NotRegistered, Holder::NotAsked) => Decision::AskHolder(holders),
        }
    }

    /// Whether the app belongs to someone else. A name held on sandbox-1 moves up with the same
    /// repository, never down.
    pub(super) fn binding_refusal(&self, registration: &Registration) -> Option<SessionRefusal> {
        let app = self.app(&registration.app_name)?;
        if app.repo.key() != registration.repo.key() {
            return Some(SessionRefusal::AppBoundToOtherRepo);
        }
        let down = app.network == Network::Forge1 && registration.network == Network::Sandbox1;
        down.then_some(SessionRefusal::AppBoundToOtherNetwork)
    }

    /// Whether the repository has taken as many names or ids as it may. What it holds already is
    /// never refused.
    pub(super) fn limit_refusal(&self, registration: &Registration) -> Option<SessionRefusal> {
        let holdings = self.holdings.get(&registration.repo.key())?;
        let new_app = self.app(&registration.app_name).is_none();
        if new_app && holdings.apps >= APPS_PER_REPO_MAX {
            return Some(SessionRefusal::AppLimit);
        }
        let new_node = self.node(&registration.node_id).is_none();
        (new_node && holdings.nodes >= NODES_PER_REPO_MAX).then_some(SessionRefusal::NodeLimit)
    }

    /// Whether the node id serves an app of another repository, connected or not, until its
    /// registration ends. Ids are public: else whoever runs any attested image could take the ids
    /// of agents that are away for a moment, and keep them out as their "living holder".
    fn is_foreign(&self, registration: &Registration, now: Timestamp) -> bool {
        let Some(node) = self.node(&registration.node_id) else {
            return false;
        };
        let is_held = node.presence != Presence::Released && now < node.expires_at;
        is_held
            && self
                .app(&node.app)
                .is_some_and(|app| app.repo.key() != registration.repo.key())
    }

    fn join(
        &self,
        attested: &AttestedRegistration,
        boot: Boot,
        replaced: Vec<TunnelId>,
        policy: &LivePolicy,
        now: Timestamp,
    ) -> Decision {
        let registration = &attested.registration;
        let old = self.node(&registration.node_id);
        let (health, last_health_at) = self.first_health(registration, &replaced, now);
        let node = Node {
            id: registration.node_id.clone(),
            app: registration.app_name.clone(),
            agent_id: registration.agent_id.clone(),
            release_tag: registration.release_tag.clone(),
            network: registration.network,
            registered_at: now,
            expires_at: now.after(policy.registration_ttl),
            attestation: AttestationState::Valid(attested.result.clone().into()),
            health,
            last_health_at,
            presence: match old.map(|node| node.presence) {
                Some(Presence::AdminDrains) => Presence::AdminDrains,
                Some(Presence::Registered | Presence::AgentDrains | Presence::Released) | None => {
                    Presence::Registered
                }
            },
            banned: old.is_some_and(|node| node.banned),
            stake: old.map_or(StakeStanding::Missing, |node| node.stake),
        };
        let (evicted, removed_nodes) = self.moved_up(registration);
        let tunnel = Tunnel {
            node: node.id.clone(),
            boot,
            credits: registration.initial_credits(),
            draining: false,
        };
        Decision::Join(Box::new(Grant {
            app: self.bound(registration, now),
            left_app: old
                .map(|old| old.app.clone())
                .filter(|app| *app != node.app),
            node,
            replaced,
            evicted,
            removed_nodes,
            tunnel,
        }))
    }

    /// A passed attestation is the first pass; but where sibling tunnels are open, their latest
    /// word stands: opening another tunnel does not heal a failing backend.
    fn first_health(
        &self,
        registration: &Registration,
        replaced: &[TunnelId],
        now: Timestamp,
    ) -> (Option<HealthWord>, Option<Timestamp>) {
        let siblings_open =
            replaced.is_empty() && self.tunnels_of(&registration.node_id).next().is_some();
        match self.node(&registration.node_id) {
            Some(node) if siblings_open => (node.health, node.last_health_at),
            Some(_) | None => (Some(HealthWord::Pass), Some(now)),
        }
    }

    fn bound(&self, registration: &Registration, now: Timestamp) -> App {
        match self.app(&registration.app_name) {
            Some(app) => App {
                network: registration.network,
                ..app.clone()
            },
            None => App {
                name: registration.app_name.clone(),
                repo: registration.repo.clone(),
                network: registration.network,
                bound_at: now,
            },
        }
    }

    /// The sandbox's sessions and nodes that end when their app moves up to forge-1. The node
    /// that registers is not among them: its own sessions count as replaced.
    fn moved_up(&self, registration: &Registration) -> (Vec<TunnelId>, Vec<NodeId>) {
        let moves = registration.network == Network::Forge1
            && self
                .app(&registration.app_name)
                .is_some_and(|app| app.network == Network::Sandbox1);
        if !moves {
            return (Vec::new(), Vec::new());
        }
        let nodes: Vec<NodeId> = self
            .nodes_of(&registration.app_name)
            .filter(|node| node.network == Network::Sandbox1 && node.id != registration.node_id)
            .map(|node| node.id.clone())
            .collect();
        let tunnels = nodes
            .iter()
            .flat_map(|node| self.tunnels_of(node).map(|(id, _)| id))
            .collect();
        (tunnels, nodes)
    }

    /// Carries out a grant that was decided against this very state and has been persisted.
    pub fn apply(&mut self, id: TunnelId, grant: Grant) {
        let Grant {
            app,
            node,
            replaced,
            evicted,
            removed_nodes,
            left_app: _,
            tunnel,
        } = grant;
        for gone in replaced.into_iter().chain(evicted) {
            self.closed(gone);
        }
        for gone in removed_nodes {
            if let Some(node) = self.nodes.remove(&gone) {
                self.unlist(&node.app, &gone);
            }
        }
        self.put_app(app);
        let node_id = node.id.clone();
        self.put_node(node);
        self.node_tunnels
            .entry(node_id.clone())
            .or_default()
            .insert(id);
        self.tunnels.insert(id, tunnel);
        assert!(
            self.tunnels_of(&node_id).count() <= TUNNELS_PER_NODE_MAX,
            "a grant never exceeds the tunnels of a node"
        );
    }
}
