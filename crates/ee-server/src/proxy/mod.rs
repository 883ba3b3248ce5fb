//! Carries public requests into tunnels.

use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use ee_protocol::problem::ProblemCode;

use crate::{http::ApiError, listener::Listener, state::AppState};

/// The proxy listener.
pub async fn run_listener(state: AppState, _listener: Listener) {
    state.tasks.stopping().cancelled().await;
}

/// `POST /v1/proxy/{app}`.
pub async fn proxy_post(
    State(_): State<AppState>,
    Path(_): Path<String>,
    _request: Request,
) -> Response {
    ApiError::from(ProblemCode::UnknownApp).into_response()
}
