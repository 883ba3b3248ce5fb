//! `POST /v1/auth/bootstrap`: spends the bootstrap token for the first admin token.

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{
    answer::{ApiError, json},
    envelope::ClientIp,
};
use crate::{auth::BOOTSTRAP_FILE, state::AppState};

/// 201 with the admin token, once.
pub async fn bootstrap_spend(
    State(state): State<AppState>,
    Extension(client): Extension<ClientIp>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let now = state.now();
    let token = state
        .auth
        .spend_bootstrap(&headers, client.0, &state.store, now)
        .await?;
    // A leftover file is harmless: its token is spent.
    let _ = std::fs::remove_file(state.settings.data_dir.join(BOOTSTRAP_FILE));
    tracing::info!(event = "bootstrap_token_spent");
    let mut answer = json(
        StatusCode::CREATED,
        &json!({"token": token, "role": "admin"}),
    );
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer.into_response())
}
