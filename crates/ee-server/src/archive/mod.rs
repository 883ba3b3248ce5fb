//! `EE_BACKUP_DIR` at work: every batch of the books is appended to segments before it is
//! acknowledged, and once a night the database is copied (LEDGER 12).
//!
//! A directory that is full, gone or silent stops nothing: the alarm is raised (log, `/readyz`),
//! answers go out without it, and when it is back the segments catch up from the books' own
//! journal, which misses nothing. **Invariant:** while no alarm stands, what was acknowledged is
//! in the segments, durably.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use ee_control::ports;
use ee_core::journal::LedgerId;
use ee_store::{ledger::Ledger, segments::KeptBatch};
use tokio::sync::{mpsc, watch};

use crate::tasks::Tasks;

pub mod copies;
mod follow;

pub use follow::refuse_rolled_back;

/// Batches that wait for the directory: the sequencer commits some hundred a second, so this is a
/// second or two. One that finds no place is read from the journal later.
const QUEUE: usize = 256;
/// How long answers wait for a silent directory, once; they then go out without it until it is
/// heard of again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the backups of one ledger lie below `EE_BACKUP_DIR`.
pub fn directory_of(backup_dir: &Path, ledger: LedgerId) -> PathBuf {
    backup_dir.join(hex::encode(ledger))
}

/// How the backups do; clones share it.
#[derive(Debug, Clone)]
pub struct BackupStatus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    segments: watch::Sender<Segments>,
    copies: watch::Sender<Option<String>>,
    /// The next batch begins a new segment.
    rotate: AtomicBool,
    /// A batch found no place in the queue.
    behind: AtomicBool,
}

#[derive(Debug, Clone, Default)]
struct Segments {
    /// The last batch that is durable in them.
    reached: u64,
    /// Why they lag; `None`: they do not.
    failing: Option<String>,
}

impl BackupStatus {
    fn new() -> Self {
        Self(Arc::new(Shared {
            segments: watch::Sender::new(Segments {
                reached: 0,
                failing: Some("not yet opened".to_owned()),
            }),
            copies: watch::Sender::new(None),
            rotate: AtomicBool::new(false),
            behind: AtomicBool::new(false),
        }))
    }

    /// What is wrong now, for operators: empty if nothing is.
    pub fn alarms(&self) -> Vec<&'static str> {
        let segments = self.0.segments.borrow().failing.is_some();
        let copies = self.0.copies.borrow().is_some();
        let all = [
            (segments, "backup_segments_failing"),
            (copies, "backup_copy_failing"),
        ];
        all.into_iter()
            .filter_map(|(failing, name)| failing.then_some(name))
            .collect()
    }

    fn reached(&self, batch: u64) {
        self.0.segments.send_modify(|state| {
            if let Some(why) = state.failing.take() {
                tracing::info!(event = "backup_segments_working", batch, before = why);
            }
            state.reached = batch;
        });
    }

    fn lags(&self, why: &str) {
        self.0.segments.send_modify(|state| {
            if state.failing.as_deref() != Some(why) {
                tracing::error!(event = "backup_segments_failing", why);
            }
            state.failing = Some(why.to_owned());
        });
    }

    fn copied(&self, outcome: Result<(), &str>) {
        if let Err(why) = outcome {
            tracing::error!(event = "backup_copy_failing", why);
        }
        let why = outcome.err().map(str::to_owned);
        self.0.copies.send_replace(why);
    }

    /// Has the next batch begin a new segment, so that a copy made now needs none before it.
    fn rotate(&self) {
        self.0.rotate.store(true, Ordering::Release);
    }
}

/// An answer that waits until its batch is in the segments.
struct Waiting {
    batch: u64,
    acknowledge: Box<dyn FnOnce() + Send>,
}

/// The sequencer's end.
struct Archive {
    batches: mpsc::Sender<KeptBatch>,
    waiting: mpsc::Sender<Waiting>,
    status: BackupStatus,
}

impl ports::Archive for Archive {
    fn keep(&self, batch: KeptBatch, acknowledge: Box<dyn FnOnce() + Send>) {
        let number = batch.header.batch;
        if self.batches.try_send(batch).is_err() {
            self.status.0.behind.store(true, Ordering::Release);
            return acknowledge();
        }
        let waiting = Waiting {
            batch: number,
            acknowledge,
        };
        if let Err(refused) = self.waiting.try_send(waiting) {
            (refused.into_inner().acknowledge)();
        }
    }
}

/// Starts the thread that keeps segments, and the task that lets answers go.
///
/// # Errors
/// When the operating system gives no thread.
pub fn start(
    ledger: Ledger,
    directory: PathBuf,
    tasks: &Tasks,
) -> anyhow::Result<(Arc<dyn ports::Archive>, BackupStatus)> {
    let (batches, queued) = mpsc::channel(QUEUE);
    let (waiting, answers) = mpsc::channel(QUEUE);
    let status = BackupStatus::new();
    follow::start(ledger, directory, queued, status.clone())
        .context("starting the thread of the backups")?;
    tasks.spawn("backup_answers", let_go(answers, status.clone()));
    let archive = Archive {
        batches,
        waiting,
        status: status.clone(),
    };
    Ok((Arc::new(archive), status))
}

/// Lets answers go, in order, as the segments grow.
async fn let_go(mut answers: mpsc::Receiver<Waiting>, status: BackupStatus) {
    let mut segments = status.0.segments.subscribe();
    while let Some(Waiting { batch, acknowledge }) = answers.recv().await {
        let kept = segments.wait_for(|now| now.reached >= batch || now.failing.is_some());
        if tokio::time::timeout(PATIENCE, kept).await.is_err() {
            status.lags("the directory does not answer");
        }
        acknowledge();
    }
}
