//! Who changed what in the registry: rows that commit with the change and never go.

use ee_protocol::time::Timestamp;

use crate::{
    Store, StoreError,
    row::{signed, time, unsigned},
};

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place, from 1 without gaps.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The name of the token that asked.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub subject: String,
}

impl Store {
    /// Changes before a place, newest first.
    ///
    /// # Errors
    /// When the store is closed, or a row holds what no server wrote.
    pub async fn audit_trail(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let before = before.map_or(i64::MAX, signed);
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT seq,
                        at_us,
                        actor,
                        action,
                        subject
                 FROM audit
                 WHERE seq < ?1
                 ORDER BY seq DESC
                 LIMIT ?2",
            )?;
            let rows = statement.query_map((before, limit), |row| {
                Ok(AuditRow {
                    seq: unsigned(row, "seq")?,
                    at: time(row, "at_us")?,
                    actor: row.get("actor")?,
                    action: row.get("action")?,
                    subject: row.get("subject")?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
