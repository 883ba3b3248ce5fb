//! A store in memory that can be told to fail: the double of tests and simulation.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use ee_core::journal::LedgerId;

use super::{
    Batch, Cell, CommitError, Direction, Head, LedgerStore, Lookup, Page, Row, Table, TableChange,
    Trail, cell::Discipline,
};
use crate::error::StoreError;

/// What goes wrong with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Undone: no space.
    DiskFull,
    /// The database was not reached.
    Unavailable,
    /// Committed, but the answer was lost.
    AnswerLost,
    /// Not committed, and no answer either.
    CommitLost,
    /// Sent twice by an over-eager driver.
    Doubled,
    /// Only the first half of the rows is written: a disk without honour.
    Torn,
}

/// Tables in memory; clones share them.
#[derive(Debug, Clone)]
pub struct MemoryLedger(Arc<Mutex<Inner>>);

/// A table and the columns that it is asked by.
type IndexName = (&'static str, &'static [&'static str]);
/// From the values of the columns to the primary keys of the rows that have them.
type Index = BTreeMap<Row, BTreeSet<Row>>;

#[derive(Debug)]
struct Inner {
    head: Head,
    tables: BTreeMap<&'static str, BTreeMap<Row, Row>>,
    indexes: BTreeMap<IndexName, Index>,
    faults: VecDeque<Fault>,
    commits: u64,
}

impl MemoryLedger {
    /// Books in which nothing has happened.
    pub fn new(ledger_id: LedgerId) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            head: Head::fresh(ledger_id),
            tables: BTreeMap::new(),
            indexes: BTreeMap::new(),
            faults: VecDeque::new(),
            commits: 0,
        })))
    }

    /// The next commit, or the one after those already told to, fails like this.
    pub fn fail_next(&self, fault: Fault) {
        self.inner().faults.push_back(fault);
    }

    /// Every row of a table, by primary key.
    pub fn rows(&self, table: &Table) -> Vec<Row> {
        self.inner().rows(table).cloned().collect()
    }

    /// How many commits took effect.
    pub fn commits(&self) -> u64 {
        self.inner().commits
    }

    /// Changes one cell behind everybody's back: for tests of the audit.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn tamper(&self, table: &'static Table, key: &[Cell], column: usize, value: Cell) {
        let mut inner = self.inner();
        let rows = inner.tables.get_mut(table.name);
        let row = rows
            .and_then(|rows| rows.get_mut(key))
            .expect("the row is there");
        row[column] = value;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}

