//! `GET /health`: the seed's `{"status":"ok"}` and what an operator asks next.

use serde::{Deserialize, Serialize};

/// The answer of `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// `ok`.
    pub status: String,
    /// The program's version.
    pub version: String,
    /// Which root every verdict stands on: `intel` in production.
    pub trust_root: TrustRootReport,
    /// Networks whose policy is looser than the default of forge-1, by name.
    pub loosened: Vec<String>,
    /// Apps that are bound.
    pub apps: u64,
    /// Tunnels that are open.
    pub tunnels: u64,
}

/// The trust root, so that nobody mistakes a simulation for the real thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRootReport {
    /// `intel` or `simulated`.
    pub name: String,
    /// SHA-256 of the root certificate (DER), lower-case hexadecimal.
    pub sha256: String,
}
