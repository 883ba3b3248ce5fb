//! The control plane over bad networks (TUNNEL 13, "chaos link"): connections that are cut at every
//! byte, peers that fall silent without a word, agents that leave and are replaced.
//!
//! Whatever breaks, three things must hold: nothing is stuck (`calm`: no session, place, credit or
//! buffered byte is left), nobody is told a part as if it were the whole (`whole`), and the same
//! agent serves again as soon as it is back.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start tasks of their own; only the server's go through tasks.rs"
)]
#![expect(clippy::print_stderr, reason = "a sweep says how many cuts it made")]

mod agent;
mod backend;
mod bystander;
mod calm;
mod client;
mod exchange;
mod half_open;
mod handshake;
#[expect(dead_code, reason = "shared with the attacks, which need more of it")]
#[path = "../attacks/peer.rs"]
mod peer;
mod public;
mod sweep;
#[expect(dead_code, reason = "shared with the attacks, which need more of it")]
#[path = "../attacks/world.rs"]
mod world;
