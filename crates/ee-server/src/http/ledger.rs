//! `/v1/ledger/*`: the books as a whole.

use axum::{Extension, extract::State, response::Response, routing::get};
use ee_control::ledger;
use http::StatusCode;

use super::{
    answer::{ApiError, json},
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
