//! Whether there is memory for one more request (TUNNEL 6, "byte governor").
//!
//! One stream holds at most its window, so a slow reader hurts itself alone; very many of them
//! would still fill the machine. Beyond a share of its memory nothing new is begun until much of
//! what waits has left: what is under way finishes, and new requests are told when to come back.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use ee_tunnel::Buffered;

/// The part of the memory that bytes in passing may take.
const PART_OF_MEMORY: usize = 4;
/// Above this many hundredths of that nothing new is begun.
const FULL_PERCENT: usize = 95;
/// Below this many it is again.
const EASED_PERCENT: usize = 70;
/// Taken for the machine's memory where the system does not tell.
const MEMORY_UNKNOWN: usize = 1024 * 1024 * 1024;

/// Counts the bytes in passing of all tunnels, and says when they are too many.
#[derive(Debug)]
pub struct Governor {
    buffered: Buffered,
    limit: AtomicUsize,
    full: AtomicBool,
}

impl Governor {
    /// For the memory of this machine, or of the container around the process.
    pub fn of_this_machine() -> Self {
        Self::with_limit(memory() / PART_OF_MEMORY)
    }

    fn with_limit(limit: usize) -> Self {
        Self {
            buffered: Buffered::default(),
            limit: AtomicUsize::new(limit),
            full: AtomicBool::new(false),
        }
    }

    /// What every tunnel counts with.
    pub fn buffered(&self) -> &Buffered {
        &self.buffered
    }

    /// Sets another limit, for a process that shares its machine.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Whether a new request may begin.
    pub fn admits(&self) -> bool {
        self.admits_at(self.buffered.bytes())
    }

    fn admits_at(&self, bytes: usize) -> bool {
        let was_full = self.full.load(Ordering::Relaxed);
        let percent = if was_full {
            EASED_PERCENT
        } else {
            FULL_PERCENT
        };
        let limit = self.limit.load(Ordering::Relaxed);
        let is_full = bytes > limit / 100 * percent;
        if is_full != was_full {
            self.full.store(is_full, Ordering::Relaxed);
            tracing::warn!(event = "byte_governor", is_full, bytes, limit);
        }
        !is_full
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
    fn nothing_new_is_begun_until_much_has_left() {
        let governor = Governor::with_limit(1_000);
        for (bytes, admits) in [
            (0, true),
            (950, true),
            (951, false),
            (949, false),
            (701, false),
            (700, true),
            (950, true),
        ] {
            assert_eq!(governor.admits_at(bytes), admits, "{bytes}");
        }
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemFree: 5 kB\nMemTotal:       16318480 kB\n";
        assert_eq!(mem_total(text), Some(16_318_480 * 1024));
        assert_eq!(mem_total(""), None);
        assert!(memory() > 64 * 1024 * 1024);
    }
}
