//! `GET /v1/audit`: who changed what in the registry, newest first. What moved money is in the
//! books: `/v1/accounts/{account}/entries` and the journal.

use axum::{Extension, extract::State, response::Response, routing::get};
use ee_control::answers::Listed;
use ee_protocol::{
    http::audit::{AuditList, AuditView},
    problem::ProblemCode,
};
use ee_store::AuditRow;
use http::Uri;

use super::{
    answer::ApiError,
    caller::page_of,
    paging,
    routes::{Access, Route},
};
use crate::{
    auth::{Actor, Scope},
    state::AppState,
};

/// The routes.
pub const ROUTES: &[Route] = &[Route::get(
    "/v1/audit",
    Access::Scope(Scope::AuditRead),
    "Who changed what in the registry, newest first",
    || get(audit_list),
)];

async fn audit_list(
    State(state): State<AppState>,
    _: Extension<Actor>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let page = paging::page(&uri, &state.cursors)?;
    let before = page.after.as_deref().and_then(|after| after.parse().ok());
    let rows = state.store.audit_trail(before, page.limit).await;
    let rows = rows.map_err(|error| {
        tracing::error!(event = "audit_unreadable", %error);
        ApiError::from(ProblemCode::StoreUnavailable)
    })?;
    let listed = Listed::of(rows, page.limit, |row| row.seq.to_string()).map(shown);
    let list = |audit, next_cursor| AuditList { audit, next_cursor };
    Ok(page_of(listed, &state, &uri, &page, list))
}

fn shown(row: AuditRow) -> AuditView {
    let AuditRow {
        seq,
        at,
        actor,
        action,
        subject,
    } = row;
    AuditView {
        seq,
        at: at.rfc3339_seconds(),
        actor,
        action,
        subject,
    }
}
