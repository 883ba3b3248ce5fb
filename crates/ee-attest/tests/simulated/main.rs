//! Generated evidence of simulated platforms, good and bad, through the public pipeline.

mod allowlists;
mod appraisal;
mod collateral;
mod damage;
mod differential;
mod form;
mod monotony;
mod noise;
mod platform;
mod policy;
mod rig;
