//! Apps with their bindings, and nodes with their registrations: what the registry starts from
//! after a restart. Its own writer decides; here decisions are only kept.

use ee_core::attestation::AttestationResult;
use ee_protocol::{
    names::{AgentId, AppName, Network, NodeId, ReleaseTag, Repo},
    time::Timestamp,
};
use rusqlite::{Connection, Row};

use crate::{
    Store, StoreError, attestations,
    row::{optional_time, parsed, time},
};

/// An app and what its name is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRow {
    /// The app.
    pub name: AppName,
    /// The repository whose releases may serve it.
    pub repo: Repo,
    /// The network it is bound to; may move up, from sandbox-1 to forge-1.
    pub network: Network,
    /// When its first agent was attested.
    pub bound_at: Timestamp,
}

/// A node and its registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// The node.
    pub node_id: NodeId,
    /// The app it serves.
    pub app: AppName,
    /// The agent it is.
    pub agent_id: AgentId,
    /// The release it runs.
    pub release_tag: ReleaseTag,
    /// The network it is attested for.
    pub network: Network,
    /// Its last attested `register`.
    pub registered_at: Timestamp,
    /// When that registration ends.
    pub expires_at: Timestamp,
    /// Its last passing health message.
    pub last_health_at: Option<Timestamp>,
    /// Its last passed appraisal.
    pub attestation: Option<AttestationResult>,
}

/// Everything the registry starts from, in the order of names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LiveRows {
    /// Every bound app.
    pub apps: Vec<AppRow>,
    /// Every node with a registration, also expired ones.
    pub nodes: Vec<NodeRow>,
}

impl Store {
    /// Reads all apps and nodes.
    ///
    /// # Errors
    /// When the store is closed or a row holds what no server wrote.
    pub async fn load_live(&self) -> Result<LiveRows, StoreError> {
        self.run(|db| {
            Ok(LiveRows {
                apps: apps(db)?,
                nodes: nodes(db)?,
            })
        })
        .await
    }

    /// Keeps an attested registration: the app's binding and the node, both or neither.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn save_registration(&self, app: AppRow, node: NodeRow) -> Result<(), StoreError> {
        assert_eq!(app.name, node.app, "a node is saved with the app it serves");
        self.run(move |db| {
            put_app(db, &app)?;
            put_node(db, &node)?;
            match &node.attestation {
                Some(result) => attestations::put(db, &node.node_id, result),
                None => Ok(()),
            }
        })
        .await
    }

    /// Keeps the result of a node's re-attestation. A node that is gone meanwhile stays gone.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn save_attestation(
        &self,
        node_id: NodeId,
        result: AttestationResult,
    ) -> Result<(), StoreError> {
        self.run(move |db| match node_exists(db, &node_id)? {
            true => attestations::put(db, &node_id, &result),
            false => Ok(()),
        })
        .await
    }

    /// Keeps when nodes were last healthy; older times than the kept ones change nothing.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn save_health(&self, beats: Vec<(NodeId, Timestamp)>) -> Result<(), StoreError> {
        self.run(move |db| {
            beats
                .iter()
                .try_for_each(|(node, at)| put_health(db, node, *at))
        })
        .await
    }

    /// Forgets nodes and their last attestation.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn remove_nodes(&self, nodes: Vec<NodeId>) -> Result<(), StoreError> {
        self.run(move |db| nodes.iter().try_for_each(|node| delete_node(db, node)))
            .await
    }

    /// Forgets an app, its binding and its nodes.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn remove_app(&self, app: AppName) -> Result<(), StoreError> {
        self.run(move |db| delete_app(db, &app)).await
    }
}

