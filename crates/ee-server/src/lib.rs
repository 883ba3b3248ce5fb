//! The shell of the control plane: HTTP, tunnel acceptor, proxy listener, upstream clients.

pub mod clock;
pub mod config;
pub mod listener;
pub mod logging;
pub mod tasks;
pub mod tls;
pub mod upstream;
