//! The reference agent: proves what it runs and serves the tunnel against a backend.

mod agent;
pub mod backend;
pub mod backoff;
pub mod claims;
pub mod clock;
pub mod dial;
pub mod health;
pub mod identity;
mod lane;
pub mod probe;
pub mod quote;
mod quoting;
pub mod session;
pub mod settings;
mod supervisor;
mod tasks;
pub mod tsm;
mod tunnel;
pub use agent::{Agent, AgentState, StartError};
