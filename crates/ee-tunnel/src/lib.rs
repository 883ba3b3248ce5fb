//! Both ends of the tunnel between an agent and the control plane (TUNNEL 1-6).
//!
//! One outbound WebSocket carries control messages as text and, as binary, an inner TLS 1.3
//! session in which HTTP/2 runs with its roles reversed: the control plane is the client.
//!
//! Each end is one object that owns the socket and is driven by calling `next` in a loop:
//! [`control::ControlTunnel`] and [`agent::AgentTunnel`]. Nothing here spawns a task, reads a
//! setting or decides whether a peer may be trusted; the owners do.
//!
//! **Invariants.** No received DATA frame waits inside h2 for a slow reader (see [`inbox`]), a
//! stream's window is released only when the next hop has taken the bytes, and nothing is sent
//! beyond the granted capacity. Text is handed over before any later binary message is looked at.

pub mod agent;
#[cfg(test)]
mod autobahn_tests;
mod body;
mod buffered;
pub mod control;
mod counted;
mod epoch;
mod error;
mod event;
mod grain;
mod h2_settings;
mod handle;
mod inbox;
mod inner_tls;
pub mod interim;
mod jobs;
mod keep_alive;
pub mod keys;
pub mod legacy;
pub mod limits;
mod link;
mod meter;
mod outgoing;
mod pump;
mod quiet;
mod responder;
mod sealing;
mod socket;
mod wire;

pub use body::{IncomingBody, TunnelBody};
pub use buffered::Buffered;
pub use error::{BodyError, ConnectError, TunnelError};
pub use event::{CloseBy, Closed, InnerTls, InnerTlsInfo, TunnelOptions, Violation};
pub use h2::ext::Protocol;
pub use handle::TunnelHandle;
pub use keep_alive::PingPolicy;
pub use keys::{InnerTlsClient, InnerTlsServer, TunnelKey};
pub use meter::Metered;
pub use responder::Responder;
