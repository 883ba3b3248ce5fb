//! The HTTP API of a whole server on loopback, as clients meet it.

mod allowlists;
mod authorisation;
mod books;
mod bootstrap;
mod conventions;
mod forward_auth;
mod lifecycle;
mod running;
mod tls;
mod tokens;
