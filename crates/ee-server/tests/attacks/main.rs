//! Attacks on a whole control plane, over the sockets that attackers have.
//!
//! Each test does what one row of `docs/attacks.md` says, looks at what the attacker is told and
//! how it is closed, and ends with `World::stands`: an app that nobody attacked still serves, a
//! newcomer is still judged, and nothing in the server has panicked.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start tasks of their own; only the server's go through tasks.rs"
)]

mod agents;
mod evidence;
mod h2_conformance;
mod h2_face;
mod inventory;
mod messages;
mod names;
mod peer;
mod platforms;
mod public_side;
mod queues;
mod raw;
mod relay;
mod smuggling;
mod transport;
mod upgrades;
mod world;
