//! Interim answers (1xx, RFC 9110 15.2): what an app says before its answer, and what waits for it.
//!
//! Most requests want none and pay nothing: the control plane asks with a field, and only then is
//! there a way for them.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use http::{HeaderMap, HeaderName, Response};
use tokio::time::{Sleep, sleep};

use crate::link::lock;

/// Says that the control plane hears interim answers to this request.
pub const EE_INTERIM: HeaderName = HeaderName::from_static("ee-interim");
/// Interim answers of one request that may wait to be sent; more are left out.
const WAITING_MAX: usize = 16;

type Hear = dyn Fn(Response<()>) + Send + Sync;

/// Hears the interim answers to a request, at the control plane: an extension of the request.
#[derive(Clone)]
pub struct OnInterim(Arc<Hear>);

impl OnInterim {
    /// Calls `hear` for each, before the answer.
    pub fn new(hear: impl Fn(Response<()>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    /// One has come.
    pub fn hear(&self, interim: Response<()>) {
        (self.0)(interim);
    }
}

/// Sends interim answers to a request, at the agent: an extension of the request that wants them.
#[derive(Clone, Default)]
pub struct InterimSender(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    answers: Mutex<Vec<Response<()>>>,
    responder: AtomicWaker,
}

impl InterimSender {
    /// Sends one, unless the answer has gone or too many wait.
    pub fn send(&self, interim: Response<()>) {
        let mut answers = lock(&self.0.answers);
        if answers.len() < WAITING_MAX {
            answers.push(interim);
        }
        drop(answers);
        self.0.responder.wake();
    }

    /// Those that wait; the task is woken when there are more.
    pub(crate) fn take(&self, cx: &Context<'_>) -> Vec<Response<()>> {
        self.0.responder.register(cx.waker());
        std::mem::take(&mut *lock(&self.0.answers))
    }
}

/// Whether the control plane hears them.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    headers.contains_key(EE_INTERIM)
}

/// Lets a body that waits go on. Clones let the same go on.
#[derive(Clone, Default)]
pub struct Go(Arc<Gate>);

#[derive(Default)]
struct Gate {
    open: AtomicBool,
    body: AtomicWaker,
}

impl Go {
    /// Now.
    pub fn go(&self) {
        self.0.open.store(true, Ordering::Release);
        self.0.body.wake();
    }

    /// Whether it was let go.
    #[must_use]
    pub fn has_gone(&self) -> bool {
        self.0.open.load(Ordering::Acquire)
    }
}

/// Holds a body until who gets it asks for it (RFC 9110 10.1.1), but no longer than a time: many
/// never ask.
pub struct Hold {
    go: Go,
    timer: Pin<Box<Sleep>>,
}

impl Hold {
    /// Holds until `go`, or for so long.
    #[must_use]
    pub fn new(go: Go, within: Duration) -> Self {
        let timer = Box::pin(sleep(within));
        Self { go, timer }
    }

    /// Ready when the body may go on.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.go.0.body.register(cx.waker());
        if !self.go.has_gone() {
            std::task::ready!(self.timer.as_mut().poll(cx));
            self.go.go();
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_is_held_until_it_is_wanted_or_for_a_while() {
        let second = Duration::from_secs(1);
        let go = Go::default();
        let mut hold = Hold::new(go.clone(), second);
        let began = Instant::now();
        let held = poll_fn(|cx| hold.poll(cx));
        let asked = async {
            sleep(second / 2).await;
            go.go();
        };
        tokio::join!(held, asked);
        assert_eq!(began.elapsed(), second / 2);
        let silent = Go::default();
        let mut hold = Hold::new(silent.clone(), second);
        poll_fn(|cx| hold.poll(cx)).await;
        assert_eq!(began.elapsed(), second / 2 + second);
        assert!(silent.has_gone());
    }
}
