//! The only place where the agent starts tasks: each has a name and an owner that ends it.

use std::future::Future;

use tokio::task::JoinHandle;

/// Starts `future` as a task. The caller keeps the handle and with it the duty to end the task.
#[expect(clippy::disallowed_methods, reason = "this is where tasks start")]
pub(crate) fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tracing::trace!(event = "task_started", task = name);
    tokio::spawn(future)
}
