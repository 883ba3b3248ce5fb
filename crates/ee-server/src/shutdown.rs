//! SIGTERM and Ctrl-C begin the drain; a second one ends it at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::server::RunningServer;

impl RunningServer {
    /// Watches the signals of a service manager and of a terminal.
    pub fn shutdown_on_signals(&self) {
        let tasks = self.state.tasks.clone();
        let listen = || -> std::io::Result<(Signal, Signal)> {
            Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
        };
        match listen() {
            Ok((terminate, interrupt)) => {
                let watched = tasks.clone();
                tasks.spawn_session("signals", async move {
                    watch(terminate, interrupt, &watched).await;
                });
            }
            Err(error) => tasks.die("signals", &error.to_string()),
        }
    }
}

async fn watch(mut terminate: Signal, mut interrupt: Signal, tasks: &crate::tasks::Tasks) {
    for token in [tasks.stopping(), tasks.closing()] {
        tokio::select! {
            _ = terminate.recv() => token.cancel(),
            _ = interrupt.recv() => token.cancel(),
            () = tasks.closing().cancelled() => return,
        }
    }
}
