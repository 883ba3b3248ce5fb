//! Latencies of one run, and what they say.

use std::time::Duration;

use crate::load::count;

/// One latency an answer, and how many operations the answers stood for.
#[derive(Default)]
pub struct Samples {
    latencies: Vec<Duration>,
    operations: usize,
    elapsed: Duration,
}

impl Samples {
    /// One operation took so long.
    pub fn add(&mut self, latency: Duration) {
        self.add_bulk(latency, 1);
    }

    /// So many operations were answered together after so long.
    pub fn add_bulk(&mut self, latency: Duration, operations: usize) {
        self.latencies.push(latency);
        self.operations += operations;
    }

    /// What another client measured in the same time.
    pub fn merge(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.operations += other.operations;
    }

    /// The run is over.
    pub fn end(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
        self.latencies.sort_unstable();
    }

    /// How many operations there were a second.
    pub fn per_second(&self) -> f64 {
        count(self.operations) / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the answers did not exceed, in permille.
    pub fn percentile(&self, permille: usize) -> Duration {
        let at = self.latencies.len() * permille / 1000;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get(at.min(last))
            .copied()
            .unwrap_or_default()
    }
}
