//! `/v1/abuse/reports*`, `/v1/slashes*`.

use axum::{
    Extension,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::Response,
    routing::{get, post},
};
use ee_control::abuse;
use ee_protocol::http::abuse::{AbuseRequest, DecisionRequest, ReportList, SlashRequest};
use http::{HeaderMap, Uri};

use super::{
    answer::ApiError,
    body::{self, JSON_MAX_BYTES},
    caller::{HasId, caller, demand_key_or_id, done, failed, page_of},
    paging,
    routes::{Access, Route},
    shapes::{Kind, Member, has, may, null},
};
use crate::{
    auth::{Actor, Scope},
    state::AppState,
};

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::post(
        "/v1/abuse/reports",
        Access::Scope(Scope::AbuseFile),
        "Report abuse by a node",
        || post(report_create),
    )
    .bodies(REPORT, REPORT_STATUS),
    Route::get(
        "/v1/abuse/reports",
        Access::Scope(Scope::AbuseFile),
        "Reports of abuse, newest first",
        || get(report_list),
    )
    .bodies(&[], REPORTS),
    Route::post(
        "/v1/abuse/reports/{id}/authorize",
        Access::Scope(Scope::AbuseAuthorize),
        "Decide a report",
        || post(report_decide),
    )
    .bodies(DECISION, REPORT_STATUS),
    Route::post(
        "/v1/slashes",
        Access::Scope(Scope::AbuseAuthorize),
        "Ask for a slash of a node's stake",
        || post(slash_create),
    )
    .bodies(SLASH, SLASH_STATUS),
    Route::post(
        "/v1/slashes/{id}/authorize",
        Access::Scope(Scope::AbuseAuthorize),
        "Execute or deny a slash",
        || post(slash_decide),
    )
    .bodies(DECISION, SLASH_STATUS),
];

const STATES: Kind = Kind::Word(&["pending", "authorized", "denied", "overturned"]);
const REPORT: &[Member] = &[
    has("node_id", Kind::Text),
    may("period_start", Kind::Time),
    may("period_end", Kind::Time),
    may("reason", Kind::Text),
    may("reported_by", Kind::Text),
];
const REPORT_STATUS: &[Member] = &[
    has("report_id", Kind::Text),
    has("status", STATES),
    has("seq", Kind::Integer),
];
const REPORTS: &[Member] = &[
    has(
        "reports",
        Kind::List(&[
            has("report_id", Kind::Text),
            has("node_id", Kind::Text),
            has("from", Kind::Time),
            null("until", Kind::Time),
            null("reason", Kind::Text),
            null("reported_by", Kind::Text),
            has("status", STATES),
            null("authorized_by", Kind::Text),
            has("filed_at", Kind::Time),
            null("decided_at", Kind::Time),
        ]),
    ),
    null("next_cursor", Kind::Text),
];
const DECISION: &[Member] = &[
    has("action", Kind::Word(&["authorize", "deny", "overturn"])),
    may("authorized_by", Kind::Text),
];
const SLASH: &[Member] = &[
    may("id", Kind::Text),
    has("node_id", Kind::Text),
    has(
        "reason",
        Kind::Word(&["downtime_migration", "attestation_fraud"]),
    ),
    may("evidence", Kind::Text),
];
const SLASH_STATUS: &[Member] = &[
    has("slash_id", Kind::Text),
    has("status", Kind::Word(&["pending", "executed", "denied"])),
    has("taken_micro_usd", Kind::MicroUsd),
    has("seq", Kind::Integer),
];

/// Files a report.
pub async fn report_create(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/abuse/reports")?;
    let request = AbuseRequest::parse(&body::seed(body).await?)?;
    let answered = abuse::file(&state.books, &caller, request).await;
    Ok(done(&answered.map_err(failed)?))
}

/// Reports, newest first.
pub async fn report_list(
    State(state): State<AppState>,
    _: Extension<Actor>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let page = paging::page(&uri, &state.cursors)?;
    let listed = abuse::list(&state.books, page.after.as_deref(), page.limit).await;
    let listed = listed.map_err(failed)?;
    Ok(page_of(
        listed,
        &state,
        &uri,
        &page,
        |reports, next_cursor| ReportList {
            reports,
            next_cursor,
        },
    ))
}

/// Decides a report.
pub async fn report_decide(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/abuse/reports/{id}/authorize")?;
    let request = DecisionRequest::parse(&body::seed(body).await?)?;
    let id = id.map_or_else(|_| String::new(), |Path(id)| id);
    let answered = abuse::decide(&state.books, &caller, &id, request).await;
    Ok(done(&answered.map_err(failed)?))
}

/// Files a slash.
pub async fn slash_create(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/slashes")?;
    let body = body::added(&headers, body, JSON_MAX_BYTES).await?;
    let request = SlashRequest::parse(&body)?;
    demand_key_or_id(&caller, HasId::from(&request.id))?;
    let answered = abuse::file_slash(&state.books, &caller, request).await;
    Ok(done(&answered.map_err(failed)?))
}

/// Decides a slash.
pub async fn slash_decide(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/slashes/{id}/authorize")?;
    let body = body::added(&headers, body, JSON_MAX_BYTES).await?;
    let request = DecisionRequest::parse(&body)?;
    let id = id.map_or_else(|_| String::new(), |Path(id)| id);
    let answered = abuse::decide_slash(&state.books, &caller, &id, request).await;
    Ok(done(&answered.map_err(failed)?))
}
