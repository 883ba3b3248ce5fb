//! The books on disk: what a ledger's store must do, and the stores that do it (LEDGER 12).
//!
//! A store keeps cells of described tables ([`Table`]) and one head. [`LedgerStore::commit`]
//! writes a batch (journal, changed rows, requests, head) in one transaction, and only if the head
//! is still the one that the batch was made on.
//!
//! **Invariants:** what `commit` answered with `Ok` is durable; what it answered with
//! [`CommitError::DiskFull`], [`CommitError::Unavailable`] or [`CommitError::Lost`] has left no
//! trace; after [`CommitError::Unknown`] nobody may go on with what is in memory.

use std::future::Future;

use ee_core::journal::{LedgerId, Root};
use ee_protocol::time::Timestamp;

use crate::error::StoreError;

mod any;
pub mod behind;
pub mod books;
mod cell;
pub mod history;
mod memory;
pub mod needs;
pub mod requests;
pub mod rows;
mod sqlite;
mod start;
pub mod tables;
mod trail;
mod walk;

pub use any::Ledger;
pub use behind::Behind;
pub(crate) use cell::spelled;
pub use cell::{Cell, Column, ColumnKind, Discipline, Presence, Row, Table};
pub use memory::{Fault, MemoryLedger};
pub use sqlite::SqliteLedger;
pub use tables::{JOURNAL, REQUEST, TABLES};
pub use trail::Trail;

/// Where the books stand: one row, moved by every commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which books these are.
    pub ledger_id: LedgerId,
    /// The last batch; 0 before the first.
    pub batch: u64,
    /// The last record; 0 before the first.
    pub seq: u64,
    /// Under which leadership it was written.
    pub epoch: u64,
    /// The chain's value up to and including the last batch.
    pub root: Root,
    /// The time of the last batch.
    pub at: Timestamp,
}

impl Head {
    /// The head of books in which nothing has happened.
    pub fn fresh(ledger_id: LedgerId) -> Self {
        Self {
            ledger_id,
            batch: 0,
            seq: 0,
            epoch: 1,
            root: ee_core::journal::genesis(&ledger_id),
            at: Timestamp::EPOCH,
        }
    }
}

/// What a batch does to one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChange {
    /// The table.
    pub table: &'static Table,
    /// Rows to write: new ones, and, in a kept table, in place of those with the same key.
    pub put: Vec<Row>,
    /// Keys of rows to remove; always empty for appended tables.
    pub delete: Vec<Row>,
}

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The head that it was made on: `seq` and `epoch` must still hold.
    pub expected: Head,
    /// The head afterwards.
    pub next: Head,
    /// What changes, journal and requests included; each table at most once.
    pub changes: Vec<TableChange>,
}

/// Rows whose named columns have these values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Where.
    pub table: &'static Table,
    /// Columns of an index.
    pub columns: &'static [&'static str],
    /// Their values.
    pub values: Row,
}

/// Which way a page reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Greatest first.
    Descending,
}

/// A part of a table, in the order of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Where.
    pub table: &'static Table,
    /// Columns that must have these values.
    pub equals: Vec<(&'static str, Cell)>,
    /// By which columns it is sorted; together with `equals` they name a row.
    pub order: &'static [&'static str],
    /// Begin behind the row with these values of `order`.
    pub after: Option<Row>,
    /// Which way.
    pub direction: Direction,
    /// At most so many rows.
    pub limit: u32,
}

/// Why a batch was not committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// No space: the batch was undone, reads go on.
    #[error("the disk that holds the books is full")]
    DiskFull,
    /// The database does not answer; the batch is surely not in it.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// The head has moved: another replica leads.
    #[error("another process has written to these books")]
    Lost,
    /// Whether the batch is durable shows at the next start.
    #[error("the outcome of the last commit is unknown: {0}")]
    Unknown(String),
}

/// What keeps the books.
pub trait LedgerStore: Clone + Send + Sync + 'static {
    /// Where the books stand.
    fn head(&self) -> impl Future<Output = Result<Head, StoreError>> + Send;

    /// The rows that were asked for: one answer a lookup, in their order.
    fn lookup(
        &self,
        wanted: Vec<Lookup>,
    ) -> impl Future<Output = Result<Vec<Vec<Row>>, StoreError>> + Send;

    /// A part of an account's history.
    fn trail(&self, trail: Trail) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;

    /// One page of a table.
    fn page(&self, page: Page) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;

    /// Makes a batch durable, whole or not at all.
    fn commit(&self, batch: Batch) -> impl Future<Output = Result<(), CommitError>> + Send;

    /// Resolves, with the reason, when the store can no longer vouch for what it wrote.
    fn failed(&self) -> impl Future<Output = String> + Send;
}
