//! The journal: every command that the books took, in the one encoding that is hashed, kept and
//! replayed (LEDGER 12).
//!
//! **Invariants:** what is decoded encodes to the same bytes again; a batch's root covers its
//! header, its records and every batch before it; replaying the records from the first one gives
//! the tables, bit for bit.

mod books;
mod canonical;
mod chain;
mod commands;
mod outcomes;
mod record;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
mod values;

pub use canonical::{Canonical, Malformed, Reader, read_text, write_text};
pub use chain::{Header, LedgerId, Root, genesis, next_root, sha256};
pub use record::{Body, Key, Record, RecordHead, decode_batch};
