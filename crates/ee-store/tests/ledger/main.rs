//! One conformance suite for whatever keeps the books, and what only PostgreSQL can get wrong.

mod backends;
mod conformance;
mod postgres;
mod rows;
mod wire;
