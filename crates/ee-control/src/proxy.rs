//! Which tunnel takes a request, and what the client hears if none does (ROUTING 1, "None
//! eligible"; TUNNEL 8).

use ee_core::{
    eligibility::GateCode,
    routing::{Lease, PickError},
};
use ee_protocol::{
    names::AppName,
    problem::{Problem, ProblemCode},
    time::Timestamp,
};

use crate::{
    apps::{INSUFFICIENT_CREDITS, NO_TUNNEL},
    routes::{AppEntry, Funds, Routes, furthest},
};

/// Seconds after which a refused client may come back: agents return within their first
/// reconnect, credits within a request's time.
pub const RETRY_AFTER_S: u32 = 1;
/// Seconds after which new money has surely been locked (LEDGER 5).
const UNFUNDED_RETRY_S: u32 = 5;

/// Why no tunnel takes the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteRefusal {
    /// Nobody ever served the app: 404.
    UnknownApp,
    /// No node passes every gate: 403 with the code of the one that got furthest.
    NotEligible {
        /// That node's closed gates, in order; at least one.
        codes: Vec<GateCode>,
    },
    /// The app has a payer, and no lock pays for now: 403.
    InsufficientCredits,
    /// An eligible node has no tunnel: 503.
    NoTunnel,
    /// Every tunnel is full: 503.
    OverCapacity,
}

impl RouteRefusal {
    /// The problem's code; its status follows.
    pub const fn code(&self) -> ProblemCode {
        match self {
            Self::UnknownApp => ProblemCode::UnknownApp,
            Self::NotEligible { .. } | Self::InsufficientCredits => ProblemCode::NotEligible,
            Self::NoTunnel => ProblemCode::NoTunnel,
            Self::OverCapacity => ProblemCode::OverCapacity,
        }
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.code().status()
    }

    /// The prototype's `reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownApp => "unknown_app",
            Self::NotEligible { codes } => codes.first().map_or("not_eligible", |c| c.as_str()),
            Self::InsufficientCredits => INSUFFICIENT_CREDITS,
            Self::NoTunnel => NO_TUNNEL,
            Self::OverCapacity => "over_capacity",
        }
    }

    /// `Retry-After`, where trying again soon makes sense.
    pub const fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::UnknownApp | Self::NotEligible { .. } => None,
            Self::InsufficientCredits => Some(UNFUNDED_RETRY_S),
            Self::NoTunnel | Self::OverCapacity => Some(RETRY_AFTER_S),
        }
    }

    /// The body.
    pub fn problem(&self) -> Problem {
        let problem = Problem::new(self.code()).not_allowed(self.reason());
        match self {
            Self::NotEligible { codes } => {
                let reasons: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
                problem.with("reasons", reasons)
            }
            Self::InsufficientCredits => problem.with("reasons", vec![INSUFFICIENT_CREDITS]),
            Self::UnknownApp | Self::NoTunnel | Self::OverCapacity => problem,
        }
    }
}

/// Takes a credit on a tunnel of the app. `draw` is uniform random.
///
/// # Errors
/// When no tunnel may or can take the request.
pub fn choose<L>(
    routes: &Routes<L>,
    app: &AppName,
    now: Timestamp,
    draw: u64,
) -> Result<Lease<L>, RouteRefusal> {
    routes.with_app(app, |entry| {
        let entry = entry.ok_or(RouteRefusal::UnknownApp)?;
        entry.pool.pick(now, draw).map_err(|error| match error {
            PickError::NoCredit => RouteRefusal::OverCapacity,
            PickError::NoTunnel => without_tunnel(routes, entry, now),
        })
    })
}

/// Whether agents of the app are still to come back to a process that `started` then: its nodes
/// were registered before, and what they lack is a tunnel, or the books' word about their stake.
pub fn awaits_return<L>(
    routes: &Routes<L>,
    app: &AppName,
    started: Timestamp,
    refusal: &RouteRefusal,
) -> bool {
    let comes_by_itself = match refusal {
        RouteRefusal::NoTunnel => true,
        RouteRefusal::NotEligible { codes } => *codes == [GateCode::StakeMissing],
        RouteRefusal::UnknownApp
        | RouteRefusal::InsufficientCredits
        | RouteRefusal::OverCapacity => false,
    };
    comes_by_itself
        && routes.with_app(app, |entry| {
            let mut nodes = entry.into_iter().flat_map(|entry| &entry.nodes);
            nodes.any(|node| node.registered_at() < started)
        })
}

/// No eligible node has a tunnel: is one eligible at all?
fn without_tunnel<L>(routes: &Routes<L>, entry: &AppEntry<L>, now: Timestamp) -> RouteRefusal {
    let nodes = entry.current_nodes();
    let Some((_, assessment)) = furthest(&nodes, routes.policy(), now) else {
        return RouteRefusal::UnknownApp;
    };
    let codes: Vec<GateCode> = assessment.reasons().collect();
    match codes.is_empty() {
        true if entry.funds == Funds::Exhausted => RouteRefusal::InsufficientCredits,
        true => RouteRefusal::NoTunnel,
        false => RouteRefusal::NotEligible { codes },
    }
}
