//! The stores under test, each empty and of its own.

use std::sync::atomic::{AtomicU32, Ordering};

use ee_store::{
    Store,
    ledger::{MemoryLedger, SqliteLedger},
    postgres::PostgresLedger,
};
use ee_testbed::postgres::TEST_URL;
use tokio_postgres::NoTls;

/// The identity of every ledger under test.
pub const LEDGER: [u8; 16] = *b"ledger of a test";

pub fn memory() -> MemoryLedger {
    MemoryLedger::new(LEDGER)
}

pub async fn sqlite() -> SqliteLedger {
    let store = Store::in_memory().unwrap();
    SqliteLedger::open(store, LEDGER).await.unwrap()
}

/// `None` where `cargo xtask test` found no PostgreSQL, and says so.
pub async fn postgres() -> Option<PostgresLedger> {
    let url = fresh_schema(&shared_url()?).await;
    Some(PostgresLedger::open(&url, LEDGER).await.unwrap())
}

/// The cluster that all tests share.
pub fn shared_url() -> Option<String> {
    std::env::var_os(TEST_URL).map(|url| url.into_string().unwrap())
}

/// A URL under which nothing exists yet.
pub async fn fresh_schema(url: &str) -> String {
    static SCHEMAS: AtomicU32 = AtomicU32::new(0);
    let number = SCHEMAS.fetch_add(1, Ordering::Relaxed);
    let name = format!("test_{}_{number}", std::process::id());
    sql(url, &format!("CREATE SCHEMA {name}")).await;
    in_schema(url, &name)
}

/// The same database, seen from one schema.
fn in_schema(url: &str, name: &str) -> String {
    format!("{url}?options=-csearch_path%3D{name}")
}

/// Runs statements as another client would.
pub async fn sql(url: &str, statements: &str) {
    try_sql(url, statements).await.unwrap();
}

/// Runs statements that PostgreSQL may refuse.
pub async fn try_sql(url: &str, statements: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let work = async move { client.batch_execute(statements).await };
    let (outcome, _) = tokio::join!(work, connection);
    outcome
}

/// The same test over every store.
macro_rules! over_every_store {
    ($($(#[$meta:meta])* $name:ident;)+) => {
        mod memory {
            $(#[tokio::test] $(#[$meta])* async fn $name() {
                super::$name(crate::backends::memory()).await;
            })+
        }
        mod sqlite {
            $(#[tokio::test] $(#[$meta])* async fn $name() {
                super::$name(crate::backends::sqlite().await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test] $(#[$meta])* async fn $name() {
                if let Some(store) = crate::backends::postgres().await {
                    super::$name(store).await;
                }
            })+
        }
    };
}
pub(crate) use over_every_store;
