//! When to connect again: exponential with full jitter, base 1 s, cap 60 s (TUNNEL 11).
//!
//! Full jitter spreads ten thousand agents that lost the same control plane over the whole
//! window; an exponential wait without it would bring them back in one wave per step.

use std::time::Duration;

/// First window. One second is shorter than any restart, so nothing is lost by waiting it.
const BASE: Duration = Duration::from_secs(1);
/// Longest window: an agent is never away for more than a minute once the network is back.
const CAP: Duration = Duration::from_secs(60);

/// The waits between attempts. Deterministic for a given seed.
#[derive(Debug)]
pub struct Backoff {
    attempt: u32,
    jitter: Jitter,
}

impl Backoff {
    /// Waits drawn from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self {
            attempt: 0,
            jitter: Jitter::new(seed),
        }
    }

    /// How long to wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        let window = BASE.saturating_mul(1 << self.attempt.min(6)).min(CAP);
        self.attempt = self.attempt.saturating_add(1);
        self.jitter.up_to(window)
    }

    /// A wait within a window that the other end names, as a drain does.
    pub fn wait_within(&mut self, from: Duration, until: Duration) -> Duration {
        from + self.jitter.up_to(until.saturating_sub(from).min(CAP))
    }

    /// An attestation passed: the next loss starts from the base again.
    pub const fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// A small generator (splitmix64) for spreading waits; nothing secret is drawn from it.
#[derive(Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Draws from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Evenly between zero and `window`, in microseconds.
    pub fn up_to(&mut self, window: Duration) -> Duration {
        let micros = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.draw() % micros.saturating_add(1).max(1))
    }

    const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_double_up_to_the_cap() {
        let longest = |attempt: u32| {
            (0..2_000)
                .map(|seed| {
                    let mut backoff = Backoff::new(seed);
                    backoff.attempt = attempt;
                    backoff.next_wait()
                })
                .max()
                .unwrap()
        };
        for (attempt, window_s) in [(0, 1), (1, 2), (3, 8), (5, 32), (6, 60), (40, 60)] {
            let window = Duration::from_secs(window_s);
            assert!(longest(attempt) <= window, "attempt {attempt}");
            assert!(
                longest(attempt) > window.mul_f64(0.95),
                "attempt {attempt} is not spread"
            );
        }
    }

    #[test]
    fn a_thousand_agents_do_not_come_back_together() {
        let mut per_tenth = [0; 10];
        for seed in 0..1_000 {
            let wait = Backoff::new(seed).next_wait();
            per_tenth[usize::try_from(wait.as_millis() / 100).unwrap().min(9)] += 1;
        }
        assert!(
            per_tenth.iter().all(|&count| (50..200).contains(&count)),
            "{per_tenth:?}"
        );
    }

    #[test]
    fn success_starts_over_and_drains_are_obeyed() {
        let mut backoff = Backoff::new(7);
        for _ in 0..10 {
            backoff.next_wait();
        }
        backoff.reset();
        assert!(backoff.next_wait() <= BASE);
        let (from, until) = (Duration::from_millis(500), Duration::from_secs(15));
        for _ in 0..100 {
            assert!((from..=until).contains(&backoff.wait_within(from, until)));
        }
    }
}
