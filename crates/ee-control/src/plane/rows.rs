//! Between what the registry knows and what the store keeps.

use ee_core::{
    books::funding::StakeStanding,
    registry::{App, AttestationState, Node, Presence},
    session::HealthWord,
};
use ee_store::{AppRow, NodeRow};

/// A binding from its row.
pub(super) fn app(row: AppRow) -> App {
    let AppRow {
        name,
        repo,
        network,
        bound_at,
    } = row;
    App {
        name,
        repo,
        network,
        bound_at,
    }
}

/// The row of a binding.
pub(super) fn app_row(app: &App) -> AppRow {
    let App {
        name,
        repo,
        network,
        bound_at,
    } = app.clone();
    AppRow {
        name,
        repo,
        network,
        bound_at,
    }
}

/// A node from its row. The last heartbeat that passed is the last word, so that an app which was
/// served until a restart answers "no tunnel" and not "unhealthy" until its agents are back.
pub(super) fn node(row: NodeRow) -> Node {
    let NodeRow {
        node_id,
        app,
        agent_id,
        release_tag,
        network,
        registered_at,
        expires_at,
        last_health_at,
        attestation,
    } = row;
    Node {
        id: node_id,
        app,
        agent_id,
        release_tag,
        network,
        registered_at,
        expires_at,
        attestation: match attestation {
            Some(result) => AttestationState::Valid(result.into()),
            None => AttestationState::Unknown,
        },
        health: last_health_at.map(|_| HealthWord::Pass),
        last_health_at,
        presence: Presence::Registered,
        banned: false,
        // The books say so as soon as they are asked.
        stake: StakeStanding::Missing,
    }
}

/// The row of a node.
pub(super) fn node_row(node: &Node) -> NodeRow {
    let passed = node.attestation.passed();
    NodeRow {
        node_id: node.id.clone(),
        app: node.app.clone(),
        agent_id: node.agent_id.clone(),
        release_tag: node.release_tag.clone(),
        network: node.network,
        registered_at: node.registered_at,
        expires_at: node.expires_at,
        last_health_at: node.last_health_at,
        attestation: passed.and_then(|passed| passed.result.clone()),
    }
}
