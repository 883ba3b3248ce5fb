//! Use-cases over ports: the control plane between the pure core and the shell.

pub mod abuse;
pub mod accounts;
pub mod answers;
pub mod apps;
pub mod attestation;
pub mod books;
pub mod collateral;
pub mod credits;
pub mod explain;
pub mod ledger;
pub mod locks;
pub mod nodes;
pub mod observation;
pub mod plane;
pub mod ports;
pub mod proxy;
pub mod reference_values;
pub mod renewals;
pub mod resolve;
pub mod routes;
pub mod sequencer;
pub mod settlements;
pub mod trust;
mod trusted_time;
pub mod usage;
