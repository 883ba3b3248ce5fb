//! `/health`, `/livez`, `/readyz`, `/v1/version`.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{extract::State, response::Response};
use ee_protocol::{
    http::health::HealthReport,
    problem::{Problem, ProblemCode},
};
use ee_store::ledger::LedgerStore;
use http::StatusCode;
use serde_json::json;

use super::answer::{ApiError, json};
use crate::{archive::BackupStatus, state::AppState};

/// The program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A store that does not answer a one-row query in this time cannot be relied on.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// `GET /health`: the seed's `{"status":"ok"}` and more, from memory.
pub async fn health_read(State(state): State<AppState>) -> Response {
    let (apps, tunnels) = state.plane.routes().counts();
    let report = HealthReport {
        status: "ok".to_owned(),
        version: VERSION.to_owned(),
        trust_root: state.trust.root.clone(),
        loosened: state.trust.loosened.clone(),
        apps,
        tunnels,
    };
    json(StatusCode::OK, &report)
}

/// `GET /livez`: the executor runs.
pub async fn live_read() -> Response {
    json(StatusCode::OK, &json!({"status": "ok"}))
}

/// `GET /readyz`: 503 while draining, while the store does not answer or is another server's.
/// Alarms that stop nothing are told beside the answer.
pub async fn ready_read(State(state): State<AppState>) -> Result<Response, ApiError> {
    if state.tasks.is_stopping() {
        return Err(ProblemCode::Draining.into());
    }
    let answers = async {
        state.store.auth().await?;
        // With EE_DATABASE_URL the books have a database of their own, and it may be another
        // server's by now (decision 0015).
        state.books.ledger().writable()?;
        state.books.ledger().head().await
    };
    match tokio::time::timeout(STORE_TIMEOUT, answers).await {
        Ok(Ok(_)) if state.books_unsound.load(Ordering::Acquire) => Err(store_down(
            "the books do not add up: easyenclave audit verify",
        )),
        Ok(Ok(_)) => {
            let alarms = state.backups.as_ref().map(BackupStatus::alarms);
            let mut alarms = alarms.unwrap_or_default();
            if !state.attestor.clock_may_judge() {
                alarms.push("clock_untrusted");
            }
            Ok(json(
                StatusCode::OK,
                &json!({"status": "ok", "alarms": alarms}),
            ))
        }
        Ok(Err(error)) => Err(store_down(&error.to_string())),
        Err(_) => Err(store_down("no answer in 1 s")),
    }
}

/// `GET /v1/version`.
pub async fn version_read() -> Response {
    json(
        StatusCode::OK,
        &json!({"name": "easyenclave-server", "version": VERSION}),
    )
}

fn store_down(detail: &str) -> ApiError {
    Problem::new(ProblemCode::StoreUnavailable)
        .detail(detail)
        .into()
}
