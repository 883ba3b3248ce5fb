//! Forward-only migrations: each script runs once, in its own transaction, and its SHA-256 is
//! kept. A database that a newer program migrated, or whose scripts differ from ours, is refused.

use std::path::Path;

use ring::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::error::OpenError;

/// The scripts in order; version = position + 1. Append only, and only compatible changes: the
/// running release must still work on the next one's schema.
const SCRIPTS: &[&str] = &[
    include_str!("migrations/0001_live_half.sql"),
    include_str!("migrations/0002_books.sql"),
    include_str!("migrations/0003_tokens.sql"),
];

/// Brings the schema up to the newest script.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    apply(connection, path, SCRIPTS)
}

/// Checks that the schema is exactly the newest one, and changes nothing.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    };
    let known = i64::try_from(SCRIPTS.len()).expect("scripts are few");
    let found = newest(connection).map_err(sqlite)?;
    if found > known {
        return Err(OpenError::NewerSchema {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (version, script) in (1..).zip(SCRIPTS) {
        let sum = digest(&SHA256, script.as_bytes());
        match recorded(connection, version).map_err(sqlite)? {
            Some(recorded) if recorded == sum.as_ref() => {}
            Some(_) => {
                return Err(OpenError::ChangedScript {
                    path: path.to_owned(),
                    version,
                });
            }
            None => {
                return Err(OpenError::OlderSchema {
                    path: path.to_owned(),
                    found,
                    known,
                });
            }
        }
    }
    Ok(())
}

fn apply(connection: &mut Connection, path: &Path, scripts: &[&str]) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    };
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS schema_migration (
                 version INTEGER NOT NULL PRIMARY KEY,
                 sha256 BLOB NOT NULL CHECK (length(sha256) = 32)
             ) STRICT",
        )
        .map_err(sqlite)?;
    let known = i64::try_from(scripts.len()).expect("scripts are few");
    let found = newest(connection).map_err(sqlite)?;
    if found > known {
        return Err(OpenError::NewerSchema {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (version, script) in (1..).zip(scripts) {
        let sum = digest(&SHA256, script.as_bytes());
        match recorded(connection, version).map_err(sqlite)? {
            Some(recorded) if recorded == sum.as_ref() => {}
            Some(_) => {
                return Err(OpenError::ChangedScript {
                    path: path.to_owned(),
                    version,
                });
            }
            None => run(connection, version, script, sum.as_ref()).map_err(sqlite)?,
        }
    }
    Ok(())
}

fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row(
        "SELECT COALESCE(MAX(version), 0)
         FROM schema_migration",
        [],
        |row| row.get(0),
    )
}

fn recorded(connection: &Connection, version: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .query_row(
            "SELECT sha256
             FROM schema_migration
             WHERE version = ?1",
            [version],
            |row| row.get(0),
        )
        .optional()
}

fn run(
    connection: &mut Connection,
    version: i64,
    script: &str,
    sum: &[u8],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(script)?;
    transaction.execute(
        "INSERT INTO schema_migration (version, sha256)
         VALUES (?1, ?2)",
        (version, sum),
    )?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> &'static Path {
        Path::new(":memory:")
    }

    #[test]
    fn scripts_run_once_and_in_order() {
        let mut db = Connection::open_in_memory().unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT";
        let second = "ALTER TABLE a ADD COLUMN y INTEGER";
        apply(&mut db, path(), &[first]).unwrap();
        apply(&mut db, path(), &[first, second]).unwrap();
        apply(&mut db, path(), &[first, second]).unwrap();
        assert_eq!(newest(&db).unwrap(), 2);
    }

    #[test]
    fn a_changed_script_is_refused() {
        let mut db = Connection::open_in_memory().unwrap();
        apply(&mut db, path(), &["CREATE TABLE a (x INTEGER) STRICT"]).unwrap();
        let refused = apply(&mut db, path(), &["CREATE TABLE a (x TEXT) STRICT"]);
        assert!(matches!(
            refused,
            Err(OpenError::ChangedScript { version: 1, .. })
        ));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let mut db = Connection::open_in_memory().unwrap();
        apply(&mut db, path(), &["SELECT 1", "SELECT 2"]).unwrap();
        let refused = apply(&mut db, path(), &["SELECT 1"]);
        assert!(matches!(
            refused,
            Err(OpenError::NewerSchema {
                found: 2,
                known: 1,
                ..
            })
        ));
    }

    #[test]
    fn a_script_that_fails_leaves_nothing_behind() {
        let mut db = Connection::open_in_memory().unwrap();
        let broken = "CREATE TABLE a (x INTEGER) STRICT; CREATE TABLE a (x INTEGER) STRICT";
        assert!(apply(&mut db, path(), &[broken]).is_err());
        assert_eq!(newest(&db).unwrap(), 0);
        assert!(db.prepare("SELECT x FROM a").is_err());
    }
}
