//! The only source of randomness of the control plane: the operating system's.

use ring::rand::{SecureRandom, SystemRandom};

/// Fills `bytes` with random bytes.
///
/// # Panics
/// If the operating system has no randomness: nothing here could go on safely.
pub fn fill(bytes: &mut [u8]) {
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
