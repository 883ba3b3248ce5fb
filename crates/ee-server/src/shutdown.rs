//! SIGTERM and Ctrl-C begin the drain; a second one ends it at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{server::RunningServer, tasks::Tasks};

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
