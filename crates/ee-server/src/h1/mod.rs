//! HTTP/1.1 as strangers may write it to us (TUNNEL 9, "smuggling").
//!
//! hyper reads heads the way many servers do: it takes a bare line feed for a line's end, and
//! where a length stands beside chunks it drops the length. Whoever reads the same bytes in front
//! of us or behind us may see other requests in them. So nothing reaches hyper that can be read
//! two ways: [`Guarded`] sits between socket and hyper, reads every head strictly, and follows the
//! bodies to know where the next head begins. A head that fails is replaced by one without any
//! content, for which the service answers a problem; nothing that came after it is ever read.
//!
//! **Invariant:** what the guard lets through is read by hyper with the same boundaries. It holds
//! because each rule here is narrower than hyper's, and a property test compares the two. So hyper
//! refuses nothing by itself either: its own 400 has no body, and would explain nothing.

#[cfg(test)]
mod agreement;
mod chunks;
mod fault;
mod follow;
mod guarded;
mod head;
mod interim;
mod turns;

pub use self::{
    fault::Fault,
    follow::{Follower, Stage},
    guarded::Guarded,
    head::{FIELDS_MAX, HEAD_MAX_BYTES},
    interim::Interim,
    turns::Turns,
};

use std::time::Duration;

/// Time from the first byte of a head to its last (TUNNEL 10, "header read").
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Time a connection may wait for its next request (TUNNEL 10, "keep-alive idle").
pub const IDLE_WITHIN: Duration = Duration::from_secs(75);
