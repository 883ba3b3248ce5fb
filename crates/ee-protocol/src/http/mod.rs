//! Wire types of the HTTP API, one file a noun.

pub mod abuse;
pub mod accounts;
pub mod allowlists;
pub mod apps;
pub mod audit;
pub mod credits;
pub mod explain;
pub mod fields;
pub mod health;
pub mod ledger;
pub mod locks;
pub mod nodes;
pub mod settlements;
pub mod tokens;
pub mod usage;
