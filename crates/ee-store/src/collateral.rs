//! The highest numbers of collateral ever accepted: an older item never takes a newer one's
//! place, not even after a restart with an empty cache directory (ATTESTATION 6).

use ee_protocol::time::Timestamp;

use crate::{
    Store, StoreError,
    row::{signed, time, unsigned},
};

/// How far an item has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollateralMark {
    /// The item's name: `tcb-info-50806f000000`.
    pub item: String,
    /// Evaluation number, or number of the revocation list.
    pub number: u64,
    /// Date of issue.
    pub issued_at: Timestamp,
}

impl Store {
    /// Every mark.
    ///
    /// # Errors
    /// When the store is closed or a row holds what no server wrote.
    pub async fn collateral_marks(&self) -> Result<Vec<CollateralMark>, StoreError> {
        self.run(|db| {
            let mut statement = db.prepare_cached(
                "SELECT item, number, issued_at_us
                 FROM collateral_mark
                 ORDER BY item",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(CollateralMark {
                    item: row.get("item")?,
                    number: unsigned(row, "number")?,
                    issued_at: time(row, "issued_at_us")?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Raises a mark; neither of its values ever goes down.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn raise_collateral_mark(&self, mark: CollateralMark) -> Result<(), StoreError> {
        self.run(move |db| {
            let CollateralMark {
                item,
                number,
                issued_at,
            } = &mark;
            db.prepare_cached(
                "INSERT INTO collateral_mark (item, number, issued_at_us)
                 VALUES (?1, ?2, ?3)
                 ON CONFLICT (item) DO UPDATE SET
                     number = MAX(number, excluded.number),
                     issued_at_us = MAX(issued_at_us, excluded.issued_at_us)",
            )?
            .execute((item, signed(*number), issued_at.unix_micros()))?;
            Ok(())
        })
        .await
    }
}
