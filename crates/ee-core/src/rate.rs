//! A token bucket in its leanest form: one moment, until which the bucket is not full again
//! (the generic cell rate algorithm of ITU-T I.371, with the bucket as its tolerance).

use std::time::Duration;

use ee_protocol::time::Timestamp;

/// How much is allowed: `burst` at once, refilled evenly within `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Size of the bucket; at least 1.
    pub burst: u32,
    /// Time in which an empty bucket fills.
    pub window: Duration,
}

/// A bucket that was not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// What is left after this one.
    pub remaining: u32,
    /// When the bucket is full again if nothing else is taken.
    pub full_in: Duration,
}

/// The state of one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    full_at: Timestamp,
}

impl Default for Bucket {
    /// A full bucket.
    fn default() -> Self {
        Self {
            full_at: Timestamp::EPOCH,
        }
    }
}

impl Bucket {
    /// Takes one.
    ///
    /// # Errors
    /// How long to wait, if the bucket is empty; nothing is taken then.
    pub fn take(&mut self, rate: Rate, now: Timestamp) -> Result<Allowed, Duration> {
        let drop_time = rate.window / rate.burst;
        // A clock that was set back must not lock a caller out for longer than a window.
        self.full_at = self.full_at.clamp(now, now.after(rate.window));
        let next = self.full_at.after(drop_time);
        let full_in = next.since(now);
        if full_in > rate.window {
            return Err(full_in - rate.window);
        }
        self.full_at = next;
        let left = (rate.window - full_in).as_micros() / drop_time.as_micros().max(1);
        let remaining = u32::try_from(left).unwrap_or(rate.burst);
        Ok(Allowed { remaining, full_in })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 600,
        window: Duration::from_secs(60),
    };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_micros(1_000_000_000 + millis * 1_000)
    }

    #[test]
    fn a_burst_passes_and_one_more_waits_for_its_drop() {
        let mut bucket = Bucket::default();
        for taken in 1..=600 {
            let allowed = bucket.take(RATE, at(0)).expect("allowed");
            assert_eq!(allowed.remaining, 600 - taken);
        }
        assert_eq!(bucket.take(RATE, at(0)), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(RATE, at(99)), Err(Duration::from_millis(1)));
        let allowed = bucket.take(RATE, at(100)).expect("one drop fell");
        assert_eq!(allowed.remaining, 0);
        assert_eq!(bucket.take(RATE, at(100)), Err(Duration::from_millis(100)));
    }

    #[test]
    fn over_any_time_no_more_than_burst_and_refill_pass() {
        let mut bucket = Bucket::default();
        let passed = (0..120_000).filter(|millis| bucket.take(RATE, at(*millis)).is_ok());
        assert_eq!(passed.count(), 600 + 1_200 - 1);
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out_for_more_than_a_drop() {
        let mut bucket = Bucket::default();
        bucket.take(RATE, at(1_000_000_000)).expect("allowed");
        let wait = bucket
            .take(RATE, at(0))
            .expect_err("the bucket counts as empty");
        assert_eq!(wait, Duration::from_millis(100));
        assert!(bucket.take(RATE, at(100)).is_ok());
    }
}
