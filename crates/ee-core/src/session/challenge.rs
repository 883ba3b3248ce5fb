//! Challenges: single-use nonces, their deadlines, and the waits between them.

use std::time::Duration;

use ee_protocol::{
    report_data::{NONCE_LEN, Nonce},
    time::Timestamp,
};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};
use subtle::ConstantTimeEq;

use super::ChallengeReason;

/// A challenge that was made but never reported as sent: its socket is stuck, and the peer's
/// silence is found by pings within 45 s (TUNNEL 2.2). This bound only catches a shell that
/// forgets to report.
const UNSENT_MAX: Duration = Duration::from_secs(60);
/// The wait before the first new challenge after an indeterminate verdict; it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest of those waits (TUNNEL 2.1).
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The wait before the new challenge after an agent's own error (ATTESTATION 10).
pub(super) const AGENT_ERROR_WAIT: Duration = Duration::from_secs(5);

/// The only source of unpredictable bytes of a session: ChaCha20 under a seed handed in once.
#[derive(Debug)]
pub(super) struct Entropy(ChaCha20Rng);

impl Entropy {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    pub(super) fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        self.0.fill_bytes(&mut nonce);
        nonce
    }

    /// `interval` times a factor of 0.9 to 1.0: jitter only shortens, else a pass would lapse.
    pub(super) fn shorten(&mut self, interval: Duration) -> Duration {
        const STEPS: u32 = 1_000;
        let cut = self.0.next_u32() % (STEPS + 1);
        interval - interval * cut / (10 * STEPS)
    }
}

/// A challenge whose answer has not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) nonce: Nonce,
    pub(super) reason: ChallengeReason,
    pub(super) deadline: Timestamp,
    sent: bool,
}

impl Challenge {
    pub(super) fn new(
        nonce: Nonce,
        reason: ChallengeReason,
        now: Timestamp,
        answer_in: Duration,
    ) -> Self {
        Self {
            nonce,
            reason,
            deadline: now.after(UNSENT_MAX).after(answer_in),
            sent: false,
        }
    }

    /// The request is on the wire: only now does the agent's time begin.
    pub(super) fn mark_sent(&mut self, now: Timestamp, answer_in: Duration) {
        if !self.sent {
            self.sent = true;
            self.deadline = now.after(answer_in);
        }
    }

    pub(super) fn matches(&self, nonce_hex: &str) -> bool {
        hex::encode(self.nonce)
            .as_bytes()
            .ct_eq(nonce_hex.as_bytes())
            .into()
    }
}

/// Waits of 1, 2, 4 … 60 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retry(Duration);

impl Retry {
    pub(super) const fn new() -> Self {
        Self(RETRY_FIRST)
    }

    pub(super) fn next_wait(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(RETRY_MAX);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        let mut retry = Retry::new();
        let waits: Vec<u64> = (0..9).map(|_| retry.next_wait().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn jitter_only_shortens_and_by_a_tenth_at_most() {
        let mut entropy = Entropy::new([7; 32]);
        let interval = Duration::from_secs(3_600);
        for _ in 0..1_000 {
            let wait = entropy.shorten(interval);
            assert!(wait <= interval && wait >= interval * 9 / 10, "{wait:?}");
        }
    }

    #[test]
    fn nonces_differ_and_follow_from_the_seed() {
        let (mut one, mut same) = (Entropy::new([1; 32]), Entropy::new([1; 32]));
        let first = one.nonce();
        assert_eq!(first, same.nonce());
        assert_ne!(first, one.nonce());
    }
}
