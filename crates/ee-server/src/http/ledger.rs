//! `/v1/ledger/*`: the books as a whole.

use axum::{
    Extension,
    body::Body,
    extract::State,
    response::Response,
    routing::{get, post},
};
use ee_control::ledger;
use ee_protocol::{
    http::ledger::{ClockRequest, ClockView},
    problem::{Problem, ProblemCode},
};
use http::{HeaderMap, StatusCode};

use super::{
    answer::{ApiError, json},
    body::{self, JSON_MAX_BYTES},
    caller::failed,
    routes::{Access, Route},
    shapes::{Kind, Member, has},
};
use crate::{
    auth::{Actor, Scope},
    state::AppState,
};

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::get(
        "/v1/ledger/trial-balance",
        Access::Scope(Scope::LedgerRead),
        "Sums over all accounts; they add up to zero",
        || get(trial_balance_read),
    )
    .bodies(&[], TRIAL_BALANCE),
    Route::get(
        "/v1/ledger/head",
        Access::Public,
        "How far the journal goes, and the root of its chain",
        || get(head_read),
    )
    .bodies(&[], HEAD),
    // Minting is the scope that an admin alone holds: who vouches for the time moves money.
    Route::post(
        "/v1/ledger/clock",
        Access::Scope(Scope::LedgerMint),
        "Confirm our clock by the admin's own",
        || post(clock_confirm),
    )
    .bodies(CLOCK, CLOCK_SHOWN),
];

const TRIAL_BALANCE: &[Member] = &[
    has("sum_micro_usd", Kind::MicroUsd),
    has("minted_micro_usd", Kind::MicroUsd),
    has("external_stake_micro_usd", Kind::MicroUsd),
    has("paid_out_micro_usd", Kind::MicroUsd),
    has("circulation_micro_usd", Kind::MicroUsd),
    has("locked_micro_usd", Kind::MicroUsd),
    has("accounts", Kind::Integer),
    has("seq", Kind::Integer),
];
const HEAD: &[Member] = &[
    has("seq", Kind::Integer),
    has("epoch", Kind::Integer),
    has("root", Kind::Text),
    has("at", Kind::Time),
];

const CLOCK: &[Member] = &[has("now", Kind::Time)];
const CLOCK_SHOWN: &[Member] = &[has("now", Kind::Time), has("trusted", Kind::Flag)];

/// Confirms our clock by an admin's: after a jump nothing is settled until somebody does.
pub async fn clock_confirm(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request = ClockRequest::parse(&body::added(&headers, body, JSON_MAX_BYTES).await?)?;
    let confirmed = state.attestor.confirm_clock(request.now).await;
    confirmed
        .map_err(|error| Problem::new(ProblemCode::StoreUnavailable).detail(error.to_string()))?;
    let trusted = state.attestor.clock_may_judge();
    tracing::warn!(event = "clock_confirmed", now = %request.now, trusted, actor = actor.name());
    let now = state.now().rfc3339_micros();
    Ok(json(StatusCode::OK, &ClockView { now, trusted }))
}

/// The sums over all accounts.
pub async fn trial_balance_read(
    State(state): State<AppState>,
    _: Extension<Actor>,
) -> Result<Response, ApiError> {
    let sums = ledger::trial_balance(&state.books).await;
    Ok(json(StatusCode::OK, &sums.map_err(failed)?))
}

/// How far the journal goes.
pub async fn head_read(State(state): State<AppState>) -> Result<Response, ApiError> {
    let head = ledger::head(&state.books).await;
    Ok(json(StatusCode::OK, &head.map_err(failed)?))
}
