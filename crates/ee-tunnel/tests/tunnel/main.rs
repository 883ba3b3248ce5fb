//! Both ends of a tunnel over an in-memory connection.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the tasks of both ends"
)]

mod attacks;
mod control_text;
mod drain;
mod floods;
mod h2_conformance;
mod hibernation;
mod pair;
mod pressure;
mod traffic;
