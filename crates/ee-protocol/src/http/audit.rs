//! `GET /v1/audit`: who changed what in the registry.

use serde::{Deserialize, Serialize};

/// A change, written in the transaction that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// Its place, from 1 without gaps.
    pub seq: u64,
    /// When (RFC 3339, UTC).
    pub at: String,
    /// The name of the token that asked: `env:admin`, `token:0123456789ab`.
    pub actor: String,
    /// What was done: `token.create`.
    pub action: String,
    /// To what: `token:0123456789ab`.
    pub subject: String,
}

/// A page of changes, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditList {
    /// The changes.
    pub audit: Vec<AuditView>,
    /// Where the next page begins; null: there is none.
    pub next_cursor: Option<String>,
}
