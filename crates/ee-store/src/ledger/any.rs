//! The store that was configured: one type for everybody above.

use super::{
    Batch, CommitError, Head, LedgerStore, Lookup, MemoryLedger, Page, Row, SqliteLedger, Trail,
};
use crate::{error::StoreError, postgres::PostgresLedger};

/// Where the books are.
#[derive(Debug, Clone)]
pub enum Ledger {
    /// In the database of this server (`EE_DB_PATH`).
    Sqlite(SqliteLedger),
    /// In PostgreSQL (`EE_DATABASE_URL`).
    Postgres(PostgresLedger),
    /// In memory: tests and simulation.
    Memory(MemoryLedger),
}

impl Ledger {
    /// Whether a batch could be committed now, as far as this process knows.
    ///
    /// # Errors
    /// Why not: PostgreSQL is away, or another server has the books.
    pub fn writable(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) | Self::Memory(_) => Ok(()),
            Self::Postgres(ledger) => ledger.writable(),
        }
    }
}

impl LedgerStore for Ledger {
    async fn head(&self) -> Result<Head, StoreError> {
        match self {
            Self::Sqlite(ledger) => ledger.head().await,
            Self::Postgres(ledger) => ledger.head().await,
            Self::Memory(ledger) => ledger.head().await,
        }
    }

    async fn lookup(&self, wanted: Vec<Lookup>) -> Result<Vec<Vec<Row>>, StoreError> {
        match self {
            Self::Sqlite(ledger) => ledger.lookup(wanted).await,
            Self::Postgres(ledger) => ledger.lookup(wanted).await,
            Self::Memory(ledger) => ledger.lookup(wanted).await,
        }
    }

    async fn trail(&self, trail: Trail) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(ledger) => ledger.trail(trail).await,
            Self::Postgres(ledger) => ledger.trail(trail).await,
            Self::Memory(ledger) => ledger.trail(trail).await,
        }
    }

    async fn page(&self, page: Page) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(ledger) => ledger.page(page).await,
            Self::Postgres(ledger) => ledger.page(page).await,
            Self::Memory(ledger) => ledger.page(page).await,
        }
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        match self {
            Self::Sqlite(ledger) => ledger.commit(batch).await,
            Self::Postgres(ledger) => ledger.commit(batch).await,
            Self::Memory(ledger) => ledger.commit(batch).await,
        }
    }

    async fn failed(&self) -> String {
        match self {
            Self::Sqlite(ledger) => ledger.failed().await,
            Self::Postgres(ledger) => ledger.failed().await,
            Self::Memory(ledger) => ledger.failed().await,
        }
    }
}
