//! Wire types of the HTTP API, one file a noun.

pub mod allowlists;
pub mod apps;
pub mod explain;
pub mod health;
