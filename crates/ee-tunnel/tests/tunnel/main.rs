//! Both ends of a tunnel over an in-memory connection.

mod attacks;
mod control_text;
mod pair;
mod traffic;
