//! May traffic go to this app? For `/v1/resolve/{app}` and for reverse proxies that ask
//! `/v1/authz/{app}` (ROUTING 7). From memory, no credit taken, no side effect.

use ee_protocol::{http::apps::AppStatus, names::AppName, time::Timestamp};
use serde::Serialize;

pub use crate::apps::Endpoints;
use crate::{
    apps::{self, binding_word, reasons, shown, tunnels_of},
    routes::Routes,
};

/// The answer of `/v1/resolve/{app}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// 200 allowed, 403 refused by a gate or for want of a tunnel, 404 unknown.
    pub http_status: u16,
    /// The body.
    pub body: ResolutionBody,
}

/// The body of that answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ResolutionBody {
    /// The app's status; `allowed` says which way it went.
    Status(Box<AppStatus>),
    /// The prototype's words for a name that nobody serves.
    Unknown {
        /// `false`.
        allowed: bool,
        /// `unknown_app`.
        reason: &'static str,
    },
}

/// Resolves an app.
pub fn resolve<L>(
    routes: &Routes<L>,
    app: &AppName,
    now: Timestamp,
    endpoints: &Endpoints,
) -> Resolution {
    match apps::show(routes, app, now, endpoints) {
        Some(status) => Resolution {
            http_status: if status.allowed { 200 } else { 403 },
            body: ResolutionBody::Status(Box::new(status)),
        },
        None => Resolution {
            http_status: 404,
            body: ResolutionBody::Unknown {
                allowed: false,
                reason: "unknown_app",
            },
        },
    }
}

/// The answer to a reverse proxy: the values of `X-EE-*`, empty where unused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authz {
    /// Whether an eligible node with a tunnel exists.
    pub allowed: bool,
    /// The first closed gate, `unknown_app`, `no_tunnel`, `invalid_app_name`; empty if allowed.
    pub reason: String,
    /// The app.
    pub app: String,
    /// The node that would be picked.
    pub node: String,
    /// Its network.
    pub network: String,
    /// `true` or `false`.
    pub sealed: String,
    /// How firmly its quote is tied to its tunnel.
    pub binding: String,
    /// Its last attestation, in the seed's spelling.
    pub last_attest: String,
}

impl Authz {
    fn refused(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            ..Self::default()
        }
    }
}

/// Answers for the app of this name, which may be any text.
pub fn authz<L>(routes: &Routes<L>, app: &str, now: Timestamp) -> Authz {
    let Ok(name) = AppName::parse(app) else {
        return Authz::refused("invalid_app_name");
    };
    let Some(entry) = routes.app(&name) else {
        return Authz::refused("unknown_app");
    };
    let nodes = entry.current_nodes();
    let Some((node, assessment)) = shown(&entry, &nodes, routes.policy(), now) else {
        return Authz::refused("unknown_app");
    };
    let reasons = reasons(&assessment, tunnels_of(&entry, node), entry.funds);
    let passed = node.attestation.passed();
    Authz {
        allowed: reasons.is_empty(),
        reason: reasons.first().cloned().unwrap_or_default(),
        app: name.to_string(),
        node: node.id.to_string(),
        network: node.network.to_string(),
        sealed: passed.is_some_and(|passed| passed.sealed).to_string(),
        binding: binding_word(node).to_owned(),
        last_attest: passed
            .map(|passed| passed.at.rfc3339_seconds())
            .unwrap_or_default(),
    }
}
