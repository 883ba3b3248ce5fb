//! The books at work: which store keeps them, and the thread that owns them.
//!
//! The sequencer has a thread and a runtime of its own, so that a burst of proxied requests never
//! waits behind a batch, nor a batch behind the burst (LEDGER 12).

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, thread};

use anyhow::Context;
use ee_control::{
    books::BooksHandle,
    ports::Clock,
    sequencer::{self, Sequencer, Stopped},
};
use ee_store::{
    Store,
    ledger::{Ledger, LedgerStore, SqliteLedger},
};
use futures_util::FutureExt;
use tokio::{runtime::Builder, sync::oneshot};

use crate::{
    archive::{self, BackupStatus},
    config::Settings,
    entropy,
    tasks::Tasks,
};

/// The thread's name in debuggers and panics.
const THREAD: &str = "books";

/// Opens the books and starts their thread. It ends after the last session, and the store is
/// closed only after it: what was acknowledged is durable. With `EE_BACKUP_DIR` it is kept there
/// besides, and the second answer says how that goes.
pub async fn open(
    settings: &Settings,
    store: &Store,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) -> anyhow::Result<(BooksHandle, Option<BackupStatus>)> {
    let ledger = ledger(settings, store).await?;
    let directory = match &settings.ledger.backup_dir {
        Some(root) => Some(archive::directory_of(root, ledger.head().await?.ledger_id)),
        None => None,
    };
    if let Some(directory) = &directory {
        let refused = archive::refuse_rolled_back(&ledger, directory).await;
        refused.context("EE_BACKUP_DIR")?;
    }
    let opened = sequencer::open(ledger.clone(), clock, settings.books_policy()).await;
    let (handle, sequencer) = opened.context("opening the books")?;
    let mut sequencer = sequencer.with_redo(settings.ledger.redo);
    let mut status = None;
    if let Some(directory) = directory {
        let (archive, kept) = archive::start(ledger, directory, tasks)?;
        sequencer = sequencer.archived_in(archive);
        status = Some(kept);
    }
    let sessions = tasks.clone();
    let stop = async move {
        sessions.closing().cancelled().await;
        sessions.sessions_finished().await;
    };
    let ended = start(sequencer, stop)?;
    let watched = tasks.clone();
    tasks.spawn(THREAD, async move {
        match ended.await {
            Ok(Stopped::Asked | Stopped::Abandoned) => {}
            Ok(why) => watched.die(THREAD, &why.to_string()),
            Err(_) => watched.die(THREAD, "it panicked"),
        }
    });
    Ok((handle, status))
}

async fn ledger(settings: &Settings, store: &Store) -> anyhow::Result<Ledger> {
    let mut fresh_id = [0; 16];
    entropy::fill(&mut fresh_id);
    let Some(url) = &settings.ledger.database_url else {
        let ledger = SqliteLedger::open(store.clone(), fresh_id).await;
        return Ok(Ledger::Sqlite(ledger.context("EE_DB_PATH")?));
    };
    let ledger = ee_store::postgres::PostgresLedger::open_alone(url.expose(), fresh_id).await;
    Ok(Ledger::Postgres(ledger.context("EE_DATABASE_URL")?))
}

/// Runs the sequencer on its thread; what is returned says how it ended, or is dropped if it
/// panicked.
fn start(
    sequencer: Sequencer,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<oneshot::Receiver<Stopped>> {
    let (ending, ended) = oneshot::channel();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let work = move || {
        let run = AssertUnwindSafe(sequencer.run(stop)).catch_unwind();
        if let Ok(stopped) = runtime.block_on(run) {
            // Nobody listens any more if the server was dropped before it was told to stop.
            let _ = ending.send(stopped);
        }
    };
    thread::Builder::new().name(THREAD.to_owned()).spawn(work)?;
    Ok(ended)
}
