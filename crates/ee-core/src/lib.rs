//! Decisions of the control plane, and nothing else.
//!
//! Session, registry, eligibility, routing, admission of strangers, actors. No I/O, no clock, no
//! ambient randomness, no logging: time is an argument (`now`), entropy enters once as a seed,
//! and every effect is a value that the caller carries out.

pub mod attestation;
pub mod books;
pub mod eligibility;
pub mod facts;
pub mod journal;
pub mod legacy;
pub mod observer;
pub mod policy;
pub mod rate;
pub mod registry;
pub mod routing;
pub mod session;
pub mod settlement;
pub mod slots;
