//! What both ends do with their socket in each turn: keep-alive, sweeps, output, the close.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use crate::event::{CloseBy, Closed, TunnelOptions, Violation};
use crate::inbox::{Inboxes, Sweeper};
use crate::keep_alive::{KeepAlive, Tick};
use crate::limits::CLOSE_TIME;
use crate::link::{SharedSocket, WsStream, lock};
use crate::quiet::{MaySleep, Quiet};
use crate::socket::{BinaryRule, End, Socket};

/// The socket with its timers.
pub(crate) struct Wire<S> {
    socket: SharedSocket<S>,
    keep_alive: KeepAlive,
    /// Pings that were due since somebody looked.
    pinged: bool,
    sweeper: Sweeper,
    state: State,
}

/// See [`Wire::backlog`].
pub(crate) struct Backlog {
    waits: bool,
    taken: u64,
}

enum State {
    Open,
    /// The owner knows of a violation and may still send a text before the close.
    Violated(Violation),
    /// Our close frame is on its way.
    Closing {
        closed: Closed,
        timer: Pin<Box<Sleep>>,
    },
    Over,
}

/// What a turn found out about the connection itself.
pub(crate) enum Fate {
    Violation(Violation),
    Closed(Closed),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(ws: Quiet<S>, options: &TunnelOptions) -> Self {
        let socket = Socket::new(ws, options.text_limit);
        Self {
            socket: Arc::new(Mutex::new(socket)),
            keep_alive: KeepAlive::new(options.ping),
            pinged: false,
            sweeper: Sweeper::default(),
            state: State::Open,
        }
    }

    /// See [`Socket::begin_turn`].
    pub(crate) fn begin_turn(&self) {
        lock(&self.socket).begin_turn();
    }

    pub(crate) fn stream(&self) -> WsStream<S> {
        WsStream(Arc::clone(&self.socket))
    }

    pub(crate) fn set_rule(&self, rule: BinaryRule) {
        lock(&self.socket).set_rule(rule);
    }

    pub(crate) fn set_text_limit(&self, limit: usize) {
        lock(&self.socket).set_text_limit(limit);
    }

    pub(crate) fn push_text(&self, text: String) {
        lock(&self.socket).push_text(text);
    }

    pub(crate) fn ping(&self) {
        lock(&self.socket).push_asked_ping();
    }

    pub(crate) fn take_pong(&self) -> bool {
        lock(&self.socket).take_pong()
    }

    /// The time between two pings, once after each.
    pub(crate) fn take_ping(&mut self) -> Option<Duration> {
        let interval = self.keep_alive.interval();
        mem::take(&mut self.pinged).then_some(interval)
    }

    pub(crate) fn socket(&self) -> SharedSocket<S> {
        Arc::clone(&self.socket)
    }

    /// The peer knows how epochs end.
    pub(crate) fn agree_on_epochs(&self) {
        lock(&self.socket).markers().agree();
    }

    pub(crate) fn take_marker(&self) -> bool {
        lock(&self.socket).markers().take()
    }

    /// Whether the peer has ended its direction of the epoch, and nobody has taken that.
    pub(crate) fn has_marker(&self) -> bool {
        lock(&self.socket).markers().waits()
    }

    pub(crate) fn violate(&self, violation: Violation) {
        lock(&self.socket).fail(End::Violation(violation));
    }

    /// Whether frames may still be exchanged.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open) && lock(&self.socket).end().is_none()
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        if matches!(self.state, State::Open | State::Violated(_)) {
            lock(&self.socket).push_close(code, reason);
            self.begin_closing(Closed::by_us(code, reason));
        }
    }

    fn begin_closing(&mut self, closed: Closed) {
        self.state = State::Closing {
            closed,
            timer: Box::pin(sleep(CLOSE_TIME)),
        };
    }

    /// Reads until something waits; the text, if that is what it is.
    pub(crate) fn poll_text(
        &mut self,
        cx: &mut Context<'_>,
        may_sleep: MaySleep,
    ) -> Option<String> {
        if !matches!(self.state, State::Open) {
            return None;
        }
        let mut socket = lock(&self.socket);
        socket.let_sleep(may_sleep);
        let _pending = socket.poll_fill(cx);
        socket.take_text()
    }

    pub(crate) fn has_binary(&self) -> bool {
        matches!(self.state, State::Open) && lock(&self.socket).has_binary()
    }

    /// What waits in binary, to be compared after a turn.
    pub(crate) fn backlog(&self) -> Backlog {
        let socket = lock(&self.socket);
        Backlog {
            waits: socket.has_binary(),
            taken: socket.taken(),
        }
    }

    /// Whether another turn would find binary to read. What waited before this turn and was not
    /// touched in it cannot be read before something else leaves, and the writer wakes us then:
    /// without a return to the runtime the socket would never become writable.
    pub(crate) fn goes_on(&self, before: &Backlog) -> bool {
        let stuck = before.waits && before.taken == lock(&self.socket).taken();
        self.has_binary() && !stuck
    }

    pub(crate) fn sweep(&mut self, inboxes: &Inboxes) {
        let received = lock(&self.socket).received();
        self.sweeper.sweep_if_due(received, inboxes);
    }

    /// Timers, then output, then what became of the connection.
    pub(crate) fn poll_fate(&mut self, cx: &mut Context<'_>) -> Poll<Fate> {
        if let State::Violated(violation) = self.state {
            self.close(violation.close_code(), violation.reason());
        }
        if matches!(self.state, State::Over) {
            return Poll::Pending;
        }
        self.poll_keep_alive(cx);
        let sent = lock(&self.socket).poll_send(cx);
        if let State::Closing { .. } = self.state {
            return self.poll_closing(cx, sent.is_ready());
        }
        let end = lock(&self.socket).end().cloned();
        match end {
            None => Poll::Pending,
            Some(End::Violation(violation)) => {
                self.state = State::Violated(violation);
                Poll::Ready(Fate::Violation(violation))
            }
            Some(End::Closed(closed)) if closed.by == CloseBy::Us => {
                self.begin_closing(closed);
                self.poll_closing(cx, sent.is_ready())
            }
            Some(End::Closed(closed)) => {
                self.state = State::Over;
                Poll::Ready(Fate::Closed(closed))
            }
        }
    }

    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) {
        loop {
            let mut socket = lock(&self.socket);
            let Poll::Ready(tick) = self.keep_alive.poll(cx, socket.received()) else {
                return;
            };
            if tick == Tick::PeerDead || !socket.push_ping() {
                socket.fail(End::Closed(Closed::lost("the peer fell silent")));
                return;
            }
            drop(socket);
            self.pinged = true;
        }
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>, sent: bool) -> Poll<Fate> {
        let State::Closing { closed, timer } = &mut self.state else {
            return Poll::Pending;
        };
        let answered = sent && lock(&self.socket).poll_close_answer(cx).is_ready();
        if !answered && timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let closed = closed.clone();
        self.state = State::Over;
        Poll::Ready(Fate::Closed(closed))
    }
}
