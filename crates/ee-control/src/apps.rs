//! The status of apps: what `/v1/apps`, `/v1/apps/{app}` and `/v1/resolve/{app}` show
//! (TUNNEL 8, "Status payload").
//!
//! With several nodes the payload shows the one that would be picked, else the one that got
//! furthest through the gates.

use ee_core::{
    eligibility::{Assessment, GateCode, assess},
    policy::LivePolicy,
    registry::{AttestationState, Node},
    session::HealthWord,
};
use ee_protocol::{
    http::apps::{AppList, AppStatus, NodeCount},
    names::AppName,
    time::Timestamp,
};

use crate::routes::{AppEntry, Funds, NodeEntry, Routes, furthest};

/// Where agents and people reach what the answers describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The tunnel endpoint, `wss://…/v1/tunnel`.
    pub tunnel: String,
    /// Scheme of the apps' addresses.
    pub public_scheme: String,
    /// The domain that apps are one label below of; none: apps have no address of their own.
    pub app_domain: Option<String>,
}

/// The reason of an app with a payer whose locks ran out (LEDGER 5).
pub const INSUFFICIENT_CREDITS: &str = "insufficient_credits";
/// Why an app is refused although its name is known: a gate, or no tunnel behind open gates.
pub const NO_TUNNEL: &str = "no_tunnel";

/// The status of every app, by name.
pub fn list<L>(routes: &Routes<L>, now: Timestamp, endpoints: &Endpoints) -> AppList {
    let apps = routes.apps();
    let shown = apps
        .iter()
        .filter_map(|entry| status(entry, routes.policy(), now, endpoints));
    AppList {
        apps: shown.collect(),
        next_cursor: None,
    }
}

/// The status of one app; `None` if no node ever served it.
pub fn show<L>(
    routes: &Routes<L>,
    app: &AppName,
    now: Timestamp,
    endpoints: &Endpoints,
) -> Option<AppStatus> {
    status(&*routes.app(app)?, routes.policy(), now, endpoints)
}

/// The status that an app's entry amounts to.
pub fn status<L>(
    entry: &AppEntry<L>,
    policy: &LivePolicy,
    now: Timestamp,
    endpoints: &Endpoints,
) -> Option<AppStatus> {
    let nodes = entry.current_nodes();
    let (node, assessment) = shown(entry, &nodes, policy, now)?;
    let tunnels = tunnels_of(entry, node);
    let reasons = reasons(&assessment, tunnels, entry.funds);
    let eligible = nodes
        .iter()
        .filter(|node| assess(node, policy, now).eligible().is_ok());
    let state = registration_state(node, policy, now);
    let last_pass = node.attestation.passed().map(|passed| passed.at);
    Some(AppStatus {
        app_name: entry.app.name.to_string(),
        repo: entry.app.repo.to_string(),
        release_tag: node.release_tag.to_string(),
        network: node.network.to_string(),
        agent_id: node.agent_id.to_string(),
        registered_at: Some(node.registered_at.rfc3339_micros()),
        registration_expires_at: Some(node.expires_at.rfc3339_micros()),
        registration_state: state.to_owned(),
        sealed: node
            .attestation
            .passed()
            .is_some_and(|passed| passed.sealed),
        attestation_status: attestation_status(node, &assessment).to_owned(),
        health_status: health_status(node, &assessment).to_owned(),
        ws_connected: tunnels > 0,
        last_attested_at: last_pass.map(Timestamp::rfc3339_micros),
        last_health_at: node.last_health_at.map(Timestamp::rfc3339_micros),
        allowed: reasons.is_empty(),
        status: state.to_owned(),
        endpoint: endpoints.tunnel.clone(),
        last_attest: last_pass.map(Timestamp::rfc3339_seconds),
        url: endpoints.url_of(&entry.app.name),
        nodes: NodeCount {
            total: nodes.len() as u64,
            eligible: eligible.count() as u64,
        },
        binding: binding_word(node).to_owned(),
        reason: reasons.first().cloned(),
        reasons,
    })
}

impl Endpoints {
    /// Where people reach an app; empty if apps have no domain.
    pub fn url_of(&self, app: &AppName) -> String {
        match &self.app_domain {
            Some(domain) => format!("{}://{app}.{domain}/", self.public_scheme),
            None => String::new(),
        }
    }
}

/// The node to show: the one that would be picked, else the furthest.
pub(crate) fn shown<'a, L>(
    entry: &AppEntry<L>,
    nodes: &'a [Node],
    policy: &LivePolicy,
    now: Timestamp,
) -> Option<(&'a Node, Assessment<'a>)> {
    let picked = entry.pool.peek(now).map(|slot| slot.node_id());
    match nodes.iter().find(|node| Some(&node.id) == picked) {
        Some(node) => Some((node, assess(node, policy, now))),
        None => furthest(nodes, policy, now),
    }
}

pub(crate) fn tunnels_of<L>(entry: &AppEntry<L>, node: &Node) -> usize {
    let index = entry.nodes.iter().position(|shown| shown.id() == &node.id);
    index.map_or(0, |index| NodeEntry::tunnel_count(&entry.nodes[index]))
}

/// The words of all closed gates; if none is closed but nothing is connected, `no_tunnel`; and
/// `insufficient_credits` if nobody pays for the app now.
pub(crate) fn reasons(assessment: &Assessment<'_>, tunnels: usize, funds: Funds) -> Vec<String> {
    let mut gates: Vec<String> = assessment.reasons().map(|code| code.to_string()).collect();
    if gates.is_empty() && tunnels == 0 {
        gates.push(NO_TUNNEL.to_owned());
    }
    if funds == Funds::Exhausted {
        gates.push(INSUFFICIENT_CREDITS.to_owned());
    }
    gates
}

pub(crate) fn binding_word(node: &Node) -> &'static str {
    node.attestation
        .passed()
        .map_or("none", |passed| passed.binding.as_str())
}

fn registration_state(node: &Node, policy: &LivePolicy, now: Timestamp) -> &'static str {
    if now >= node.expires_at {
        return "expired";
    }
    match now >= policy.warning_begins(node.expires_at) {
        true => "warning",
        false => "active",
    }
}

/// A pass that is too old says as little as none.
pub(crate) fn attestation_status(node: &Node, assessment: &Assessment<'_>) -> &'static str {
    let stale = assessment
        .reasons()
        .any(|code| code == GateCode::AttestationStale);
    match node.attestation {
        AttestationState::Unknown => "unknown",
        AttestationState::Invalid(_) => "invalid",
        AttestationState::Valid(_) | AttestationState::Waiting(_) if stale => "unknown",
        AttestationState::Valid(_) | AttestationState::Waiting(_) => "valid",
    }
}

pub(crate) fn health_status(node: &Node, assessment: &Assessment<'_>) -> &'static str {
    let silent = assessment
        .reasons()
        .any(|code| code == GateCode::HealthTimeout);
    match node.health {
        None => "unknown",
        Some(HealthWord::Fail) => "fail",
        Some(HealthWord::Pass) if silent => "fail",
        Some(HealthWord::Pass) => "pass",
    }
}
