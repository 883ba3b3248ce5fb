//! The place of one serving tunnel, and when the next one is opened on it.
//!
//! Two tunnels are on a lane only while one replaces the other.

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};

use crate::{backoff::Backoff, clock, tunnel::Order};

/// Names a tunnel of this process; a later one has a higher number.
pub(crate) type TunnelId = u64;

/// See the module.
pub(crate) struct Lane {
    tunnels: Vec<Live>,
    /// Attempts since the last attestation.
    attempt: u32,
    backoff: Backoff,
    /// When the next tunnel is to be opened.
    dial_at: Option<Instant>,
    /// The control plane wants a new tunnel while the old one goes on.
    replacing: bool,
}

struct Live {
    id: TunnelId,
    orders: mpsc::Sender<Order>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Serving,
    Leaving,
}

impl Lane {
    /// An empty lane that opens no tunnel by itself.
    pub(crate) fn new() -> Self {
        Self {
            tunnels: Vec::new(),
            attempt: 0,
            backoff: Backoff::new(clock::entropy()),
            dial_at: None,
            replacing: false,
        }
    }

    pub(crate) fn dial_at(&self) -> Option<Instant> {
        self.dial_at
    }

    /// Asks for a tunnel within this window, unless one is there or asked for.
    pub(crate) fn want_within(&mut self, window: Duration) {
        if self.tunnels.is_empty() && self.dial_at.is_none() {
            let wait = self.backoff.wait_within(Duration::ZERO, window);
            self.dial_at = Some(Instant::now() + wait);
        }
    }

    /// Opens nothing any more until it is asked again.
    pub(crate) fn rest(&mut self) {
        self.dial_at = None;
        self.replacing = false;
    }

    /// Puts the next attempt off.
    pub(crate) fn postpone(&mut self, wait: Duration) {
        self.dial_at = Some(Instant::now() + wait);
    }

    pub(crate) fn len(&self) -> usize {
        self.tunnels.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tunnels.is_empty()
    }

    pub(crate) fn has(&self, id: TunnelId) -> bool {
        self.tunnels.iter().any(|live| live.id == id)
    }

    /// Tunnels that take requests.
    pub(crate) fn serving(&self) -> usize {
        let serves = |live: &&Live| live.state == State::Serving;
        self.tunnels.iter().filter(serves).count()
    }

    /// A tunnel is being opened; the number of this attempt since the last success.
    pub(crate) fn opened(&mut self, id: TunnelId, orders: mpsc::Sender<Order>) -> u32 {
        self.dial_at = None;
        self.attempt = self.attempt.saturating_add(1);
        self.tunnels.push(Live {
            id,
            orders,
            state: State::Opening,
        });
        self.attempt
    }

    /// A tunnel may serve: those before it leave.
    pub(crate) fn attested(&mut self, id: TunnelId, grace: Duration) {
        self.backoff.reset();
        self.attempt = 0;
        self.replacing = false;
        for live in &mut self.tunnels {
            if live.id == id && live.state == State::Opening {
                live.state = State::Serving;
            } else if live.id < id {
                live.leave("replaced", grace);
            }
        }
    }

    /// The control plane wants another tunnel within this window.
    pub(crate) fn replace(&mut self, id: TunnelId, from: Duration, until: Duration) {
        self.replacing = true;
        if self.dial_at.is_none() && self.is_youngest(id) {
            self.dial_at = Some(Instant::now() + self.backoff.wait_within(from, until));
        }
    }

    /// A tunnel has ended; how long it takes until the next one, if one is wanted. A lane without
    /// a tunnel does not wait for the end of a window that was meant to spare its old one.
    pub(crate) fn ended(&mut self, id: TunnelId) -> Option<Duration> {
        let was_youngest = self.is_youngest(id);
        self.tunnels.retain(|live| live.id != id);
        let wanted = self.tunnels.is_empty() || (self.replacing && was_youngest);
        if !wanted || (self.dial_at.is_some() && !self.tunnels.is_empty()) {
            return None;
        }
        let wait = self.backoff.next_wait();
        let soon = Instant::now() + wait;
        self.dial_at = Some(self.dial_at.map_or(soon, |at| at.min(soon)));
        Some(wait)
    }

    /// All its tunnels finish their requests and end.
    pub(crate) fn leave(&mut self, reason: &str, grace: Duration) {
        for live in &mut self.tunnels {
            live.leave(reason, grace);
        }
    }

    fn is_youngest(&self, id: TunnelId) -> bool {
        self.tunnels.iter().all(|live| live.id <= id)
    }
}

impl Live {
    /// A tunnel whose queue of orders is full is leaving already.
    fn leave(&mut self, reason: &str, grace: Duration) {
        self.state = State::Leaving;
        drop(self.orders.try_send(Order::Leave {
            reason: reason.to_owned(),
            grace,
        }));
    }
}
