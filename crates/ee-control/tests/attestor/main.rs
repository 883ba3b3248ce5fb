//! The attestor end to end: simulated quotes, collateral and releases in; verdicts out.

mod collateral;
mod references;
mod verdicts;
mod world;
