//! The thread that appends batches to segments, on a runtime of its own: a directory on a network
//! that hangs holds up nobody else.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use ee_core::journal::{LedgerId, Root, genesis};
use ee_store::{
    StoreError,
    ledger::{Direction, Head, JOURNAL, Ledger, LedgerStore, Page, books, books::read_batch},
    segments::{KeptBatch, Place, SegmentWriter},
};
use tokio::{runtime::Builder, sync::mpsc, time::Instant};

use super::BackupStatus;

/// The thread's name in debuggers and panics.
const THREAD: &str = "backup";
/// Between two attempts at a directory that failed.
const RETRY: Duration = Duration::from_secs(10);
/// Batches made durable together, and read at once while catching up: each may be a megabyte.
const TOGETHER: u32 = 32;

/// Refuses books that have lost what their segments hold: acknowledged writes are missing.
///
/// A directory that cannot be read is no reason: it raises its alarm when the server runs.
///
/// # Errors
/// When the segments hold batches behind the books' head, or others than the books.
pub async fn refuse_rolled_back(ledger: &Ledger, directory: &Path) -> anyhow::Result<()> {
    let head = ledger.head().await?;
    match SegmentWriter::resume(directory, head.ledger_id) {
        Ok(Some(writer)) => same_story(ledger, &head, writer.place(), directory).await,
        Ok(None) => Ok(()),
        Err(error) => {
            tracing::error!(event = "backup_segments_failing", why = %error);
            Ok(())
        }
    }
}

async fn same_story(
    ledger: &Ledger,
    head: &Head,
    place: Place,
    directory: &Path,
) -> anyhow::Result<()> {
    if root_at(ledger, head.ledger_id, place.batch).await? == Some(place.root) {
        return Ok(());
    }
    let (kept, ours, path) = (place.batch, head.batch, directory.display());
    if kept > ours {
        bail!(
            "{path} holds batch {kept}, the books end with batch {ours}: they are older than what \
             was acknowledged; move the database away and run `easyenclave-server restore`, or \
             move {path} away to go on without what is missing"
        );
    }
    bail!(
        "{path} holds another batch {kept} than the books: they are not the same books; move \
         {path} away"
    )
}

async fn root_at(ledger: &Ledger, id: LedgerId, batch: u64) -> Result<Option<Root>, StoreError> {
    if batch == 0 {
        return Ok(Some(genesis(&id)));
    }
    let found = books::batch(ledger, batch).await?;
    Ok(found.map(|(_, _, root)| root))
}

/// Refuses a place that was there when the server started: what takes its place unasked may be
/// the disk below a mount.
fn present(directory: &Path) -> anyhow::Result<()> {
    let root = directory
        .parent()
        .context("a ledger's backups have a place")?;
    if !root.is_dir() {
        bail!("{} is gone: mount or make it again", root.display());
    }
    Ok(())
}

/// Starts the thread; it ends after the sequencer.
pub(super) fn start(
    ledger: Ledger,
    directory: PathBuf,
    batches: mpsc::Receiver<KeptBatch>,
    status: BackupStatus,
) -> io::Result<()> {
    let follower = Follower {
        ledger,
        directory,
        batches,
        status,
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let work = move || runtime.block_on(follower.run());
    thread::Builder::new().name(THREAD.to_owned()).spawn(work)?;
    Ok(())
}

struct Follower {
    ledger: Ledger,
    directory: PathBuf,
    batches: mpsc::Receiver<KeptBatch>,
    status: BackupStatus,
}

impl Follower {
    async fn run(mut self) {
        loop {
            match self.follow().await {
                Ok(()) => return,
                Err(error) => self.status.lags(&format!("{error:#}")),
            }
            let again = Instant::now() + RETRY;
            // What arrives meanwhile is in the journal, and read from there.
            loop {
                match tokio::time::timeout_at(again, self.batches.recv()).await {
                    Ok(Some(_)) => {}
                    Ok(None) => return,
                    Err(_) => break,
                }
            }
        }
    }

    /// Appends what comes, until the sequencer is gone.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let mut writer = self.open().await?;
        self.catch_up(&mut writer).await?;
        while let Some(first) = self.batches.recv().await {
            let mut batches = vec![first];
            while batches.len() < TOGETHER as usize
                && let Ok(batch) = self.batches.try_recv()
            {
                batches.push(batch);
            }
            self.append(&mut writer, batches).await?;
        }
        Ok(())
    }

    async fn open(&self) -> anyhow::Result<SegmentWriter> {
        let head = self.ledger.head().await?;
        let resumed = SegmentWriter::resume(&self.directory, head.ledger_id)?;
        let Some(writer) = resumed else {
            present(&self.directory)?;
            let place = Place {
                batch: head.batch,
                root: head.root,
            };
            return Ok(SegmentWriter::begin(
                &self.directory,
                head.ledger_id,
                place,
            )?);
        };
        same_story(&self.ledger, &head, writer.place(), &self.directory).await?;
        Ok(writer)
    }

    async fn append(
        &self,
        writer: &mut SegmentWriter,
        mut batches: Vec<KeptBatch>,
    ) -> anyhow::Result<()> {
        if self.status.0.rotate.swap(false, Ordering::AcqRel) {
            writer.rotate()?;
        }
        let last = writer.place().batch;
        batches.retain(|batch| batch.header.batch > last);
        let follows = batches
            .first()
            .is_none_or(|next| next.header.batch == last + 1);
        let behind = self.status.0.behind.swap(false, Ordering::AcqRel);
        if behind || !follows {
            return self.catch_up(writer).await;
        }
        writer.append(&batches)?;
        self.status.reached(writer.place().batch);
        // What found no place meanwhile may be the last for a while.
        if self.status.0.behind.swap(false, Ordering::AcqRel) {
            self.catch_up(writer).await?;
        }
        Ok(())
    }

    /// Appends what the books' journal holds behind the segments.
    async fn catch_up(&self, writer: &mut SegmentWriter) -> anyhow::Result<()> {
        loop {
            let batches = self.journal_after(writer.place().batch).await?;
            if batches.is_empty() {
                self.status.reached(writer.place().batch);
                return Ok(());
            }
            writer.append(&batches)?;
        }
    }

    async fn journal_after(&self, batch: u64) -> anyhow::Result<Vec<KeptBatch>> {
        let after = i64::try_from(batch).context("a batch number beyond 2^63")?;
        let page = Page {
            table: &JOURNAL,
            equals: Vec::new(),
            order: &JOURNAL.order[..JOURNAL.key],
            after: Some(vec![ee_store::ledger::Cell::Int(after)]),
            direction: Direction::Ascending,
            limit: TOGETHER,
        };
        let rows = self.ledger.page(page).await?.into_iter();
        let batches = rows.map(|row| {
            let (header, body, root) = read_batch(row)?;
            Ok(KeptBatch { header, body, root })
        });
        batches.collect()
    }
}
