//! The handle and the thread that owns the connection.
//!
//! The thread takes what is queued, runs it in one transaction (each piece but the first in a
//! savepoint, so that one refusal undoes only itself), commits, and then answers. There is no
//! timer: batches grow with the load. Reads take the same way and so see every answered write.

mod checkpoint;

use std::{collections::VecDeque, fs::File, path::Path, thread};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    error::{OpenError, StoreError},
    open::{self, Opened, Reading},
    reader::Reader,
};

/// Work that may wait; a full queue means the disk cannot keep up, and callers hear `Busy`
/// instead of piling up memory (LEDGER 12).
const QUEUE: usize = 16_384;
/// Work committed together: large enough to share one fsync, small enough to answer in time.
const BATCH: usize = 4_096;

type Job = Box<dyn FnOnce(&Connection) -> Executed + Send>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A piece of work that has run but is not yet durable.
struct Executed {
    failure: Option<StoreError>,
    answer: Answer,
}

enum Message {
    Job(Job),
    Close(oneshot::Sender<()>),
}

/// A handle on the open store: cheap to clone, safe to share.
///
/// The thread ends, and the lock is freed, when the last handle is gone or [`Store::close`] ran.
#[derive(Debug, Clone)]
pub struct Store {
    queue: mpsc::Sender<Message>,
    failure: watch::Receiver<Health>,
    /// None for a database in memory: a second connection would see another one.
    readers: Option<Readers>,
}

/// Connections that only read: one for pages of history, one for what the books look up, so that
/// neither waits for the other.
#[derive(Debug, Clone)]
struct Readers {
    pages: Reader,
    lookups: Reader,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    Working,
    Closed,
    Failed(String),
}

impl Store {
    /// Opens the database at `path`; creates it, and the directories above it, if absent.
    ///
    /// # Errors
    /// Names the path and what to do: another server holds it, it belongs to another program,
    /// its directory cannot be written, its schema is newer.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        open::open(path).and_then(|opened| Self::start(opened, path))
    }

    /// Opens a store that forgets everything with its last handle: for tests and `dev`.
    ///
    /// # Errors
    /// Only when SQLite itself fails.
    pub fn in_memory() -> Result<Self, OpenError> {
        open::open_in_memory().and_then(|opened| Self::start(opened, Path::new(":memory:")))
    }

    /// Opens a copy that has no name yet, to bring it forward; it is durable when its maker says
    /// so, not before.
    pub(crate) fn open_copy(path: &Path) -> Result<Self, OpenError> {
        open::open_copy(path).and_then(|opened| Self::start(opened, path))
    }

    /// Opens a database that another process may be writing, as it is at this moment: nothing is
    /// created, locked, migrated or written, and everything that would write answers that the
    /// store is closed.
    ///
    /// # Errors
    /// When it is not there, not ours, or of another schema.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        let connection = open::open_read_only(path)?;
        let started = Reader::start("ee-store-pages", connection);
        let pages = started.map_err(|source| OpenError::Directory {
            doing: "start the thread for",
            path: path.to_owned(),
            source,
        })?;
        let (queue, _) = mpsc::channel(1);
        let (_, failure) = watch::channel(Health::Closed);
        Ok(Self {
            queue,
            failure,
            readers: Some(Readers {
                lookups: pages.clone(),
                pages,
            }),
        })
    }

    fn start(opened: Opened, path: &Path) -> Result<Self, OpenError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (health, failure) = watch::channel(Health::Working);
        let Opened {
            connection,
            lock,
            reading,
        } = opened;
        let failed = |source| OpenError::Directory {
            doing: "start the thread for",
            path: path.to_owned(),
            source,
        };
        let readers = reading.map(Readers::start).transpose().map_err(failed)?;
        thread::Builder::new()
            .name("ee-store".to_owned())
            .spawn(move || {
                Writer {
                    connection,
                    lock,
                    health,
                }
                .run(jobs)
            })
            .map_err(failed)?;
        Ok(Self {
            queue,
            failure,
            readers,
        })
    }

    /// Resolves, with the reason, when the store can no longer vouch for what it wrote. The
    /// process is to end then: the next start brings home what did become durable.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        loop {
            match &*failure.borrow_and_update() {
                Health::Working => {}
                Health::Closed => break,
                Health::Failed(reason) => return reason.clone(),
            }
            if failure.changed().await.is_err() {
                return "the store's thread ended unasked".to_owned();
            }
        }
        std::future::pending().await
    }

    /// Commits what is queued, checkpoints, closes the file and frees its lock.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).await.is_ok() {
            // An error means that the thread is gone already, which is what was asked for.
            let _ = closed.await;
        }
    }

    /// Runs `work` on the store's thread; answers after the commit that holds its changes.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = work(connection);
            let failure = result.as_ref().err().cloned();
            let answer: Answer = Box::new(move |committed| {
                // A caller that went away does not wait for its answer.
                let _ = reply.send(committed.and(result));
            });
            Executed { failure, answer }
        });
        self.queue
            .try_send(Message::Job(job))
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => StoreError::Busy,
                mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
            })?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs `work`, which writes nothing, beside the writer; it sees all that was answered.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.readers {
            Some(readers) => readers.pages.run(work).await,
            None => self.run(work).await,
        }
    }

    /// The same, for the books' own short questions.
    pub(crate) async fn look<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.readers {
            Some(readers) => readers.lookups.run(work).await,
            None => self.run(work).await,
        }
    }
}

