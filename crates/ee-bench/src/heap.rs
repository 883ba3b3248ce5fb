//! Counts what this process has allocated: the control plane under measurement runs in it.

use cap::Cap;
use mimalloc::MiMalloc;

/// Around the allocator that the shipped programs have, so that resident memory is theirs too.
#[global_allocator]
static COUNTING: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

/// Bytes asked for and not given back; what the allocator adds to each block is not in it.
pub fn allocated_bytes() -> usize {
    COUNTING.allocated()
}
