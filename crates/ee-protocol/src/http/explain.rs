//! `GET /v1/apps/{app}/explain`: every gate of every node, and the latest refusals.

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// Why an app is or is not served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppExplanation {
    /// The app's name.
    pub app_name: String,
    /// When this was true; RFC 3339.
    pub at: String,
    /// Every node of the app, by id.
    pub nodes: Vec<NodeExplanation>,
    /// The latest refused attempts to join the app, newest first, at most 32. An agent that is
    /// refused again for the same reason is counted in its entry.
    pub refused: Vec<RefusedAttempt>,
}

/// The gates of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeExplanation {
    /// The node's id.
    pub node: String,
    /// The agent's id.
    pub agent: String,
    /// Whether every gate is open.
    pub eligible: bool,
    /// Open tunnels.
    pub tunnels: u64,
    /// All eight gates, in order.
    pub gates: Vec<GateExplanation>,
}

/// One gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateExplanation {
    /// `registered`, `not_expired`, `attestation`, …
    pub gate: String,
    /// Whether it is open.
    pub ok: bool,
    /// The code if it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The facts behind it.
    pub detail: String,
}

/// An attempt to join that was refused, and its repeats: the same claim that failed the same
/// checks with the same codes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedAttempt {
    /// When it was refused last; RFC 3339.
    pub at: String,
    /// When it was refused first; RFC 3339. Equal to `at` if it happened once.
    pub first_at: String,
    /// How often it was refused, at least 1.
    pub count: u64,
    /// Who claimed to be what: nothing here is proved.
    pub agent_id: String,
    /// The repository it named.
    pub repo: String,
    /// The release it named.
    pub release_tag: String,
    /// The network it asked for.
    pub network: String,
    /// `status.reason`.
    pub reason: String,
    /// What failed, and what to do: as of the last time.
    pub refusals: Vec<Refusal>,
}
