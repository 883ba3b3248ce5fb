//! `GET /v1/resolve/{app}`: may traffic go to this app, and where to.

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use ee_control::resolve;
use ee_protocol::names::AppName;
use http::StatusCode;
use serde_json::json;

use super::answer::json;
use crate::state::AppState;

/// 200 with the status, 403 with the status and its reasons, 404 `unknown_app`. Refusals are
/// `application/json`: the seed's `status` is a word here, not a problem's number.
pub async fn app_resolve(
    State(state): State<AppState>,
    app: Result<Path<String>, PathRejection>,
) -> Response {
    let name = app.ok().and_then(|Path(app)| AppName::parse(&app).ok());
    let Some(name) = name else {
        return json(
            StatusCode::NOT_FOUND,
            &json!({"allowed": false, "reason": "unknown_app"}),
        );
    };
    let routes = state.plane.routes();
    let resolution = resolve::resolve(routes, &name, state.now(), &state.endpoints);
    let status =
        StatusCode::from_u16(resolution.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, &resolution.body)
}
