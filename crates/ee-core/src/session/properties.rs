//! Any input in any order, against the session's invariants.
