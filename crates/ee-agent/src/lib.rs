//! The reference agent: proves what it runs and serves the tunnel against a backend.

pub mod backoff;
pub mod clock;
pub mod quote;
pub mod tsm;
