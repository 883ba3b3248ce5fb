//! Use-cases over ports: the control plane between the pure core and the shell.

pub mod collateral;
pub mod ports;
pub mod reference_values;
mod trusted_time;
