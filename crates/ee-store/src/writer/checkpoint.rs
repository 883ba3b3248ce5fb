//! When the log goes into the main file.

use super::Writer;
use crate::error::StoreError;

/// A checkpoint runs between batches once the log has so many pages, 16 MiB: SQLite's automatic
/// ones at 4 MiB put 20 to 63 ms into the middle of commits (LEDGER 12).
const CHECKPOINT_ABOVE_PAGES: i64 = 4_096;

impl Writer {
    /// Moves the log into the main file without waiting for anybody, when it is long. The file of
    /// the log keeps its length: writing into it needs no new blocks, so a commit is one write and
    /// one flush.
    ///
    /// A failed flush ends the store: the next one may report success for pages that are lost.
    pub(super) fn checkpoint(&self) -> Result<(), String> {
        let pages = self
            .checkpointed("NOOP")
            .map_err(|error| error.to_string())?;
        if pages <= CHECKPOINT_ABOVE_PAGES {
            return Ok(());
        }
        match self.checkpointed("PASSIVE").map_err(StoreError::from) {
            Err(StoreError::OutcomeUnknown(reason)) => Err(reason),
            // The log stays valid, and the next batch tries again.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// How many pages the log has; -1 where there is none.
    fn checkpointed(&self, mode: &str) -> rusqlite::Result<i64> {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let mut statement = self.connection.prepare_cached(&sql)?;
        statement.query_row([], |row| row.get("log"))
    }
}
