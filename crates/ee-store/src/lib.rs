//! What survives a restart of the control plane: the live half in SQLite.
//!
//! All SQL lies here. One thread owns the one connection; [`Store`] is a small handle whose
//! methods queue work for it. Queued work is committed in groups, and an answer goes out after
//! the commit that made it durable (`synchronous=FULL`).
//!
//! **Invariants**
//! - A file that another program made is never written to, and one that a running server holds
//!   is never opened ([`OpenError::Foreign`], [`OpenError::Locked`]).
//! - A COMMIT whose outcome is unknown is never retried: every caller hears
//!   [`StoreError::OutcomeUnknown`], [`Store::failed`] resolves, and the process is to end
//!   (LEDGER 12, "Failures").
//! - The attestation log only grows; its rows form a hash chain ([`Store::verify_log`]).

mod attestation_log;
mod attestations;
pub mod audit;
mod audit_trail;
mod auth;
mod backup;
mod clock;
mod collateral;
mod error;
pub mod forward;
pub mod ledger;
mod live;
mod migrate;
mod open;
mod pins;
pub mod postgres;
mod reader;
mod row;
pub mod segments;
mod tcb;
mod tokens;
mod writer;

pub use attestation_log::{LogBroken, LogEntry, LogHead, LogRecord};
pub use audit_trail::AuditRow;
pub use auth::AuthRow;
pub use backup::{BackupError, Copied, back_up, restore};
pub use collateral::CollateralMark;
pub use error::{OpenError, StoreError};
pub use live::{AppRow, LiveRows, NodeRow};
pub use pins::{ChangedAsset, PinKey, PinRow};
pub use tokens::{Audit, TokenRow};
pub use writer::Store;