impl Readers {
    fn start(reading: Reading) -> std::io::Result<Self> {
        Ok(Self {
            pages: Reader::start("ee-store-pages", reading.pages)?,
            lookups: Reader::start("ee-store-look", reading.lookups)?,
        })
    }
}

struct Writer {
    connection: Connection,
    lock: Option<File>,
    health: watch::Sender<Health>,
}

impl Writer {
    fn run(self, mut queue: mpsc::Receiver<Message>) {
        let mut waiting = VecDeque::new();
        let mut closing = None;
        loop {
            if waiting.is_empty() && closing.is_none() {
                match queue.blocking_recv() {
                    Some(Message::Job(job)) => waiting.push_back(job),
                    Some(Message::Close(done)) => closing = Some(done),
                    None => break,
                }
            }
            while waiting.len() < BATCH && closing.is_none() {
                match queue.try_recv() {
                    Ok(Message::Job(job)) => waiting.push_back(job),
                    Ok(Message::Close(done)) => closing = Some(done),
                    Err(_) => break,
                }
            }
            if let Err(reason) = self.batch(&mut waiting) {
                self.give_up(&reason);
                return;
            }
            if waiting.is_empty() && closing.is_some() {
                break;
            }
            if let Err(reason) = self.checkpoint() {
                self.give_up(&reason);
                return;
            }
        }
        self.close(closing);
    }

    /// Runs waiting work in one transaction. An error means that the outcome is unknown.
    fn batch(&self, waiting: &mut VecDeque<Job>) -> Result<(), String> {
        if waiting.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.connection.execute_batch("BEGIN IMMEDIATE") {
            return Err(error.to_string());
        }
        let mut executed = Vec::with_capacity(waiting.len());
        while let Some(job) = waiting.pop_front() {
            let done = match executed.is_empty() {
                true => self.run_first(job),
                false => self.run_next(job),
            };
            let failure = done.failure.clone();
            executed.push(done.answer);
            match failure {
                Some(StoreError::OutcomeUnknown(reason)) => {
                    answer_all(executed, &Err(StoreError::OutcomeUnknown(reason.clone())));
                    return Err(reason);
                }
                Some(StoreError::DiskFull) => return self.undo(executed),
                Some(_) | None => {}
            }
        }
        self.commit(executed)
    }

    /// The first needs no savepoint, for which SQLite copies every page that a batch touches: what
    /// it leaves behind when it fails is the whole transaction.
    fn run_first(&self, job: Job) -> Executed {
        let mut done = job(&self.connection);
        let again = match &done.failure {
            None | Some(StoreError::DiskFull | StoreError::OutcomeUnknown(_)) => return done,
            // SQLite has ended the transaction itself after some errors.
            Some(_) if self.connection.is_autocommit() => "BEGIN IMMEDIATE",
            Some(_) => "ROLLBACK; BEGIN IMMEDIATE",
        };
        if let Err(error) = self.connection.execute_batch(again) {
            done.failure = Some(StoreError::OutcomeUnknown(error.to_string()));
        }
        done
    }

    fn run_next(&self, job: Job) -> Executed {
        let mark = self.connection.execute_batch("SAVEPOINT job");
        let mut done = job(&self.connection);
        let end = if done.failure.is_some() {
            "ROLLBACK TO job; RELEASE job"
        } else {
            "RELEASE job"
        };
        // SQLite has ended the whole transaction itself when the disk is full.
        if let Err(error) = mark.and_then(|()| self.connection.execute_batch(end))
            && !matches!(done.failure, Some(StoreError::DiskFull))
        {
            done.failure = Some(StoreError::OutcomeUnknown(error.to_string()));
        }
        done
    }

    fn commit(&self, executed: Vec<Answer>) -> Result<(), String> {
        match self
            .connection
            .execute_batch("COMMIT")
            .map_err(StoreError::from)
        {
            Ok(()) => {
                answer_all(executed, &Ok(()));
                Ok(())
            }
            Err(StoreError::DiskFull) => self.undo(executed),
            Err(error) => {
                let reason = error.to_string();
                answer_all(executed, &Err(StoreError::OutcomeUnknown(reason.clone())));
                Err(reason)
            }
        }
    }