impl Inner {
    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        if self.head.seq != batch.expected.seq || self.head.epoch != batch.expected.epoch {
            return Err(CommitError::Lost);
        }
        for change in &batch.changes {
            self.write(change, change.put.len());
        }
        self.head = batch.next.clone();
        self.commits += 1;
        Ok(())
    }

    fn write(&mut self, change: &TableChange, rows: usize) {
        let table = change.table;
        let kept = self.tables.entry(table.name).or_default();
        for key in &change.delete {
            assert_eq!(
                table.discipline,
                Discipline::Kept,
                "{} only grows",
                table.name
            );
            if let Some(row) = kept.remove(key) {
                unindex(&mut self.indexes, table, &row);
            }
        }
        for row in &change.put[..rows] {
            assert_eq!(
                row.len(),
                table.columns.len(),
                "a whole row of {}",
                table.name
            );
            let before = kept.insert(table.key_of(row).to_vec(), row.clone());
            assert!(
                before.is_none() || table.discipline == Discipline::Kept,
                "{} has this row already",
                table.name
            );
            if let Some(row) = before {
                assert_eq!(
                    row[..table.fixed],
                    kept[table.key_of(&row)][..table.fixed],
                    "these columns of {} never change",
                    table.name
                );
                unindex(&mut self.indexes, table, &row);
            }
            index(&mut self.indexes, table, row);
        }
    }

    fn fail(&mut self, fault: Fault, batch: &Batch) -> Result<(), CommitError> {
        match fault {
            Fault::DiskFull => Err(CommitError::DiskFull),
            Fault::Unavailable => Err(CommitError::Unavailable("told to".to_owned())),
            Fault::AnswerLost => {
                self.commit(batch)?;
                Err(CommitError::Unknown("the answer was lost".to_owned()))
            }
            Fault::CommitLost => Err(CommitError::Unknown("the commit was lost".to_owned())),
            Fault::Doubled => {
                let first = self.commit(batch);
                assert_eq!(self.commit(batch), Err(CommitError::Lost));
                first
            }
            Fault::Torn => {
                for change in &batch.changes {
                    self.write(change, change.put.len() / 2);
                }
                self.head = batch.next.clone();
                Err(CommitError::Unknown("the write was torn".to_owned()))
            }
        }
    }

    fn rows(&self, table: &Table) -> impl Iterator<Item = &Row> {
        self.tables
            .get(table.name)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    fn look_up(&mut self, wanted: &Lookup) -> Vec<Row> {
        let name = (wanted.table.name, wanted.columns);
        if !self.indexes.contains_key(&name) {
            let mut made = BTreeMap::from([(name, Index::new())]);
            for row in self.rows(wanted.table) {
                index(&mut made, wanted.table, row);
            }
            self.indexes.append(&mut made);
        }
        let keys = self.indexes[&name].get(&wanted.values);
        let rows = self.tables.get(wanted.table.name);
        let found = keys.into_iter().flatten();
        found.filter_map(|key| rows?.get(key)).cloned().collect()
    }

    fn page(&self, page: &Page) -> Vec<Row> {
        let order = positions(page.table, page.order);
        let place = |row: &Row| -> Row { order.iter().map(|&at| row[at].clone()).collect() };
        let fits = |row: &&Row| {
            let mut pairs = page.equals.iter();
            pairs.all(|(column, value)| row[page.table.position(column)] == *value)
        };
        let behind = |row: &&Row| match (&page.after, page.direction) {
            (None, _) => true,
            (Some(after), Direction::Ascending) => place(row) > *after,
            (Some(after), Direction::Descending) => place(row) < *after,
        };
        let mut found: Vec<Row> = self
            .rows(page.table)
            .filter(fits)
            .filter(behind)
            .cloned()
            .collect();
        found.sort_by_key(place);
        if page.direction == Direction::Descending {
            found.reverse();
        }
        found.truncate(usize::try_from(page.limit).unwrap_or(usize::MAX));
        found
    }
}

fn index(indexes: &mut BTreeMap<IndexName, Index>, table: &Table, row: &Row) {
    for ((_, columns), index) in indexes.iter_mut().filter(|(name, _)| name.0 == table.name) {
        let values = values(table, columns, row);
        let keys = index.entry(values).or_default();
        keys.insert(table.key_of(row).to_vec());
    }
}

fn unindex(indexes: &mut BTreeMap<IndexName, Index>, table: &Table, row: &Row) {
    for ((_, columns), index) in indexes.iter_mut().filter(|(name, _)| name.0 == table.name) {
        if let Some(keys) = index.get_mut(&values(table, columns, row)) {
            keys.remove(table.key_of(row));
        }
    }
}

fn values(table: &Table, columns: &[&str], row: &Row) -> Row {
    columns
        .iter()
        .map(|name| row[table.position(name)].clone())
        .collect()
}

fn positions(table: &Table, columns: &[&str]) -> Vec<usize> {
    columns.iter().map(|name| table.position(name)).collect()
}

impl LedgerStore for MemoryLedger {
    async fn head(&self) -> Result<Head, StoreError> {
        Ok(self.inner().head.clone())
    }

    async fn lookup(&self, wanted: Vec<Lookup>) -> Result<Vec<Vec<Row>>, StoreError> {
        let mut inner = self.inner();
        Ok(wanted.iter().map(|one| inner.look_up(one)).collect())
    }

    async fn trail(&self, trail: Trail) -> Result<Vec<Row>, StoreError> {
        let inner = self.inner();
        let rows = inner.tables.get(Trail::table().name);
        trail.follow(|no| rows?.get(no).cloned())
    }

    async fn page(&self, page: Page) -> Result<Vec<Row>, StoreError> {
        Ok(self.inner().page(&page))
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let mut inner = self.inner();
        match inner.faults.pop_front() {
            Some(fault) => inner.fail(fault, &batch),
            None => inner.commit(&batch),
        }
    }

    async fn failed(&self) -> String {
        std::future::pending().await
    }
}
