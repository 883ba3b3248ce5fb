//! Where books lie, and books at work without a server around them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use ee_control::books::BooksHandle;
use ee_control::ports::Clock;
use ee_control::sequencer;
use ee_core::books::Policy;
use ee_protocol::time::Timestamp;
use ee_store::ledger::{Ledger, SqliteLedger};
use ee_store::postgres::PostgresLedger;
use ee_testbed::{PostgresCluster, postgres::new_schema};
use tokio::sync::oneshot;

use super::Store;
use crate::stopwatch::unix_seconds;

/// Time is an argument of the books; it moves when the benchmark says so.
pub struct Hands(AtomicI64);

/// The start of an hour that is over, so that a server may take the books on.
impl Default for Hands {
    fn default() -> Self {
        Self(AtomicI64::new((unix_seconds() / 3600 - 3) * 3600))
    }
}

impl Hands {
    /// Moves on.
    pub fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.0.load(Ordering::Relaxed))
    }
}

/// The stores under measurement.
pub struct Places {
    cluster: Option<PostgresCluster>,
    places: Vec<Place>,
}

impl Places {
    pub fn new(folder: &Path, only: Option<Store>) -> Result<Self> {
        let mut places = Vec::new();
        if only != Some(Store::Postgres) {
            places.push(Place::Sqlite {
                folder: folder.to_owned(),
                used: AtomicU32::new(0),
            });
        }
        let cluster = match only {
            Some(Store::Sqlite) => None,
            _ => Some(PostgresCluster::start().context("PostgreSQL")?),
        };
        if let Some(cluster) = &cluster {
            places.push(Place::Postgres {
                folder: folder.to_owned(),
                url: cluster.url(),
                used: AtomicU32::new(0),
            });
        }
        Ok(Self { cluster, places })
    }

    pub fn cluster(&self) -> Option<&PostgresCluster> {
        self.cluster.as_ref()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }
}

/// A store in which books can be opened.
pub enum Place {
    Sqlite {
        folder: PathBuf,
        used: AtomicU32,
    },
    Postgres {
        folder: PathBuf,
        url: String,
        used: AtomicU32,
    },
}

/// Books that nobody has written to yet, or that somebody did.
#[derive(Clone)]
pub enum Spot {
    Sqlite(PathBuf),
    /// The folder of what is no ledger, and the URL of the ledger.
    Postgres(PathBuf, String),
}

impl Place {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "SQLite",
            Self::Postgres { .. } => "PostgreSQL",
        }
    }

    pub const fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }

    /// Room for new books.
    pub fn fresh(&self) -> Result<Spot> {
        match self {
            Self::Sqlite { folder, used } => {
                let number = used.fetch_add(1, Ordering::Relaxed);
                Ok(Spot::Sqlite(folder.join(format!("books-{number}.db"))))
            }
            Self::Postgres { folder, url, used } => {
                let number = used.fetch_add(1, Ordering::Relaxed);
                let url = new_schema(url, &format!("books_{number}"))?;
                Ok(Spot::Postgres(folder.join(format!("rest-{number}")), url))
            }
        }
    }
}

impl Spot {
    /// The store, opened.
    pub async fn ledger(&self) -> Result<(Ledger, Option<ee_store::Store>)> {
        match self {
            Self::Sqlite(path) => {
                let store = ee_store::Store::open(path)?;
                let ledger = SqliteLedger::open(store.clone(), [7; 16]).await?;
                Ok((Ledger::Sqlite(ledger), Some(store)))
            }
            Self::Postgres(_, url) => {
                let ledger = PostgresLedger::open(url, [7; 16]).await?;
                Ok((Ledger::Postgres(ledger), None))
            }
        }
    }

    /// Removes the files, so that a long run does not fill the disk. A schema goes with its
    /// cluster.
    pub fn remove(&self) {
        let Self::Sqlite(path) = self else { return };
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            // What is not there need not go.
            let _ = std::fs::remove_file(name);
        }
    }

    /// Opens the books, lets them work on a thread of their own as in a server, and gives the
    /// handle to `load`.
    pub fn with_books<T, F>(&self, load: impl FnOnce(BooksHandle, Arc<Hands>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let (ledger, store) = self.ledger().await?;
            let hands = Arc::new(Hands::default());
            let opened = sequencer::open(ledger, Arc::clone(&hands) as _, Policy::documented());
            let (handle, sequencer) = opened.await.context("opening the books")?;
            let (stop, stopped) = oneshot::channel::<()>();
            let books = thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let stop = async {
                    // Dropped or sent: both mean the end.
                    let _ = stopped.await;
                };
                runtime.map(|runtime| runtime.block_on(sequencer.run(stop)))
            });
            let outcome = load(handle, hands).await;
            drop(stop);
            let ended = books.join();
            ended.map_err(|_| anyhow!("the books' thread panicked"))??;
            if let Some(store) = store {
                store.close().await;
            }
            outcome
        })
    }
}
