//! `POST /v1/usage/report`.

use axum::{Extension, body::Body, extract::State, response::Response, routing::post};
use ee_control::usage;
use ee_protocol::http::usage::UsageRequest;
use http::HeaderMap;

use super::{
    answer::ApiError,
    body,
    caller::{caller, done, failed},
    routes::{Access, Route},
    shapes::{Kind, Member, has, may, null},
};
use crate::{
    auth::{Actor, Scope},
    state::AppState,
};

/// The routes.
pub const ROUTES: &[Route] = &[Route::post(
    "/v1/usage/report",
    Access::Scope(Scope::UsageReport),
    "Report usage for a period; locks what it costs",
    || post(usage_report),
)
.bodies(REPORT, REPORTED)];

const REPORT: &[Member] = &[
    has("account_id", Kind::Text),
    has("node_id", Kind::Text),
    has("period_start", Kind::Time),
    has("period_end", Kind::Time),
    has("vcpu_hours", Kind::Hours),
    may("usage_id", Kind::Text),
    may("source", Kind::Text),
    may("id", Kind::Text),
    may("cumulative", Kind::Flag),
];
const REPORTED: &[Member] = &[
    has("usage_id", Kind::Text),
    null("lock_id", Kind::Text),
    has("amount_cents", Kind::Integer),
    has("amount_micro_usd", Kind::MicroUsd),
    has("period", Kind::Text),
    has("seq", Kind::Integer),
];

/// Counts usage.
pub async fn usage_report(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/usage/report")?;
    let request = UsageRequest::parse(&body::seed(body).await?)?;
    let answered = usage::report(&state.books, &caller, request).await;
    Ok(done(&answered.map_err(failed)?))
}