    /// Disk full: the whole batch is undone and says so; reads and later writes go on.
    fn undo(&self, executed: Vec<Answer>) -> Result<(), String> {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            let reason = error.to_string();
            answer_all(executed, &Err(StoreError::OutcomeUnknown(reason.clone())));
            return Err(reason);
        }
        answer_all(executed, &Err(StoreError::DiskFull));
        Ok(())
    }

    fn close(self, asked: Option<oneshot::Sender<()>>) {
        let Self {
            connection,
            lock,
            health,
        } = self;
        health.send_replace(Health::Closed);
        drop(connection);
        drop(lock);
        if let Some(done) = asked {
            // Whoever asked may have gone away.
            let _ = done.send(());
        }
    }

    /// Ends without closing the connection: closing would checkpoint and fsync, and a second
    /// fsync after a failed one may report success for pages that are lost.
    fn give_up(self, reason: &str) {
        let Self {
            connection,
            lock,
            health,
        } = self;
        std::mem::forget(connection);
        std::mem::forget(lock);
        health.send_replace(Health::Failed(reason.to_owned()));
    }
}

fn answer_all(executed: Vec<Answer>, outcome: &Result<(), StoreError>) {
    for answer in executed {
        answer(outcome.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn scratch() -> Store {
        let store = Store::in_memory().unwrap();
        sql(
            &store,
            "CREATE TABLE t (x BLOB, y INTEGER REFERENCES t2 (id))",
        )
        .await
        .unwrap();
        sql(&store, "CREATE TABLE t2 (id INTEGER PRIMARY KEY)")
            .await
            .unwrap();
        store
    }

    async fn sql(store: &Store, text: &'static str) -> Result<(), StoreError> {
        store.run(move |db| Ok(db.execute_batch(text)?)).await
    }

    async fn rows(store: &Store) -> i64 {
        let count = "SELECT COUNT(*) FROM t";
        store
            .run(move |db| Ok(db.query_row(count, [], |row| row.get(0))?))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_refused_piece_of_work_undoes_only_itself() {
        let store = scratch().await;
        let (good, bad) = tokio::join!(
            sql(&store, "INSERT INTO t (x) VALUES (1)"),
            sql(
                &store,
                "INSERT INTO t (x) VALUES (2); INSERT INTO nowhere VALUES (3)"
            ),
        );
        assert_eq!(good, Ok(()));
        assert!(matches!(bad, Err(StoreError::Sqlite(_))), "{bad:?}");
        assert_eq!(rows(&store).await, 1);
    }

    #[tokio::test]
    async fn a_refused_first_piece_leaves_nothing_and_the_next_goes_on() {
        let store = scratch().await;
        let (bad, good) = tokio::join!(
            sql(
                &store,
                "INSERT INTO t (x) VALUES (1); INSERT INTO nowhere VALUES (2)"
            ),
            sql(&store, "INSERT INTO t (x) VALUES (3)"),
        );
        assert!(matches!(bad, Err(StoreError::Sqlite(_))), "{bad:?}");
        assert_eq!(good, Ok(()));
        assert_eq!(rows(&store).await, 1);
    }

    #[tokio::test]
    async fn a_full_disk_undoes_the_batch_and_reads_go_on() {
        let store = scratch().await;
        sql(&store, "PRAGMA max_page_count = 60").await.unwrap();
        let big = sql(&store, "INSERT INTO t (x) VALUES (zeroblob(1000000))").await;
        assert_eq!(big, Err(StoreError::DiskFull));
        assert_eq!(rows(&store).await, 0);
        assert_eq!(sql(&store, "INSERT INTO t (x) VALUES (1)").await, Ok(()));
        assert_eq!(rows(&store).await, 1);
    }

    #[tokio::test]
    async fn a_failed_commit_ends_the_store_and_says_so() {
        let store = scratch().await;
        // A deferred reference to nothing is refused by COMMIT itself.
        let broken = "PRAGMA defer_foreign_keys = ON; INSERT INTO t (y) VALUES (7)";
        let outcome = sql(&store, broken).await;
        assert!(
            matches!(outcome, Err(StoreError::OutcomeUnknown(_))),
            "{outcome:?}"
        );
        assert!(store.failed().await.contains("FOREIGN KEY"));
        assert_eq!(sql(&store, "SELECT 1").await, Err(StoreError::Closed));
    }

    #[tokio::test]
    async fn closing_is_no_failure_and_finishes_what_was_queued() {
        let store = scratch().await;
        let (write, ()) = tokio::join!(sql(&store, "INSERT INTO t (x) VALUES (1)"), store.close());
        assert_eq!(write, Ok(()));
        let unfailed = tokio::time::timeout(Duration::from_millis(20), store.failed()).await;
        assert!(unfailed.is_err());
        assert_eq!(sql(&store, "SELECT 1").await, Err(StoreError::Closed));
    }
}
