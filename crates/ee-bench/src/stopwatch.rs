//! Wall time, for measuring only.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Started when it is made.
#[derive(Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures wall time")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// What the clock on the wall shows, in seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "books are handed to a server, which reads it too"
)]
pub fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
