//! `GET /v1/apps`, `/v1/apps/{app}`, `/v1/apps/{app}/explain`.

use axum::{
    Extension,
    extract::{Path, Query, State, rejection::PathRejection},
    response::Response,
};
use ee_control::{apps, explain};
use ee_protocol::{
    names::{AgentId, AppName},
    problem::{Problem, ProblemCode},
};
use http::StatusCode;
use serde::Deserialize;

use super::answer::{ApiError, json};
use crate::{auth::Actor, state::AppState};

/// Query of the explanation.
#[derive(Deserialize)]
pub struct ExplainQuery {
    agent: Option<String>,
}

/// All apps by name that the caller may read.
pub async fn app_list(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
) -> Response {
    let mut list = apps::list(state.plane.routes(), state.now(), &state.endpoints);
    list.apps.retain(|app| actor.apps().includes(&app.app_name));
    json(StatusCode::OK, &list)
}

/// One app.
pub async fn app_read(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    app: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let app = known(app)?;
    actor.may_app(app.as_str())?;
    let shown = apps::show(state.plane.routes(), &app, state.now(), &state.endpoints);
    shown
        .map(|status| json(StatusCode::OK, &status))
        .ok_or_else(|| unknown(app.as_str()))
}

/// Why an app is or is not served, and the latest refused attempts to join it.
pub async fn app_explain(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    app: Result<Path<String>, PathRejection>,
    Query(query): Query<ExplainQuery>,
) -> Result<Response, ApiError> {
    let app = known(app)?;
    actor.may_app(app.as_str())?;
    let agent = query.agent.filter(|agent| !agent.is_empty());
    let agent = agent
        .map(|agent| AgentId::parse(&agent))
        .transpose()
        .map_err(|error| {
            Problem::new(ProblemCode::InvalidField).detail(format!("agent: {error}"))
        })?;
    let explained = explain::explain(state.plane.routes(), &app, agent.as_ref(), state.now());
    explained
        .map(|answer| json(StatusCode::OK, &answer))
        .ok_or_else(|| unknown(app.as_str()))
}

/// A name that is none belongs to no app, so both are the same answer.
fn known(app: Result<Path<String>, PathRejection>) -> Result<AppName, ApiError> {
    let Ok(Path(app)) = app else {
        return Err(unknown(""));
    };
    AppName::parse(&app).map_err(|_| unknown(&app))
}

fn unknown(app: &str) -> ApiError {
    let problem = Problem::new(ProblemCode::UnknownApp).not_allowed("unknown_app");
    problem.detail(format!("no app '{app}'")).into()
}
