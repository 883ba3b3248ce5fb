//! Fuzz targets: everything that reads bytes of others, as functions from bytes.
//!
//! A target takes any bytes, never panics on account of what they are, and checks what must hold
//! of the result: that it reads back the same, that a second reader agrees, that nothing came
//! through which must not. `cargo xtask fuzz` gives them to libFuzzer; the tests of this crate
//! give them their seeds, what was found before, and ten thousand damaged seeds each.

pub mod damage;
mod seeds;
mod targets;

pub use targets::TARGETS;

/// One target.
pub struct Target {
    /// Its name on the command line, and of its folder of regressions.
    pub name: &'static str,
    /// What it reads.
    pub about: &'static str,
    /// Reads; panics if something does not hold.
    pub run: fn(&[u8]),
    /// Good inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Longest input that is worth trying, in bytes.
    pub longest: usize,
    /// Edges that a minute of fuzzing reaches with room to spare.
    pub floor: u64,
}

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
