//! What follows from tokens elsewhere: which nodes have to prove one, and the minute's work.

use std::time::Duration;

use ee_protocol::{names::NodeId, time::Timestamp};
use ee_store::TokenRow;

use super::{Actor, ApiError, Auth, managed::nodes_of};
use crate::{entropy, state::AppState};

/// Times of last use and ends of grace are kept to the minute.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(60);

impl Auth {
    /// The token of a node, once: `None` if it has a live one. From then on an agent must prove
    /// it to register under the node's id.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn issue_node_token(
        &self,
        state: &AppState,
        node: &NodeId,
        by: &Actor,
    ) -> Result<Option<String>, ApiError> {
        let now = state.now();
        let issued = self.issue_for_node(&state.store, node, by, now).await?;
        tell_plane(state, node).await;
        Ok(issued.map(|issued| issued.text))
    }

    /// A new token for a node; the old one is good for a day more.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn rotate_node_token(
        &self,
        state: &AppState,
        node: &NodeId,
        by: &Actor,
    ) -> Result<String, ApiError> {
        let now = state.now();
        let issued = self.rotate_for_node(&state.store, node, by, now).await?;
        tell_plane(state, node).await;
        Ok(issued.text)
    }

    fn keys_of(&self, node: &NodeId, now: Timestamp) -> Option<Vec<[u8; 32]>> {
        let keys = self.book().node_keys(node, now)?;
        if keys.is_empty() {
            // Nobody holds what hashes to this: the node's tokens are dead, and its id stays
            // closed until it is given a new one.
            return Some(vec![entropy::seed()]);
        }
        Some(keys)
    }
}

/// Tells the plane what an agent of the node has to prove now.
pub async fn tell_plane(state: &AppState, node: &NodeId) {
    if let Some(keys) = state.auth.keys_of(node, state.now()) {
        state.plane.set_node_keys(node.clone(), keys).await;
    }
}

/// Tells the plane of the nodes that a changed token is for.
pub async fn tell_plane_of(state: &AppState, row: &TokenRow) {
    for node in nodes_of(row) {
        tell_plane(state, &node).await;
    }
}

/// Tells the plane of every node that has a token: before agents can connect, and each minute,
/// because graces and lives end.
pub async fn tell_plane_of_all(state: &AppState) {
    let nodes = state.auth.book().nodes();
    for node in nodes {
        tell_plane(state, &node).await;
    }
}

/// The minute's work: last uses are written, long dead tokens forgotten, ended ones closed.
pub async fn upkeep(state: AppState) {
    let stopping = state.tasks.stopping().clone();
    while !stopping.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(UPKEEP_EVERY) => {}
            () = stopping.cancelled() => {}
        }
        if let Err(error) = pass(&state).await {
            tracing::warn!(event = "token_upkeep_failed", %error);
        }
    }
}

async fn pass(state: &AppState) -> Result<(), ee_store::StoreError> {
    let auth = &state.auth;
    let _one_at_a_time = auth.changes.lock().await;
    let uses = auth.book().unsaved_uses();
    if !uses.is_empty() {
        state.store.save_token_uses(uses.clone()).await?;
        auth.book().uses_saved(&uses);
    }
    let dead = auth.book().forgettable(state.now());
    if !dead.is_empty() {
        state.store.remove_tokens(dead.clone()).await?;
        for id in dead {
            auth.book_mut().remove(id);
        }
    }
    tell_plane_of_all(state).await;
    Ok(())
}
