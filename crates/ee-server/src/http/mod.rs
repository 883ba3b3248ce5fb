//! The HTTP API: routes, who may call them, what they answer.
//!
//! One list of routes ([`routes::routes`]) builds the router and is read by the authorisation
//! table test: a route without an access rule does not compile, one without a test row fails.

mod abuse;
mod accounts;
mod allowlists;
pub mod answer;
mod apps;
mod audit;
mod authz;
pub mod body;
mod bootstrap;
mod caller;
mod credits;
pub mod envelope;
mod errors;
mod export;
mod health;
pub mod host;
mod ledger;
mod locks;
mod nodes;
pub mod openapi;
mod paging;
mod proxy;
mod resolve;
pub mod routes;
mod serve;
mod settlements;
mod shapes;
mod tokens;
mod usage;
mod whoami;

pub use self::{
    answer::{ApiError, problem_response},
    envelope::{ClientIp, Peer, PeerAddr, RequestId},
    paging::CursorKey,
    routes::router,
    serve::serve,
};
