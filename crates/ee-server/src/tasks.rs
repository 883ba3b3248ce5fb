//! Every task of the server, by name: the one place that spawns.
//!
//! Two kinds. An **essential** task lives as long as the process: its end before shutdown, by
//! return or by panic, stops the server, so that nothing limps on with half of itself gone. A
//! **session** (connection, tunnel, one request's work) may end whenever it likes; its panic is
//! logged and costs itself alone. A **client** is a session that the drain waits for: a connection
//! whose requests must finish.
//!
//! Shutdown has two steps: `stopping` (accept nothing new, drain) and `closing` (end now).

use std::{borrow::Cow, future::Future, sync::Arc, thread};

use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Why the server stopped without being asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {task} ended: {why}")]
pub struct Died {
    /// The task's name.
    pub task: String,
    /// How it ended.
    pub why: String,
}

/// Starts tasks and stops them; clones share everything.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    sessions: TaskTracker,
    clients: TaskTracker,
    stopping: CancellationToken,
    closing: CancellationToken,
    died: Arc<watch::Sender<Option<Died>>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            tracker: TaskTracker::new(),
            sessions: TaskTracker::new(),
            clients: TaskTracker::new(),
            stopping: CancellationToken::new(),
            closing: CancellationToken::new(),
            died: Arc::new(watch::Sender::new(None)),
        }
    }
}

impl Tasks {
    /// Starts an essential task: its end before shutdown stops the server.
    pub fn spawn(
        &self,
        name: impl Into<Cow<'static, str>>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.start(self.guarded(name.into(), task));
    }

    /// Starts an essential task on a thread of its own: for what looks at every node at once, while
    /// requests must not wait for it.
    pub fn spawn_aside(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.tracker.track_future(self.guarded(name.into(), task));
        let runtime = tokio::runtime::Handle::current();
        let thread = thread::Builder::new().name(name.to_owned());
        if let Err(error) = thread.spawn(move || runtime.block_on(task)) {
            self.die(name, &error.to_string());
        }
    }

    fn guarded(
        &self,
        name: Cow<'static, str>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let this = self.clone();
        async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if this.stopping.is_cancelled() {
                return;
            }
            let why = if ended.is_ok() {
                "it returned"
            } else {
                "it panicked"
            };
            this.die(&name, why);
        }
    }

    /// Starts a session: it may end at any time, and its panic costs itself alone.
    pub fn spawn_session(
        &self,
        name: impl Into<Cow<'static, str>>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let name = name.into();
        let task = self.sessions.track_future(task);
        // Not an async block, which would hold the task twice: as captured and as awaited.
        let guarded = AssertUnwindSafe(task).catch_unwind().map(move |ended| {
            if ended.is_err() {
                tracing::error!(event = "session_panicked", task = %name);
            }
        });
        self.start(guarded);
    }

    /// Starts a session that the drain waits for: a client's connection.
    pub fn spawn_client(
        &self,
        name: impl Into<Cow<'static, str>>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn_session(name, self.clients.track_future(task));
    }

    /// Records that something essential is gone and begins the shutdown.
    pub fn die(&self, task: &str, why: &str) {
        tracing::error!(event = "task_died", task, why);
        let died = Died {
            task: task.to_owned(),
            why: why.to_owned(),
        };
        self.died.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(died);
            first
        });
        self.stopping.cancel();
    }

    /// Cancelled when the drain begins: stop accepting, tell peers to go elsewhere.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Cancelled when the drain is over: end now.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Whether the server is shutting down.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Sessions that run now: connections, tunnels, upgrades.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Waits until no client is connected.
    pub async fn clients_finished(&self) {
        self.clients.close();
        self.clients.wait().await;
    }

    /// Waits until no session is left: what serves sessions ends after them.
    pub async fn sessions_finished(&self) {
        self.sessions.close();
        self.sessions.wait().await;
    }

    /// Waits until every task has ended; tasks end once `stopping` or `closing` is cancelled.
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Why the server stopped, if it was not asked to.
    pub fn died(&self) -> Option<Died> {
        self.died.borrow().clone()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.tracker.track_future(task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dead_task_ends_the_process() {
        let tasks = Tasks::default();
        tasks.spawn("heart", async {});
        tasks.stopping().cancelled().await;
        let died = tasks.died().expect("recorded");
        assert_eq!(
            (died.task.as_str(), died.why.as_str()),
            ("heart", "it returned")
        );
    }

    #[tokio::test]
    async fn a_panicking_task_ends_the_process_too() {
        let tasks = Tasks::default();
        tasks.spawn("heart", async { panic!("on purpose") });
        tasks.stopping().cancelled().await;
        assert_eq!(tasks.died().expect("recorded").why, "it panicked");
    }

    #[tokio::test]
    async fn a_thread_of_its_own_lives_and_dies_like_any_task() {
        let tasks = Tasks::default();
        let here = thread::current().id();
        let (told, tell) = tokio::sync::oneshot::channel();
        tasks.spawn_aside("beside", async move {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            told.send(thread::current().id()).expect("somebody listens");
            panic!("on purpose");
        });
        assert_ne!(tell.await.expect("it runs"), here);
        tasks.finished().await;
        let died = tasks.died().expect("recorded");
        assert_eq!(
            (died.task.as_str(), died.why.as_str()),
            ("beside", "it panicked")
        );
    }

    #[tokio::test]
    async fn a_session_may_end_or_panic_alone() {
        let tasks = Tasks::default();
        tasks.spawn_session("one", async {});
        tasks.spawn_session("two", async { panic!("on purpose") });
        tasks.finished().await;
        assert!(!tasks.is_stopping());
        assert_eq!(tasks.died(), None);
    }

    #[tokio::test]
    async fn an_essential_task_may_end_during_shutdown() {
        let tasks = Tasks::default();
        let stopping = tasks.stopping().clone();
        tasks.spawn("heart", async move { stopping.cancelled().await });
        tasks.stopping().cancel();
        tasks.finished().await;
        assert_eq!(tasks.died(), None);
    }
}
