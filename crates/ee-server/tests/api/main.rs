//! The HTTP API of a whole server on loopback, as clients meet it.

mod allowlists;
mod authorisation;
mod bootstrap;
mod conventions;
mod forward_auth;
mod lifecycle;
mod running;
mod tls;
