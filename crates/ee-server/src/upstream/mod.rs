//! Clients of other people's servers: GitHub, a local directory in its place, PCCS endpoints.
//!
//! They implement ee-control's ports and decide nothing: order, caching, back-off and single
//! flight are ee-control's. Here are time-outs, body limits and who may see a token.

mod allowlist_dir;
mod client;
mod github;
mod pccs;

pub use self::{
    allowlist_dir::AllowlistDir,
    client::{HttpClient, client},
    github::{AssetHosts, GithubSource, sha256},
    pccs::PccsSource,
};
