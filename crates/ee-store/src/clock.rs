//! The highest time ever acted on: a clock set back must not bring expired collateral to life.

use ee_protocol::time::Timestamp;
use rusqlite::OptionalExtension;

use crate::{Store, StoreError, row::time};

impl Store {
    /// The highest time kept, if any.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn clock_mark(&self) -> Result<Option<Timestamp>, StoreError> {
        self.run(|db| {
            let mut statement = db.prepare_cached(
                "SELECT now_us
                 FROM clock_mark
                 WHERE id = 1",
            )?;
            Ok(statement
                .query_row([], |row| time(row, "now_us"))
                .optional()?)
        })
        .await
    }

    /// Raises the highest time; an earlier one changes nothing.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn raise_clock_mark(&self, now: Timestamp) -> Result<(), StoreError> {
        self.run(move |db| {
            db.prepare_cached(
                "INSERT INTO clock_mark (id, now_us)
                 VALUES (1, ?1)
                 ON CONFLICT (id) DO UPDATE SET
                     now_us = MAX(now_us, excluded.now_us)",
            )?
            .execute([now.unix_micros()])?;
            Ok(())
        })
        .await
    }
}
