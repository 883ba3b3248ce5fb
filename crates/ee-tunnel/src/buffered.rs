//! How many received bytes wait for somebody's next hop, over all tunnels of a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts bytes that were taken out of HTTP/2 and that no next hop has taken yet. Clones count
/// together.
#[derive(Debug, Clone, Default)]
pub struct Buffered(Arc<AtomicUsize>);

impl Buffered {
    /// The bytes that wait now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// The part of one stream.
    pub(crate) fn share(&self) -> Share {
        Share {
            all: Arc::clone(&self.0),
            bytes: 0,
        }
    }
}

/// What one stream adds; nothing any more once it is dropped.
pub(crate) struct Share {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Share {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.take(self.bytes);
    }
}
