//! How many received bytes wait for somebody's next hop, over all tunnels of a process, and what
//! that means for windows and new requests (TUNNEL 6, "byte governor").
//!
//! One stream holds at most its window, so a slow reader hurts itself alone; very many of them
//! would still fill the machine. Beyond a share of its memory streams get small windows, and beyond
//! more of it nothing new is begun until much of what waits has left.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::limits::{BACKLOG, STREAM_WINDOW, STREAM_WINDOW_TIGHT};

/// The part of the memory that bytes in passing may take.
const PART_OF_MEMORY: usize = 4;
/// Above this many hundredths of that nothing new is begun.
const FULL_PERCENT: usize = 95;
/// Above this many windows are small.
const TIGHT_PERCENT: usize = 80;
/// At this many both is over.
const EASED_PERCENT: usize = 70;
/// Taken for the machine's memory where the system does not tell.
const MEMORY_UNKNOWN: usize = 1024 * 1024 * 1024;

/// Counts bytes that were taken out of HTTP/2 and that no next hop has taken yet. Clones count
/// together.
#[derive(Debug, Clone)]
pub struct Buffered(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: AtomicUsize,
    limit: AtomicUsize,
    tight: AtomicBool,
    full: AtomicBool,
}

impl Default for Buffered {
    /// Without a limit.
    fn default() -> Self {
        Self::with_limit(usize::MAX)
    }
}

impl Buffered {
    /// For the memory of this machine, or of the container around the process.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::with_limit(memory() / PART_OF_MEMORY)
    }

    /// For this many bytes.
    #[must_use]
    pub fn with_limit(bytes: usize) -> Self {
        Self(Arc::new(Inner {
            bytes: AtomicUsize::new(0),
            limit: AtomicUsize::new(bytes),
            tight: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }))
    }

    /// Sets another limit, for a process that shares its machine.
    pub fn set_limit(&self, bytes: usize) {
        self.0.limit.store(bytes, Ordering::Relaxed);
        self.judge(self.bytes());
    }

    /// The bytes that wait now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Whether a new request may begin.
    #[must_use]
    pub fn admits(&self) -> bool {
        !self.0.full.load(Ordering::Relaxed)
    }

    /// Receive window of a stream, as things are.
    pub(crate) fn stream_window(&self) -> u32 {
        match self.0.tight.load(Ordering::Relaxed) {
            true => STREAM_WINDOW_TIGHT,
            false => STREAM_WINDOW,
        }
    }

    /// The part of one stream of the tunnel whose backlogs these are.
    pub(crate) fn share(&self, backlogs: &Backlogs) -> Share {
        Share {
            all: self.clone(),
            backlogs: backlogs.clone(),
            bytes: 0,
        }
    }

    /// Threads that judge at the same time may differ for a moment; the next byte settles it.
    fn judge(&self, bytes: usize) {
        let Inner {
            bytes: _,
            limit,
            tight,
            full,
        } = &*self.0;
        let limit = limit.load(Ordering::Relaxed);
        for (flag, percent) in [(tight, TIGHT_PERCENT), (full, FULL_PERCENT)] {
            let was = flag.load(Ordering::Relaxed);
            let percent = if was { EASED_PERCENT } else { percent };
            let is = bytes > limit / 100 * percent;
            if is != was {
                flag.store(is, Ordering::Relaxed);
                let (tight, full) = (tight.load(Ordering::Relaxed), full.load(Ordering::Relaxed));
                tracing::warn!(event = "byte_governor", tight, full, bytes, limit);
            }
        }
    }
}

/// How many streams of one tunnel have much that waits for their readers. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backlogs(Arc<AtomicUsize>);

impl Backlogs {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one stream adds; nothing any more once it is dropped.
pub(crate) struct Share {
    all: Buffered,
    backlogs: Backlogs,
    bytes: usize,
}

impl Share {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.set(self.bytes + bytes);
        let before = self.all.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.judge(before.saturating_add(bytes));
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.set(self.bytes - bytes);
        let before = self.all.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.all.judge(before.saturating_sub(bytes));
    }

    fn set(&mut self, bytes: usize) {
        let (was, is) = (self.bytes >= BACKLOG, bytes >= BACKLOG);
        if is && !was {
            self.backlogs.0.fetch_add(1, Ordering::Relaxed);
        } else if was && !is {
            self.backlogs.0.fetch_sub(1, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.take(self.bytes);
    }
}

/// Bytes of memory, as far as this process may use them.
fn memory() -> usize {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(mem_total);
    let container = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let container = container.and_then(|text| text.trim().parse().ok());
    let known = machine.into_iter().chain(container).min();
    known.unwrap_or(MEMORY_UNKNOWN)
}

fn mem_total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_shrink_first_then_nothing_new_is_begun_until_much_has_left() {
        let buffered = Buffered::with_limit(1_000);
        let mut share = buffered.share(&Backlogs::default());
        for (bytes, window, admits) in [
            (0, STREAM_WINDOW, true),
            (800, STREAM_WINDOW, true),
            (801, STREAM_WINDOW_TIGHT, true),
            (950, STREAM_WINDOW_TIGHT, true),
            (951, STREAM_WINDOW_TIGHT, false),
            (949, STREAM_WINDOW_TIGHT, false),
            (701, STREAM_WINDOW_TIGHT, false),
            (700, STREAM_WINDOW, true),
            (800, STREAM_WINDOW, true),
        ] {
            let now = buffered.bytes();
            share.add(bytes.max(now) - now);
            share.take(now - bytes.min(now));
            assert_eq!(buffered.bytes(), bytes);
            assert_eq!(
                (buffered.stream_window(), buffered.admits()),
                (window, admits),
                "{bytes}"
            );
        }
        drop(share);
        assert_eq!(buffered.bytes(), 0);
    }

    #[test]
    fn a_stream_counts_while_much_of_it_waits() {
        let (buffered, backlogs) = (Buffered::default(), Backlogs::default());
        let mut shares = [buffered.share(&backlogs), buffered.share(&backlogs)];
        shares[0].add(BACKLOG - 1);
        assert_eq!(backlogs.count(), 0);
        shares[0].add(1);
        shares[0].add(1);
        shares[1].add(2 * BACKLOG);
        assert_eq!(backlogs.count(), 2);
        shares[0].take(2);
        assert_eq!(backlogs.count(), 1);
        drop(shares);
        assert_eq!((backlogs.count(), buffered.bytes()), (0, 0));
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemFree: 5 kB\nMemTotal:       16318480 kB\n";
        assert_eq!(mem_total(text), Some(16_318_480 * 1024));
        assert_eq!(mem_total(""), None);
        assert!(memory() > 64 * 1024 * 1024);
    }
}
