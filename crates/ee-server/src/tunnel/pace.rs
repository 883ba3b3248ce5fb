//! A steady beat for newcomers (TUNNEL 11, "storms admitted at a steady rate").
//!
//! Slots bound how many are attested at once, not how fast: after a restart the handshakes of ten
//! thousand agents would come as fast as the thread can turn, and live requests would wait behind
//! them. A challenge starts when its turn in the beat comes; few at a time come at once.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Handshakes that begin in a second, for each core. One costs this end a third of a millisecond
/// on the thread that also carries requests, and its quote one to two on another: half of a core
/// is left for live requests, and ten thousand agents are back on two cores in ten seconds.
const PER_CORE_AND_SECOND: u32 = 500;
/// Newcomers that need not wait for their turn: a few agents that come together are no storm.
const BURST: u32 = 32;

/// The beat of one process.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// When the next one's turn would be, if none may come early.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(cores: usize) -> Self {
        let cores = u32::try_from(cores.max(1)).unwrap_or(u32::MAX);
        Self {
            interval: Duration::from_secs(1) / PER_CORE_AND_SECOND.saturating_mul(cores),
            next: Mutex::new(None),
        }
    }

    /// Waits for a turn, in the order of asking.
    pub(super) async fn turn(&self) {
        let at = self.take();
        sleep_until(at).await;
    }

    fn take(&self) -> Instant {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + self.interval);
        // Who asks within the burst goes at once, and the beat goes on behind him.
        now.max(turn - (self.interval * BURST).min(turn - now))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_storm_comes_in_at_a_steady_rate_and_a_few_at_once() {
        let pace = Pace::new(2);
        let began = Instant::now();
        let turns = join_all((0..2_000).map(|_| async {
            pace.turn().await;
            began.elapsed()
        }));
        let turns = turns.await;
        let within = |seconds| {
            let end = Duration::from_secs(seconds);
            turns.iter().filter(|turn| **turn <= end).count()
        };
        assert!(turns.is_sorted(), "in the order of asking");
        assert!((1..=40).contains(&within(0)), "{}", within(0));
        assert!((1_000..=1_040).contains(&within(1)), "{}", within(1));
        assert_eq!(within(2), 2_000);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        pace.turn().await;
        assert_eq!(began.elapsed(), Duration::ZERO, "the storm is over");
    }
}
