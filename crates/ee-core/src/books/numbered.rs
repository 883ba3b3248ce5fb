//! The accounts in memory: a table like [`super::table::Table`] whose keys are 1, 2, 3, …, so a
//! row is found and marked as touched without a search. Each transfer touches two.

use super::{AccountNo, rows::AccountRow};

/// Rows by number, with the old values of those touched since the last commit.
#[derive(Debug, Clone, Default)]
pub(super) struct Accounts {
    rows: Vec<AccountRow>,
    /// For each row, the batch that last touched it.
    stamps: Vec<u64>,
    /// The batch in hand, from 1; a stamp of 0 is a row that was never touched.
    batch: u64,
    /// How many rows were committed.
    durable: usize,
    /// The committed values of rows that were touched.
    touched: Vec<AccountRow>,
}

impl Accounts {
    /// A table of committed rows.
    ///
    /// # Panics
    /// If a number is missing.
    pub(super) fn of(mut rows: Vec<AccountRow>) -> Self {
        rows.sort_unstable_by_key(|row| row.no);
        let numbers = rows.iter().zip(1..);
        assert!(
            numbers.into_iter().all(|(row, no)| row.no == AccountNo(no)),
            "no number is missing"
        );
        let (stamps, durable) = (vec![0; rows.len()], rows.len());
        Self {
            rows,
            stamps,
            batch: 1,
            durable,
            touched: Vec::new(),
        }
    }

    pub(super) fn get(&self, no: AccountNo) -> Option<&AccountRow> {
        self.rows.get(place(no)?)
    }

    /// The row, to be changed.
    pub(super) fn get_mut(&mut self, no: AccountNo) -> Option<&mut AccountRow> {
        let place = place(no)?;
        let row = self.rows.get_mut(place)?;
        if self.stamps[place] != self.batch {
            self.stamps[place] = self.batch;
            if place < self.durable {
                self.touched.push(row.clone());
            }
        }
        Some(row)
    }

    /// The number of the next row.
    pub(super) fn next(&self) -> AccountNo {
        let next = self.rows.len() + 1;
        AccountNo(u32::try_from(next).expect("four thousand million accounts do not fit memory"))
    }

    /// Adds the row of the next number.
    pub(super) fn push(&mut self, row: AccountRow) {
        assert!(row.no == self.next(), "numbers leave no gap");
        self.rows.push(row);
        self.stamps.push(self.batch);
    }

    /// Takes the last row back, which was added since the last commit.
    pub(super) fn pop(&mut self) -> Option<AccountRow> {
        assert!(self.rows.len() > self.durable, "what is committed stays");
        self.stamps.pop();
        self.rows.pop()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &AccountRow> {
        self.rows.iter()
    }

    /// The rows after this number.
    pub(super) fn after(&self, no: AccountNo) -> &[AccountRow] {
        let first = usize::try_from(no.0).unwrap_or(usize::MAX);
        self.rows.get(first..).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows that were added since the last commit.
    pub(super) fn added(&self) -> &[AccountRow] {
        &self.rows[self.durable..]
    }

    /// The rows that the store must write, by number.
    pub(super) fn upserts(&self) -> Vec<AccountRow> {
        let row = |old: &AccountRow| self.get(old.no).expect("rows stay");
        let changed = self.touched.iter().map(|old| (old, row(old)));
        let changed = changed.filter(|(old, new)| old != new).map(|(_, new)| new);
        let mut rows: Vec<AccountRow> = changed.chain(self.added()).cloned().collect();
        rows.sort_unstable_by_key(|row| row.no);
        rows
    }

    /// The numbers of changed rows that transfers do not tell: added, or of another kind.
    pub(super) fn untold(&self) -> Vec<AccountNo> {
        let row = |old: &AccountRow| self.get(old.no).expect("rows stay");
        let kinds = self.touched.iter().filter(|old| old.kind != row(old).kind);
        let added = self.added().iter();
        kinds.chain(added).map(|row| row.no).collect()
    }

    /// The rows touched since the last commit: their values then and now.
    pub(super) fn touched(&self) -> impl Iterator<Item = (Option<&AccountRow>, &AccountRow)> {
        let row = |old: &AccountRow| self.get(old.no).expect("rows stay");
        let changed = self.touched.iter().map(move |old| (Some(old), row(old)));
        changed.chain(self.added().iter().map(|new| (None, new)))
    }

    /// The changes are durable: the old values are forgotten.
    pub(super) fn committed(&mut self) {
        self.touched.clear();
        self.durable = self.rows.len();
        self.batch += 1;
    }

    /// The changes were not written: every row is as it was at the last commit.
    pub(super) fn roll_back(&mut self) {
        self.rows.truncate(self.durable);
        self.stamps.truncate(self.durable);
        for row in self.touched.drain(..) {
            let place = place(row.no).expect("numbers begin at 1");
            self.rows[place] = row;
        }
        self.batch += 1;
    }
}

fn place(no: AccountNo) -> Option<usize> {
    usize::try_from(no.0.checked_sub(1)?).ok()
}
