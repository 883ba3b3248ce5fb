//! Connections that only read: long histories must not stand in the writer's way.
//!
//! In WAL mode a reader sees every committed transaction and blocks nobody. Each piece of work is
//! one bounded page, so that no read transaction keeps the log from being brought home for long.

use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;

/// Pages that may wait: each is a request that somebody waits for; beyond it callers hear `Busy`.
const QUEUE: usize = 1_024;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// A handle on the reading thread, which ends with its last handle.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    queue: mpsc::Sender<Job>,
}

impl Reader {
    /// Starts the thread on a connection of its own.
    pub(crate) fn start(name: &str, connection: Connection) -> std::io::Result<Self> {
        let (queue, mut jobs) = mpsc::channel::<Job>(QUEUE);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(job) = jobs.blocking_recv() {
                    job(&connection);
                }
            })?;
        Ok(Self { queue })
    }

    /// Runs `work` on the reading thread.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // A caller that went away does not wait for its answer.
            let _ = reply.send(work(connection));
        });
        self.queue.try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}
