//! How long DATA frames are: the grain of fairness between the streams of one tunnel.
//!
//! HTTP/2 sends one frame of each stream in turn, so a small answer waits for one frame of every
//! large one. Long frames are cheap, for each costs both ends a header, a message and a turn, and
//! they hurt only where many are ahead. So what is bounded is the round: few senders have long
//! frames, many have short ones, and no round is longer than with short ones alone (ADR 0019).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{FRAME_FAIR, FRAME_MAX, ROUND_BYTES};

/// Counts the senders of one end of a tunnel. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grain(Arc<AtomicUsize>);

/// A body that is being sent; it counts until it is dropped.
pub(crate) struct Sending(Grain);

impl Grain {
    pub(crate) fn enter(&self) -> Sending {
        self.0.fetch_add(1, Ordering::Relaxed);
        Sending(self.clone())
    }
}

impl Sending {
    /// Bytes that the next frame may have.
    pub(crate) fn frame_bytes(&self) -> usize {
        let senders = self.0.0.load(Ordering::Relaxed).max(1);
        (ROUND_BYTES / senders).clamp(FRAME_FAIR, FRAME_MAX as usize)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_as_long_as_its_bound_or_as_short_frames_make_it() {
        let grain = Grain::default();
        let mut senders = Vec::new();
        for (count, bytes) in [
            (1, FRAME_MAX as usize),
            (16, FRAME_MAX as usize),
            (32, ROUND_BYTES / 32),
            (64, FRAME_FAIR),
            (1_000, FRAME_FAIR),
            (17, ROUND_BYTES / 17),
            (1, FRAME_MAX as usize),
        ] {
            senders.truncate(count);
            senders.resize_with(count, || grain.enter());
            assert_eq!(senders[0].frame_bytes(), bytes, "{count}");
        }
    }
}
