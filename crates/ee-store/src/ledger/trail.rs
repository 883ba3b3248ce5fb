//! An account's history: from its newest transfer back, each naming the one before it.

use ee_core::books::{AccountNo, EntryNo, rows::TransferRow};

use super::{
    Cell, Row, Table,
    rows::{field::Field, stored::Stored, tables::TRANSFER},
};
use crate::error::StoreError;

/// A part of an account's history, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    /// Whose.
    pub(crate) account: Cell,
    /// The number of the transfer that it begins with.
    pub(crate) from: Cell,
    /// At most so many rows.
    pub(crate) limit: u32,
}

impl Trail {
    /// The history of an account from this transfer back.
    pub(crate) fn of(account: AccountNo, from: EntryNo, limit: u32) -> Self {
        Self {
            account: account.to_cell(),
            from: from.to_cell(),
            limit,
        }
    }

    /// The query in both dialects: parameters are the beginning, the account, the limit. A
    /// transfer in which the account does not stand ends it.
    pub(crate) fn sql() -> String {
        let columns: Vec<String> = TRANSFER
            .order
            .iter()
            .map(|name| format!("t.\"{name}\""))
            .collect();
        format!(
            "WITH RECURSIVE trail (no) AS (
                 SELECT CAST($1 AS BIGINT)
                 UNION ALL
                 SELECT CASE WHEN t.debit = $2 THEN t.debit_before ELSE t.credit_before END
                 FROM trail
                 JOIN transfer t ON t.no = trail.no
                 WHERE t.debit = $2 OR t.credit = $2
             )
             SELECT {}
             FROM trail
             JOIN transfer t ON t.no = trail.no
             WHERE t.debit = $2 OR t.credit = $2
             LIMIT $3",
            columns.join(", ")
        )
    }

    /// Its parameters.
    pub(crate) fn values(&self) -> [Cell; 3] {
        [
            self.from.clone(),
            self.account.clone(),
            self.limit.to_cell(),
        ]
    }

    /// The table of its rows.
    pub(crate) const fn table() -> &'static Table {
        &TRANSFER
    }

    /// Follows it through rows that are found one by one.
    pub(crate) fn follow(
        &self,
        find: impl Fn(&[Cell]) -> Option<Row>,
    ) -> Result<Vec<Row>, StoreError> {
        let account = AccountNo::from_cell(self.account.clone())?;
        let mut rows = Vec::new();
        let mut next = Some(self.from.clone());
        while let Some(no) = next
            && rows.len() < self.limit as usize
            && let Some(row) = find(std::slice::from_ref(&no))
        {
            let transfer = TransferRow::from_row(row.clone())?;
            if transfer.debit != account && transfer.credit != account {
                break;
            }
            next = transfer.before(account).map(|no| no.to_cell());
            rows.push(row);
        }
        Ok(rows)
    }
}
