//! `GET /v1/tunnel`: from the upgrade to the end of an agent's session.
//!
//! Nothing is decided here. [`admission`] says whether a stranger may connect at all, the session
//! machine of ee-core what happens then; [`driver`] carries its commands out over the tunnel of
//! ee-tunnel, the plane and the attestor.

mod admission;
mod driver;
mod governor;
mod legacy;
mod link;
mod orders;
mod pace;
pub(crate) mod prefixed;
mod reports;
mod slots;
mod text_meter;
mod turnstile;
mod upgrade;
mod waiting;

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use ee_core::slots::Counted;
use ee_protocol::problem::ProblemCode;
use ee_protocol::time::Timestamp;
use ee_tunnel::{InnerTlsClient, TunnelKey};
use http::{HeaderValue, header};

pub use self::governor::Governor;
pub use self::legacy::{LegacyError, LegacyHandle};
pub use self::link::{Link, Way};
pub use self::waiting::{AppKey, Patience, WaitingRoom};
use self::{admission::Admissions, pace::Pace, slots::Slots, turnstile::Turnstile};
use crate::{http::ApiError, http::ClientIp, state::AppState, tasks::Tasks};

/// What the tunnels of this process share.
pub struct Tunnels {
    admissions: Admissions,
    slots: Slots,
    pace: Pace,
    turnstile: Turnstile,
    inner_tls: InnerTlsClient,
    /// Whether there is memory for another request.
    pub governor: Governor,
    /// Requests that no tunnel can take yet.
    pub waiting: WaitingRoom,
}

impl Tunnels {
    /// Nobody is connected; `key` is shown inside the tunnels of a process that began at `started`.
    pub fn new(key: &TunnelKey, started: Timestamp, tasks: &Tasks) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            admissions: Admissions::default(),
            slots: Slots::new(cores),
            pace: Pace::new(cores),
            turnstile: Turnstile::new(tasks.clone()),
            inner_tls: InnerTlsClient::new(key),
            governor: Governor::of_this_machine(),
            waiting: WaitingRoom::new(started),
        }
    }

    /// Agents that are connected and not attested.
    pub fn pending(&self) -> u32 {
        self.admissions.count()
    }
}

/// Seconds after which a refused agent may come back; our agents then use their own back-off.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("10");

/// Opens a tunnel: 101, or 400 `upgrade_required`, or 503 while too many wait.
pub async fn tunnel_open(State(state): State<AppState>, request: Request) -> Response {
    let mut request = request;
    let Some(accept) = upgrade::accept_value(&request) else {
        return ApiError::from(ProblemCode::UpgradeRequired).into_response();
    };
    if state.tasks.is_stopping() {
        return refuse(ProblemCode::Draining);
    }
    let ip = request
        .extensions()
        .get::<ClientIp>()
        .map_or(IpAddr::from([0; 4]), |ip| ip.0);
    let Ok(place) = state.tunnels.admissions.enter(ip, counted(&state, ip)) else {
        return refuse(ProblemCode::TooManyPending);
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let (driven, ticket) = (state.clone(), place.ticket());
    let session = async move {
        match upgrade::finish(upgraded).await {
            Ok(io) => driver::run(driven, io, ip, place).await,
            Err(error) => tracing::debug!(event = "tunnel_upgrade_failed", %ip, error),
        }
    };
    let newcomer = state.tunnels.turnstile.admit(ticket, session);
    state.tasks.spawn_session("tunnel", newcomer);
    upgrade::switching_protocols(accept)
}

/// Proxies and loopback stand for many clients, so they are exempt from the count per address.
fn counted(state: &AppState, ip: IpAddr) -> Counted {
    if ip.is_loopback() || state.settings.trusted_proxies.contains(ip) {
        Counted::InTotalOnly
    } else {
        Counted::Yes
    }
}

fn refuse(code: ProblemCode) -> Response {
    ApiError::from(code)
        .with_header(header::RETRY_AFTER, RETRY_AFTER_S)
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_finds_no_place_is_told_when_to_come_back() {
        for code in [ProblemCode::TooManyPending, ProblemCode::Draining] {
            let answer = refuse(code);
            assert_eq!(answer.status(), 503, "{code:?}");
            assert_eq!(answer.headers()[header::RETRY_AFTER], "10", "{code:?}");
        }
    }
}
