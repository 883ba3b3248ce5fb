//! Use-cases over ports: the control plane between the pure core and the shell.

pub mod attestation;
pub mod collateral;
pub mod apps;
pub mod explain;
pub mod plane;
pub mod ports;
pub mod proxy;
pub mod resolve;
pub mod routes;
pub mod reference_values;
mod trusted_time;
