//! Idle connections to the backend, last used first.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::net::TcpStream;

use super::{BackendAddress, RequestBody, answer::BoxError, connection::Connection};
use crate::clock::Stopwatch;

/// Kept for reuse; more than this many requests at once is a burst, and its connections close.
const IDLE_MAX: usize = 128;
/// Shorter than the 5 s after which common servers (Node.js) close an idle connection, so that a
/// request seldom meets one that is closing.
const IDLE_AGE_MAX: Duration = Duration::from_secs(4);
/// The backend is beside the agent or near; a connection that takes longer will not come.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// The idle connections of one backend.
pub(super) struct Pool<B: RequestBody> {
    address: BackendAddress,
    idle: Mutex<Vec<Idle<B>>>,
}

struct Idle<B: RequestBody> {
    connection: Connection<B>,
    since: Stopwatch,
}

impl<B: RequestBody> Pool<B> {
    pub(super) fn new(address: BackendAddress) -> Self {
        Self {
            address,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// An idle connection that is still open.
    pub(super) async fn take(&self) -> Option<Connection<B>> {
        loop {
            let mut connection = self.pop()?;
            let usable =
                std::future::poll_fn(|cx| std::task::Poll::Ready(connection.poll_usable(cx)));
            if usable.await {
                return Some(connection);
            }
        }
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Connection<B>, BoxError> {
        Connection::new(self.dial().await?).await
    }

    /// A socket to the backend.
    pub(super) async fn dial(&self) -> Result<TcpStream, BoxError> {
        let BackendAddress { host, port } = &self.address;
        let connecting = TcpStream::connect((host.as_str(), *port));
        let stream = tokio::time::timeout(CONNECT_DEADLINE, connecting).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Takes back a connection whose answer has been read to its end.
    pub(super) fn put(&self, connection: Connection<B>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(Idle {
                connection,
                since: Stopwatch::start(),
            });
        }
    }

    /// The connection used last. All older than the limit go: those below it in the stack are
    /// older still.
    fn pop(&self) -> Option<Connection<B>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let last = idle.pop()?;
        if last.since.elapsed() <= IDLE_AGE_MAX {
            return Some(last.connection);
        }
        let stale = std::mem::take(&mut *idle);
        drop(idle);
        drop((stale, last));
        None
    }
}
