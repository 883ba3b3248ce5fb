//! The agent's only readings of clock and randomness.
//!
//! Everything else takes time and seeds as arguments, so that tests can pause the one and fix
//! the other.

use ee_protocol::time::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the agent's clock")]
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::EPOCH.after(since_epoch)
}

/// Eight bytes of the system's randomness, to seed jitter and to name a boot.
pub fn entropy() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system has randomness");
    u64::from_le_bytes(bytes)
}

/// How long something has taken, on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the agent's clock")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> std::time::Duration {
        self.0.elapsed()
    }
}
