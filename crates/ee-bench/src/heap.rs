//! Counts what this process has allocated: the control plane under measurement runs in it.

use std::alloc::System;

use stats_alloc::StatsAlloc;

#[global_allocator]
static COUNTING: StatsAlloc<System> = StatsAlloc::system();

/// Bytes asked for and not given back; what the allocator adds to each block is not in it.
pub fn allocated_bytes() -> usize {
    let stats = COUNTING.stats();
    stats
        .bytes_allocated
        .saturating_sub(stats.bytes_deallocated)
}
