//! `GET /v1/allowlists`, `POST /v1/allowlists/acknowledge`: releases whose allowlist changed after
//! it was first seen, and an admin's word on them.

use serde::{Deserialize, Serialize};

/// Open alarms, in the order of repository and tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowlistAlarms {
    /// One for each release that shows other content than its pin.
    pub alarms: Vec<AllowlistAlarm>,
}

/// A release shows other content than when it was first seen: new sessions are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowlistAlarm {
    /// The repository.
    pub repo: String,
    /// The release.
    pub release_tag: String,
    /// SHA-256 of the content that judges now: `sha256:` and lower-case hexadecimal.
    pub pinned: String,
    /// SHA-256 of the content that was published instead.
    pub published: String,
    /// When that was noticed; RFC 3339.
    pub since: String,
}

/// An admin's word: the content to go by from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The repository.
    pub repo: String,
    /// The release.
    pub release_tag: String,
    /// `published` of the alarm to accept the change, `pinned` to stand by what was first seen.
    pub digest: String,
}

/// What an acknowledgement did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// `replaced`: the published content judges from now on, and serving nodes are challenged
    /// under it. `kept`: the pinned content goes on judging.
    pub outcome: String,
    /// SHA-256 of the content that judges from now on.
    pub digest: String,
}
