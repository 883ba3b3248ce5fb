//! The status of an app: `/v1/resolve/{app}`, `/v1/apps`, `/v1/apps/{app}` (TUNNEL 8).
//!
//! A superset of the prototype's payload and of the seed's, in one fixed order of keys.

use serde::{Deserialize, Serialize};

/// What there is to say about an app: the node that would be picked, and the pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    /// The app's name.
    pub app_name: String,
    /// The repository it is bound to.
    pub repo: String,
    /// The release the node registered.
    pub release_tag: String,
    /// The network.
    pub network: String,
    /// The agent of the node.
    pub agent_id: String,
    /// When the node registered; `2026-01-02T03:04:05.000006+00:00`.
    pub registered_at: Option<String>,
    /// When the registration ends.
    pub registration_expires_at: Option<String>,
    /// `active`, `warning` or `expired`.
    pub registration_state: String,
    /// Whether the workload is sealed, decided by registers.
    pub sealed: bool,
    /// `unknown`, `valid` or `invalid`.
    pub attestation_status: String,
    /// `unknown`, `pass` or `fail`.
    pub health_status: String,
    /// Whether a tunnel is open.
    pub ws_connected: bool,
    /// Last passed attestation.
    pub last_attested_at: Option<String>,
    /// Last passed health check.
    pub last_health_at: Option<String>,
    /// Eligible and connected.
    pub allowed: bool,
    /// The seed's word, equal to `registration_state`.
    pub status: String,
    /// The tunnel endpoint, `wss://…`.
    pub endpoint: String,
    /// The seed's spelling of the last attestation, `2024-01-15T10:30:00Z`.
    pub last_attest: Option<String>,
    /// Where people reach the app.
    pub url: String,
    /// How many nodes there are.
    pub nodes: NodeCount,
    /// How firmly the node's quote is tied to its tunnel.
    pub binding: String,
    /// The first gate that refuses; absent if allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Every gate that refuses, in order; absent if allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Nodes of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCount {
    /// Registered.
    pub total: u64,
    /// Passing every gate.
    pub eligible: u64,
}

/// `GET /v1/apps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppList {
    /// By name.
    pub apps: Vec<AppStatus>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_keeps_the_documents_order_of_keys() {
        let status = AppStatus {
            app_name: "myapp".into(),
            repo: "org/repo".into(),
            release_tag: "v0.1.3".into(),
            network: "forge-1".into(),
            agent_id: "uuid".into(),
            registered_at: Some("2026-01-02T03:04:05.000006+00:00".into()),
            registration_expires_at: None,
            registration_state: "active".into(),
            sealed: true,
            attestation_status: "valid".into(),
            health_status: "pass".into(),
            ws_connected: true,
            last_attested_at: None,
            last_health_at: None,
            allowed: false,
            status: "active".into(),
            endpoint: "wss://control.example/v1/tunnel".into(),
            last_attest: Some("2024-01-15T10:30:00Z".into()),
            url: "https://myapp.example/".into(),
            nodes: NodeCount {
                total: 2,
                eligible: 1,
            },
            binding: "channel".into(),
            reason: Some("health_timeout".into()),
            reasons: vec!["health_timeout".into()],
        };
        insta::assert_snapshot!(
            serde_json::to_string(&status).expect("plain data"),
            @r#"{"app_name":"myapp","repo":"org/repo","release_tag":"v0.1.3","network":"forge-1","agent_id":"uuid","registered_at":"2026-01-02T03:04:05.000006+00:00","registration_expires_at":null,"registration_state":"active","sealed":true,"attestation_status":"valid","health_status":"pass","ws_connected":true,"last_attested_at":null,"last_health_at":null,"allowed":false,"status":"active","endpoint":"wss://control.example/v1/tunnel","last_attest":"2024-01-15T10:30:00Z","url":"https://myapp.example/","nodes":{"total":2,"eligible":1},"binding":"channel","reason":"health_timeout","reasons":["health_timeout"]}"#
        );
    }
}
