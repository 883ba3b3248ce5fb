//! `EE_BACKUP_DIR` at work: every batch of the books is appended to segments before it is
//! acknowledged, and once a night the database is copied (LEDGER 12).
//!
//! A directory that is full, gone or silent stops nothing: the alarm is raised (log, `/readyz`),
//! answers go out without it, and when it is back the segments catch up from the books' own
//! journal, which misses nothing. **Invariant:** while no alarm stands, what was acknowledged is
//! in the segments, durably: the alarm goes up before an answer goes out without them, and comes
//! down when they hold the last such answer.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use ee_control::ports;
use ee_core::journal::LedgerId;
use ee_store::{
    ledger::Ledger,
    segments::{self, KeptBatch},
};
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
/// Why answers go out without the segments.
const SILENT: &str = "the directory does not answer";
const BEHIND: &str = "the directory is slower than the books";

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
    /// The last batch that was acknowledged without them.
    owed: u64,
    /// Why they lag; `None`: they do not.
    failing: Option<String>,
}

impl BackupStatus {
    fn new() -> Self {
        Self(Arc::new(Shared {
            segments: watch::Sender::new(Segments {
                reached: 0,
                owed: 0,
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
            state.reached = batch;
            if batch < state.owed {
                return;
            }
            if let Some(why) = state.failing.take() {
                tracing::info!(event = "backup_segments_working", batch, before = why);
            }
        });
    }

    fn lags(&self, why: &str) {
        self.0.segments.send_modify(|state| state.fail(why));
    }

    /// A batch is about to be acknowledged: the alarm goes up if it is not in the segments.
    fn acknowledged(&self, batch: u64, why: &str) {
        self.0.segments.send_if_modified(|state| {
            if batch <= state.reached {
                return false;
            }
            state.owed = state.owed.max(batch);
            if state.failing.is_none() {
                state.fail(why);
            }
            true
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

impl Segments {
    fn fail(&mut self, why: &str) {
        if self.failing.as_deref() != Some(why) {
            tracing::error!(event = "backup_segments_failing", why);
        }
        self.failing = Some(why.to_owned());
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
            self.status.acknowledged(number, BEHIND);
            return acknowledge();
        }
        let waiting = Waiting {
            batch: number,
            acknowledge,
        };
        if let Err(refused) = self.waiting.try_send(waiting) {
            self.status.acknowledged(number, BEHIND);
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
    // From here on a directory that is missing has gone: nobody makes another in its place.
    if let Err(error) = directory
        .parent()
        .map_or(Ok(()), segments::create_directory)
    {
        tracing::error!(event = "backup_segments_failing", why = %error);
    }
    let (batches, queued) = mpsc::channel(QUEUE);
    let (waiting, answers) = mpsc::channel(QUEUE);
    let status = BackupStatus::new();
    if copies::copies(&directory).map_or(true, |all| all.is_empty()) {
        status.0.copies.send_replace(Some("no copy yet".to_owned()));
    }
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
        // Whether it came in time or not is asked again, under the lock that raises the alarm.
        let _in_time = tokio::time::timeout(PATIENCE, kept).await.is_ok();
        status.acknowledged(batch, SILENT);
        acknowledge();
    }
}

#[cfg(test)]
mod tests;
