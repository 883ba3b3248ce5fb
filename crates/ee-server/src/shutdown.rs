//! SIGTERM and Ctrl-C begin the drain; a second one ends it at once.
//!
//! Kept HTTP/1 connections end without a lost request: from the beginning of the drain each answer
//! says that it is the last one, and only a connection on which nothing was asked for a while is
//! closed without a word. A client that sends into that close could not know whether to repeat.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header::CONNECTION};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{server::RunningServer, tasks::Tasks};

/// How long an idle connection is kept open for one more request once the drain has begun. Busy
/// clients ask again within it; nobody else waits for its end.
const LINGER: Duration = Duration::from_secs(2);

/// Resolves when idle connections are to be closed.
pub async fn lingered(stopping: &CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(LINGER).await;
}

/// Says that the connection ends behind this answer, once the server stops.
pub fn last_words<B>(mut response: Response<B>, stopping: &CancellationToken) -> Response<B> {
    // An upgraded connection does not end.
    if stopping.is_cancelled() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// The signals of a service manager and of a terminal. Listen before the server starts: from then
/// on a signal is kept, not lost and not deadly.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn watch(mut self, tasks: &Tasks) {
        for token in [tasks.stopping(), tasks.closing()] {
            tokio::select! {
                _ = self.terminate.recv() => token.cancel(),
                _ = self.interrupt.recv() => token.cancel(),
                () = tasks.closing().cancelled() => return,
            }
        }
    }
}

impl RunningServer {
    /// Shuts down when a signal comes.
    pub fn shutdown_on(&self, signals: Signals) {
        let tasks = self.state.tasks.clone();
        self.state
            .tasks
            .spawn_session("signals", async move { signals.watch(&tasks).await });
    }
}
