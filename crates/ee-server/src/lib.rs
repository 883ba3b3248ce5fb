//! The shell of the control plane: HTTP, tunnel acceptor, proxy listener, upstream clients.
//!
//! Everything that touches the world is here, and nothing is decided here: handlers extract,
//! authorise, call one use-case of ee-control, and map its answer. Time comes from `clock`, tasks
//! from `tasks`, randomness from `entropy`, settings from `config`; nobody else makes their own.

pub mod archive;
pub mod auth;
mod automation;
pub mod backup;
mod books;
pub mod clock;
pub mod config;
mod connections;
pub mod entropy;
#[doc(hidden)]
pub mod h1;
pub mod healthcheck;
pub mod http;
mod inherited;
mod keys;
pub mod listener;
pub mod logging;
pub mod proxy;
mod reconcile;
pub mod runtime;
mod server;
mod shutdown;
pub mod state;
pub mod tasks;
mod tls;
pub mod tunnel;
pub mod upstream;
mod verifiers;

pub use self::{
    config::Settings,
    inherited::Inherited,
    server::{RunningServer, Server, ServerOptions, StartError},
    shutdown::Signals,
};
