//! Proof that what was acknowledged is kept: the real control plane under load through HTTP, killed
//! at random moments, cut off from power, given a disk that fails.
//!
//! A few rounds run with every test run; `cargo xtask crash` asks for more.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test harness stops where it stands, and reports what it reached"
)]

mod backups;
mod http;
mod images;
mod kill;
mod postgres;
mod power;
mod random;
mod recorder;
mod restore;
mod server;
mod settlement;
mod standby;
mod story;
