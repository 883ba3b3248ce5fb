//! One newcomer a turn: sessions that are not attested yet take their steps one at a time, with a
//! whole turn of the runtime between two of them (TUNNEL 11).
//!
//! A storm's messages come in bursts: a thousand sockets become readable together, a commit of the
//! plane answers a hundred sessions at once. Each step is short, but who is served would stand
//! behind all of them in the runtime's queue, at every hop of a request. Behind a turnstile a burst
//! waits outside the queue, and whatever else is ready or readable goes before its next step.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::tasks::Tasks;

/// Lets newcomers in, one a turn; clones are the same turnstile.
#[derive(Clone)]
pub(super) struct Turnstile(Arc<Shared>);

struct Shared {
    tasks: Tasks,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Arc<Ticket>, Waker)>,
    /// Whether a task lets them in; there is none while nobody waits.
    is_open: bool,
}

/// Where a session stands.
#[derive(Default)]
pub(super) struct Ticket(AtomicU8);

/// Idle: nothing to do.
const OUTSIDE: u8 = 0;
const QUEUED: u8 = 1;
/// Its next poll is its step.
const CALLED: u8 = 2;
/// No newcomer any more.
const PASSED: u8 = 3;

impl Ticket {
    /// From now on the session runs like everything else.
    pub(super) fn pass(&self) {
        self.0.store(PASSED, Ordering::Release);
    }

    /// Who has passed meanwhile is woken for nothing.
    fn call(&self) {
        let (set, kept) = (Ordering::AcqRel, Ordering::Relaxed);
        let _ = self.0.compare_exchange(QUEUED, CALLED, set, kept);
    }
}

impl Turnstile {
    pub(super) fn new(tasks: Tasks) -> Self {
        Self(Arc::new(Shared {
            tasks,
            queue: Mutex::default(),
        }))
    }

    /// Runs a session, step by step in its turn until its ticket has passed.
    pub(super) fn admit<F>(&self, ticket: Arc<Ticket>, session: F) -> Newcomer<F> {
        Newcomer {
            session: Box::pin(session),
            outside: Some((self.clone(), ticket)),
        }
    }

    fn enqueue(&self, ticket: Arc<Ticket>, waker: Waker) {
        let mut queue = self.queue();
        queue.waiting.push_back((ticket, waker));
        if !std::mem::replace(&mut queue.is_open, true) {
            self.0
                .tasks
                .spawn_session("turnstile", self.clone().let_in());
        }
    }

    /// Calls whoever waits, in the order of asking.
    async fn let_in(self) {
        while let Some((ticket, waker)) = self.next() {
            ticket.call();
            waker.wake();
            // The runtime comes back when its queue is empty and the sockets were asked, or, while
            // that never happens, after a fixed number of other steps.
            tokio::task::yield_now().await;
        }
    }

    fn next(&self) -> Option<(Arc<Ticket>, Waker)> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front();
        queue.is_open = next.is_some();
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session behind the turnstile, until its ticket has passed.
pub(super) struct Newcomer<F> {
    session: Pin<Box<F>>,
    outside: Option<(Turnstile, Arc<Ticket>)>,
}

impl<F: Future> Future for Newcomer<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let Some((turnstile, ticket)) = &this.outside else {
            return this.session.as_mut().poll(cx);
        };
        match ticket.0.load(Ordering::Acquire) {
            QUEUED => return Poll::Pending,
            OUTSIDE => {
                ticket.0.store(QUEUED, Ordering::Release);
                turnstile.enqueue(Arc::clone(ticket), cx.waker().clone());
                return Poll::Pending;
            }
            CALLED => ticket.0.store(OUTSIDE, Ordering::Release),
            _ => {}
        }
        let polled = this.session.as_mut().poll(cx);
        if ticket.0.load(Ordering::Acquire) == PASSED {
            this.outside = None;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::{sync::Notify, task::yield_now};

    use super::*;

    /// A session that waits for a call and takes a step, so many times; it counts its steps.
    async fn session(call: Arc<Notify>, steps: usize, taken: Arc<AtomicUsize>) {
        for _ in 0..steps {
            call.notified().await;
            taken.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_burst_takes_one_step_a_turn_and_in_the_order_of_asking() {
        let (tasks, order) = (Tasks::default(), Arc::new(Mutex::new(Vec::new())));
        let turnstile = Turnstile::new(tasks.clone());
        for number in 0..100 {
            let order = Arc::clone(&order);
            let step = async move { order.lock().expect("order").push(number) };
            tasks.spawn_session("newcomer", turnstile.admit(Arc::default(), step));
        }
        // Each turn of ours is one of the runtime: whoever is served gets on between two steps.
        let mut steps = Vec::new();
        for _ in 0..200 {
            steps.push(order.lock().expect("order").len());
            yield_now().await;
        }
        let most = steps.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert_eq!(most, Some(1), "{steps:?}");
        assert!(order.lock().expect("order").iter().copied().eq(0..100));
    }

    #[tokio::test]
    async fn who_has_passed_waits_for_nobody() {
        let tasks = Tasks::default();
        let turnstile = Turnstile::new(tasks.clone());
        let (call, taken) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let ticket = Arc::new(Ticket::default());
        ticket.pass();
        let session = session(Arc::clone(&call), 1, Arc::clone(&taken));
        let mut newcomer = Box::pin(turnstile.admit(ticket, session));
        call.notify_one();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(newcomer.as_mut().poll(&mut cx).is_ready());
        assert_eq!(taken.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn each_step_waits_for_a_turn_however_often_its_session_is_woken() {
        let turnstile = Turnstile::new(Tasks::default());
        let (call, taken) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let session = session(Arc::clone(&call), 2, Arc::clone(&taken));
        let mut newcomer = Box::pin(turnstile.admit(Arc::default(), session));
        let mut cx = Context::from_waker(Waker::noop());
        for step in 0..2 {
            call.notify_one();
            for _ in 0..3 {
                assert!(newcomer.as_mut().poll(&mut cx).is_pending());
                assert_eq!(taken.load(Ordering::Relaxed), step, "not its turn");
            }
            yield_now().await;
            assert_eq!(newcomer.as_mut().poll(&mut cx).is_ready(), step == 1);
        }
        assert_eq!(taken.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_session_is_called_as_often_as_it_is_woken() {
        let tasks = Tasks::default();
        let turnstile = Turnstile::new(tasks.clone());
        let (call, taken) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let session = session(Arc::clone(&call), 50, Arc::clone(&taken));
        tasks.spawn_session("newcomer", turnstile.admit(Arc::default(), session));
        for step in 0..50 {
            assert_eq!(taken.load(Ordering::Relaxed), step);
            call.notify_one();
            while taken.load(Ordering::Relaxed) == step {
                yield_now().await;
            }
        }
        tasks.finished().await;
    }
}
