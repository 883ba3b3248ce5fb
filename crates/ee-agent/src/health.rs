//! When to probe the backend, and what to tell the control plane about it.
//!
//! A `fail` costs the provider a period, so one lost probe says nothing: only three misses five
//! seconds apart are reported (EXPERIENCE 4). Recovery is reported with the first probe that
//! passes.

use std::time::Duration;

use ee_protocol::time::Timestamp;

/// Misses in a row until `fail` is sent.
const MISSES_TO_FAIL: u32 = 3;
/// Pause after a miss: together with the probes' time-outs three misses stay far below the
/// 120 s of silence that count as a miss themselves.
const RETRY: Duration = Duration::from_secs(5);

/// What is known of the backend. Sans-IO: time and outcomes come in, words go out.
#[derive(Debug)]
pub struct HealthSchedule {
    interval: Duration,
    misses: u32,
    next_probe: Timestamp,
    /// When `fail` was last sent, while the backend is failing.
    failed_at: Option<Timestamp>,
}

/// What `health` should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthWord {
    /// The backend answered.
    Pass,
    /// It did not, three times in a row.
    Fail,
}

impl HealthSchedule {
    /// Probes at once, then every `interval`.
    pub const fn new(interval: Duration, now: Timestamp) -> Self {
        Self {
            interval,
            misses: 0,
            next_probe: now,
            failed_at: None,
        }
    }

    /// When the next probe is due.
    pub const fn next_probe(&self) -> Timestamp {
        self.next_probe
    }

    /// A probe has started; none other is due until it ends.
    pub const fn probe_started(&mut self) {
        self.next_probe = Timestamp::FAR_FUTURE;
    }

    /// A probe has ended: what to say, if anything.
    pub fn probe_ended(&mut self, now: Timestamp, passed: bool) -> Option<HealthWord> {
        if passed {
            self.misses = 0;
            self.failed_at = None;
            self.next_probe = now.after(self.interval);
            return Some(HealthWord::Pass);
        }
        self.misses = self.misses.saturating_add(1);
        self.next_probe = now.after(RETRY.min(self.interval));
        let already_said = self
            .failed_at
            .is_some_and(|at| now < at.after(self.interval));
        if self.misses < MISSES_TO_FAIL || already_said {
            return None;
        }
        self.failed_at = Some(now);
        Some(HealthWord::Fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    #[test]
    fn fail_is_sent_after_three_misses_five_seconds_apart() {
        let mut health = HealthSchedule::new(INTERVAL, at(0));
        assert_eq!(health.probe_ended(at(0), true), Some(HealthWord::Pass));
        assert_eq!(health.next_probe(), at(60));
        assert_eq!(health.probe_ended(at(60), false), None);
        assert_eq!(health.next_probe(), at(65));
        assert_eq!(health.probe_ended(at(65), false), None);
        assert_eq!(health.probe_ended(at(70), false), Some(HealthWord::Fail));
    }

    #[test]
    fn a_lost_probe_costs_nothing() {
        let mut health = HealthSchedule::new(INTERVAL, at(0));
        assert_eq!(health.probe_ended(at(0), false), None);
        assert_eq!(health.probe_ended(at(5), false), None);
        assert_eq!(health.probe_ended(at(10), true), Some(HealthWord::Pass));
        assert_eq!(health.probe_ended(at(70), false), None);
    }

    #[test]
    fn a_failing_backend_is_repeated_each_interval_and_recovery_at_once() {
        let mut health = HealthSchedule::new(INTERVAL, at(0));
        for second in [0, 5] {
            assert_eq!(health.probe_ended(at(second), false), None);
        }
        assert_eq!(health.probe_ended(at(10), false), Some(HealthWord::Fail));
        for second in (15..70).step_by(5) {
            assert_eq!(health.probe_ended(at(second), false), None, "{second}");
        }
        assert_eq!(health.probe_ended(at(70), false), Some(HealthWord::Fail));
        assert_eq!(health.probe_ended(at(75), true), Some(HealthWord::Pass));
    }

    #[test]
    fn a_running_probe_is_the_only_one() {
        let mut health = HealthSchedule::new(INTERVAL, at(0));
        assert_eq!(health.next_probe(), at(0));
        health.probe_started();
        assert_eq!(health.next_probe(), Timestamp::FAR_FUTURE);
    }
}
