//! Latencies of one run, and what they say.

use std::time::Duration;

use crate::load::count;

/// One latency an operation (or a batch of them).
#[derive(Default)]
pub struct Samples {
    latencies: Vec<Duration>,
    elapsed: Duration,
}

impl Samples {
    /// One operation took so long.
    pub fn add(&mut self, latency: Duration) {
        self.latencies.push(latency);
    }

    /// The run is over.
    pub fn end(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
        self.latencies.sort_unstable();
    }

    /// How many there were a second.
    pub fn per_second(&self) -> f64 {
        count(self.latencies.len()) / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the operations did not exceed, in permille.
    pub fn percentile(&self, permille: usize) -> Duration {
        let at = self.latencies.len() * permille / 1000;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get(at.min(last))
            .copied()
            .unwrap_or_default()
    }
}
