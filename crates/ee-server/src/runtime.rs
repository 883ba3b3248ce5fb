//! The threads of a control plane.

use std::{io, num::NonZero, thread};

use tokio::runtime::{Builder, Runtime};

/// A runtime with one thread for two cores, at least one. The other half is for what the threads
/// cause: the kernel's network work and the verification of quotes, which has threads of its own.
/// With a thread for each core a request and its tunnel wake one another across cores all the
/// time: on two cores that took a fifth more CPU and served a third fewer small requests.
///
/// # Errors
/// If the operating system gives no threads or no poller.
pub fn runtime() -> io::Result<Runtime> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    Builder::new_multi_thread()
        .worker_threads(threads_for(cores))
        .enable_all()
        .build()
}

fn threads_for(cores: usize) -> usize {
    cores.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_thread() {
        assert_eq!([1, 2, 3, 4, 64].map(threads_for), [1, 1, 2, 2, 32]);
    }
}
