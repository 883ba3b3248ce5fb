//! HTTP/2 made of bytes: frames, a peer that sends them, and what RFC 9113 and RFC 7541 demand of
//! whoever hears them.
//!
//! The cases cover what h2spec's generic, http2 and hpack groups look at, written anew from the two
//! RFCs. Each says what a server, or a client, must do; a test runs them against one end of ours
//! and names where that end differs.

pub mod client_cases;
mod frame_cases;
pub mod frames;
mod header_cases;
pub mod of_crate;
pub mod peer;
pub mod server_cases;
mod stream_cases;
mod window_cases;
