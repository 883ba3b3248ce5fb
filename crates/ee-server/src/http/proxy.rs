//! `POST /v1/proxy/{app}`: the route; `crate::proxy` does the work.

use axum::{
    extract::{Path, Request, State},
    response::Response,
};

use crate::state::AppState;

/// Forwards the payload to the app. Who may call was decided before.
pub async fn app_proxy(state: State<AppState>, app: Path<String>, request: Request) -> Response {
    crate::proxy::proxy_post(state, app, request).await
}
