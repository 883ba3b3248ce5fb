//! Pings: when to send one, when a silent peer is dead, when a pinging one is hostile (TUNNEL 2.2).
//!
//! Each connection has its own timer at its own distance: a common beat of thousands of tunnels
//! would show in the latency of live requests.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, Sleep, sleep};

use crate::limits::{PING_GRACE, PING_INTERVAL, PINGS_PER_SECOND};

/// When this connection pings its peer.
#[derive(Debug, Clone, Copy)]
pub struct PingPolicy {
    /// Distance of pings.
    pub interval: Duration,
    /// Silence after a ping that means death.
    pub grace: Duration,
}

impl PingPolicy {
    /// 30 s ± 20 %, drawn once for this connection; 15 s of grace.
    #[must_use]
    pub fn jittered() -> Self {
        let mut byte = [128_u8; 1];
        // Without randomness every connection takes the mean: worse timing, not worse safety.
        let _drawn = SystemRandom::new().fill(&mut byte);
        let spread = PING_INTERVAL * 2 / 5;
        let interval = PING_INTERVAL - spread / 2 + spread * u32::from(byte[0]) / 255;
        Self {
            interval,
            grace: PING_GRACE,
        }
    }
}

/// What the timer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tick {
    SendPing,
    PeerDead,
}

#[derive(Debug)]
enum State {
    Quiet,
    /// Bytes received when the ping was sent.
    Asked {
        seen: u64,
    },
}

pub(crate) struct KeepAlive {
    policy: PingPolicy,
    timer: Pin<Box<Sleep>>,
    state: State,
}

impl KeepAlive {
    pub(crate) fn new(policy: PingPolicy) -> Self {
        Self {
            policy,
            timer: Box::pin(sleep(policy.interval)),
            state: State::Quiet,
        }
    }

    /// The time between two pings.
    pub(crate) fn interval(&self) -> Duration {
        self.policy.interval
    }

    /// `received` is the number of bytes that ever came from the peer.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, received: u64) -> Poll<Tick> {
        loop {
            std::task::ready!(self.timer.as_mut().poll(cx));
            let (wait, state, tick) = match self.state {
                State::Quiet => (
                    self.policy.grace,
                    State::Asked { seen: received },
                    Some(Tick::SendPing),
                ),
                State::Asked { seen } if seen == received => return Poll::Ready(Tick::PeerDead),
                State::Asked { .. } => (
                    self.policy.interval.saturating_sub(self.policy.grace),
                    State::Quiet,
                    None,
                ),
            };
            self.timer.as_mut().reset(Instant::now() + wait);
            self.state = state;
            if let Some(tick) = tick {
                return Poll::Ready(tick);
            }
        }
    }
}

/// Counts the peer's pings within one second.
#[derive(Debug, Default)]
pub(crate) struct PingMeter {
    since: Option<Instant>,
    count: u32,
}

impl PingMeter {
    /// Notes a ping; true when it is one too many.
    pub(crate) fn is_flood(&mut self) -> bool {
        let now = Instant::now();
        if self
            .since
            .is_none_or(|since| now - since >= Duration::from_secs(1))
        {
            self.since = Some(now);
            self.count = 0;
        }
        self.count += 1;
        self.count > PINGS_PER_SECOND
    }
}
