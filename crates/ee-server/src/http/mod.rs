//! The HTTP API: routes, who may call them, what they answer.
//!
//! One list of routes ([`routes::ROUTES`]) builds the router and is read by the authorisation
//! table test: a route without an access rule does not compile, one without a test row fails.

mod allowlists;
pub mod answer;
mod apps;
mod authz;
pub mod body;
mod bootstrap;
pub mod envelope;
mod errors;
mod health;
pub mod host;
pub mod openapi;
mod proxy;
mod resolve;
pub mod routes;
mod serve;

pub use self::{
    answer::{ApiError, problem_response},
    envelope::{ClientIp, Peer, PeerAddr, RequestId},
    routes::router,
    serve::serve,
};
