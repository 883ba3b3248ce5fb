//! Use-cases over ports: the control plane between the pure core and the shell.

pub mod apps;
pub mod attestation;
pub mod collateral;
pub mod explain;
pub mod plane;
pub mod ports;
pub mod proxy;
pub mod reference_values;
pub mod resolve;
pub mod routes;
mod trusted_time;
