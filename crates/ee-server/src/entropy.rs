//! The only source of randomness of the control plane: the operating system's.

use std::cell::RefCell;

use ring::rand::{SecureRandom, SystemRandom};

/// Bytes fetched at once. A proxied request draws some 40 bytes in three portions; a system call
/// for each of them was 2 % of its CPU.
const POOL_BYTES: usize = 512;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_BYTES], left: 0 }) };
}

/// Bytes of the operating system that nobody has been given yet.
struct Pool {
    bytes: [u8; POOL_BYTES],
    left: usize,
}

/// Fills `bytes` with random bytes; none is ever given out twice.
///
/// # Panics
/// If the operating system has no randomness: nothing here could go on safely.
pub fn fill(bytes: &mut [u8]) {
    if bytes.len() > POOL_BYTES {
        return fetch(bytes);
    }
    POOL.with_borrow_mut(|pool| {
        if pool.left < bytes.len() {
            fetch(&mut pool.bytes);
            pool.left = POOL_BYTES;
        }
        let from = pool.left - bytes.len();
        bytes.copy_from_slice(&pool.bytes[from..pool.left]);
        pool.bytes[from..pool.left].fill(0);
        pool.left = from;
    });
}

fn fetch(bytes: &mut [u8]) {
    SystemRandom::new()
        .fill(bytes)
        .expect("the operating system provides randomness");
}

/// A seed for a ChaCha generator: sessions make their nonces from one.
pub fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    fill(&mut seed);
    seed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_twice() {
        let drawn: BTreeSet<[u8; 32]> = (0..1000).map(|_| seed()).collect();
        assert_eq!(drawn.len(), 1000);
        let mut long = [0; POOL_BYTES + 1];
        fill(&mut long);
        assert!(long.iter().any(|byte| *byte != 0));
    }
}
