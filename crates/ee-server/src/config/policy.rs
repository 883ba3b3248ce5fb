//! Network policies: the defaults of ATTESTATION 4 with what `[networks.<name>]` changes.

/// How the reference describes the tables.
pub const REFERENCE: &str = "";

/// The policies.
pub struct NetworkPolicies {}
