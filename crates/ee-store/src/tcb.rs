//! When verified TCB info first marked a (FMSPC, level) as out of date: the start of its grace.
//!
//! Kept here because the grace must neither restart with the server nor count from Intel's own
//! date, which is often more than a year old (ATTESTATION 3, gotcha 2).

use ee_protocol::time::Timestamp;

use crate::{Store, StoreError, row::time};

impl Store {
    /// The first time the level of this platform family was seen out of date: `now`, unless an
    /// earlier time is kept.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn tcb_first_seen(
        &self,
        fmspc: [u8; 6],
        level: String,
        now: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        self.run(move |db| {
            let mut statement = db.prepare_cached(
                "INSERT INTO tcb_first_seen (fmspc, level, first_seen_us)
                 VALUES (?1, ?2, ?3)
                 ON CONFLICT (fmspc, level) DO UPDATE SET
                     first_seen_us = MIN(first_seen_us, excluded.first_seen_us)
                 RETURNING first_seen_us",
            )?;
            let first_seen = statement.query_row((fmspc, &level, now.unix_micros()), |row| {
                time(row, "first_seen_us")
            })?;
            Ok(first_seen)
        })
        .await
    }
}
