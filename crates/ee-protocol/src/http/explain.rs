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
    /// What it offers; absent without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<OfferExplanation>,
    /// All eight gates, in order.
    pub gates: Vec<GateExplanation>,
}

/// What a node offers. The lowest effective price serves first: the posted price divided by how
/// likely a period passes. Factors are permille, and trust is their product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferExplanation {
    /// The price for a vCPU-hour that it posted.
    pub price_micro_usd_per_vcpu_hour: String,
    /// The price by trust, rounded up.
    pub effective_micro_usd_per_vcpu_hour: String,
    /// All factors together.
    pub trust_permille: u16,
    /// How its platform stands, and how fresh that is.
    pub attestation_permille: u16,
    /// Health windows that it covered.
    pub health_permille: u16,
    /// Periods that passed, less what abuse costs.
    pub settlement_permille: u16,
    /// What it has at stake.
    pub stake_permille: u16,
    /// How long it has been here.
    pub tenure_permille: u16,
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
