//! Generated evidence of simulated platforms, good and bad, through the public pipeline.

mod allowlists;
mod appraisal;
mod collateral;
mod differential;
mod form;
mod platform;
mod policy;
mod rig;
