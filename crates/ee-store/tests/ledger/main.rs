//! One conformance suite for whatever keeps the books, and what only PostgreSQL can get wrong.

#![expect(clippy::unwrap_used, reason = "a test stops where it stands")]

mod backends;
mod conformance;
mod postgres;
mod rows;
mod wire;