fn apps(db: &Connection) -> Result<Vec<AppRow>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT name, repo, network, bound_at_us
         FROM app
         ORDER BY name",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(AppRow {
            name: parsed(row, "name")?,
            repo: parsed(row, "repo")?,
            network: parsed(row, "network")?,
            bound_at: time(row, "bound_at_us")?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn nodes(db: &Connection) -> Result<Vec<NodeRow>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT
             node.node_id,
             node.app,
             node.agent_id,
             node.release_tag,
             node.network,
             node.registered_at_us,
             node.expires_at_us,
             node.last_health_at_us,
             last_attestation.*
         FROM node
         LEFT JOIN last_attestation ON last_attestation.node_id = node.node_id
         ORDER BY node.node_id",
    )?;
    let rows = statement.query_map([], node)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn node(row: &Row<'_>) -> rusqlite::Result<NodeRow> {
    Ok(NodeRow {
        node_id: parsed(row, "node_id")?,
        app: parsed(row, "app")?,
        agent_id: parsed(row, "agent_id")?,
        release_tag: parsed(row, "release_tag")?,
        network: parsed(row, "network")?,
        registered_at: time(row, "registered_at_us")?,
        expires_at: time(row, "expires_at_us")?,
        last_health_at: optional_time(row, "last_health_at_us")?,
        attestation: match row.get::<_, Option<i64>>("at_us")? {
            Some(_) => Some(attestations::read(row)?),
            None => None,
        },
    })
}

fn put_app(db: &Connection, app: &AppRow) -> Result<(), StoreError> {
    let AppRow {
        name,
        repo,
        network,
        bound_at,
    } = app;
    db.prepare_cached(
        "INSERT INTO app (name, repo, network, bound_at_us)
         VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name) DO UPDATE SET
             repo = excluded.repo,
             network = excluded.network,
             bound_at_us = excluded.bound_at_us",
    )?
    .execute((
        name.as_str(),
        repo.as_str(),
        network.as_str(),
        bound_at.unix_micros(),
    ))?;
    Ok(())
}

fn put_node(db: &Connection, node: &NodeRow) -> Result<(), StoreError> {
    let NodeRow {
        node_id,
        app,
        agent_id,
        release_tag,
        network,
        registered_at,
        expires_at,
        last_health_at,
        attestation: _,
    } = node;
    db.prepare_cached(
        "INSERT INTO node (
             node_id, app, agent_id, release_tag, network,
             registered_at_us, expires_at_us, last_health_at_us
         )
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (node_id) DO UPDATE SET
             app = excluded.app,
             agent_id = excluded.agent_id,
             release_tag = excluded.release_tag,
             network = excluded.network,
             registered_at_us = excluded.registered_at_us,
             expires_at_us = excluded.expires_at_us,
             last_health_at_us = excluded.last_health_at_us",
    )?
    .execute((
        node_id.as_str(),
        app.as_str(),
        agent_id.as_str(),
        release_tag.as_str(),
        network.as_str(),
        registered_at.unix_micros(),
        expires_at.unix_micros(),
        last_health_at.map(Timestamp::unix_micros),
    ))?;
    Ok(())
}

fn node_exists(db: &Connection, node: &NodeId) -> Result<bool, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT 1
         FROM node
         WHERE node_id = ?1",
    )?;
    Ok(statement.exists([node.as_str()])?)
}

fn put_health(db: &Connection, node: &NodeId, at: Timestamp) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE node
         SET last_health_at_us = MAX(COALESCE(last_health_at_us, ?2), ?2)
         WHERE node_id = ?1",
    )?
    .execute((node.as_str(), at.unix_micros()))?;
    Ok(())
}

fn delete_node(db: &Connection, node: &NodeId) -> Result<(), StoreError> {
    db.prepare_cached(
        "DELETE FROM node
         WHERE node_id = ?1",
    )?
    .execute([node.as_str()])?;
    Ok(())
}

fn delete_app(db: &Connection, app: &AppName) -> Result<(), StoreError> {
    db.prepare_cached(
        "DELETE FROM node
         WHERE app = ?1",
    )?
    .execute([app.as_str()])?;
    db.prepare_cached(
        "DELETE FROM app
         WHERE name = ?1",
    )?
    .execute([app.as_str()])?;
    Ok(())
}
