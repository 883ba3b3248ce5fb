//! Futures that a driver polls in its own turns: uploads that outlive their response's head, and
//! the requests an agent serves. No task is started for them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// A piece of work that lives as long as its tunnel at most.
pub(crate) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The jobs of one tunnel.
#[derive(Default)]
pub(crate) struct Jobs {
    running: FuturesUnordered<Job>,
}

impl Jobs {
    pub(crate) fn push(&mut self, job: Job) {
        self.running.push(job);
    }

    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn clear(&mut self) {
        self.running = FuturesUnordered::new();
    }

    /// Runs what can run.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
    }
}
