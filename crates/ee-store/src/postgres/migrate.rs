//! Forward-only migrations of the books in PostgreSQL: what the SQLite migrator does, in one
//! transaction that an advisory lock keeps other servers out of.

use ring::digest::{SHA256, digest};
use tokio_postgres::Client;

use super::error::PostgresError;

/// The scripts in order; version = position + 1. Append only, and only compatible changes: the
/// running release must still work on the next one's schema.
pub(super) const SCRIPTS: &[&str] = &[include_str!("0001_books.sql")];

/// Names the lock among others' in the same database: `ee books` in ASCII.
const LOCK: i64 = 0x0065_6520_626f_6f6b;

/// Brings the schema up to the newest script.
pub(super) async fn migrate(client: &Client, scripts: &[&str]) -> Result<(), PostgresError> {
    client
        .batch_execute(&format!(
            "BEGIN;
             SELECT pg_advisory_xact_lock({LOCK});
             CREATE TABLE IF NOT EXISTS schema_migration (
                 version BIGINT NOT NULL PRIMARY KEY,
                 sha256 BYTEA NOT NULL CHECK (length(sha256) = 32)
             )"
        ))
        .await?;
    let outcome = apply(client, scripts).await;
    let end = if outcome.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    client.batch_execute(end).await?;
    outcome
}

/// Whether books that are only to be read are of our schema.
pub(super) async fn check(client: &Client, scripts: &[&str]) -> Result<(), PostgresError> {
    let table = client
        .query_one("SELECT to_regclass('schema_migration') IS NOT NULL", &[])
        .await?;
    let found = match table.get(0) {
        true => recorded(client, scripts).await?,
        false => 0,
    };
    let known = version(scripts);
    if found < known {
        return Err(PostgresError::OlderSchema { found, known });
    }
    Ok(())
}

async fn apply(client: &Client, scripts: &[&str]) -> Result<(), PostgresError> {
    let found = recorded(client, scripts).await?;
    for (version, script) in (1_i64..).zip(scripts) {
        if version <= found {
            continue;
        }
        client.batch_execute(script).await?;
        client
            .execute(
                "INSERT INTO schema_migration (version, sha256)
                 VALUES ($1, $2)",
                &[&version, &sum(script)],
            )
            .await?;
    }
    Ok(())
}

/// The newest version that was applied, all of them from our scripts.
async fn recorded(client: &Client, scripts: &[&str]) -> Result<i64, PostgresError> {
    let rows = client
        .query(
            "SELECT version, sha256
             FROM schema_migration
             ORDER BY version",
            &[],
        )
        .await?;
    let known = version(scripts);
    let found = rows.last().map_or(0, |row| row.get(0));
    if found > known {
        return Err(PostgresError::NewerSchema { found, known });
    }
    for ((expected, script), row) in (1_i64..).zip(scripts).zip(&rows) {
        let (version, sha256): (i64, Vec<u8>) = (row.get(0), row.get(1));
        if version != expected || sha256 != sum(script) {
            return Err(PostgresError::ChangedScript { version: expected });
        }
    }
    Ok(found)
}

fn version(scripts: &[&str]) -> i64 {
    i64::try_from(scripts.len()).expect("scripts are few")
}

fn sum(script: &str) -> Vec<u8> {
    digest(&SHA256, script.as_bytes()).as_ref().to_vec()
}
