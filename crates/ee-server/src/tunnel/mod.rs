//! Accepts agents' tunnels: WebSocket upgrade, session, inner TLS.

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use ee_control::plane::TunnelLink;
use ee_core::session::Order;
use ee_protocol::problem::ProblemCode;

use crate::{http::ApiError, state::AppState};

/// The plane's way to a tunnel.
#[derive(Clone)]
pub struct Link;

impl TunnelLink for Link {
    fn order(&self, _order: Order) {}
}

/// `GET /v1/tunnel`.
pub async fn tunnel_open(State(_): State<AppState>, _request: Request) -> Response {
    ApiError::from(ProblemCode::UpgradeRequired).into_response()
}
