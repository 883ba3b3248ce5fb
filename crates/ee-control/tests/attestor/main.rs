//! The attestor end to end: simulated quotes, collateral and releases in; verdicts out.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set its scene fails by panicking"
)]

mod collateral;
mod mutations;
mod outage;
mod policies;
mod reappraisal;
mod references;
mod verdicts;
mod world;
