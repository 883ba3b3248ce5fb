//! `/v1/credits/*`, `/v1/balances/{account}`, `/v1/transfers*`, `/v1/payouts`.

use axum::{
    Extension,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::Response,
    routing::{get, post},
};
use ee_control::{accounts, credits};
use ee_protocol::{
    account::AccountId,
    http::credits::{BatchRequest, PayoutRequest, PurchaseRequest, TransferRequest},
    problem::ProblemCode,
};
use http::{HeaderMap, StatusCode};

use super::{
    answer::{ApiError, json},
    body::{self, BATCH_MAX_BYTES, JSON_MAX_BYTES},
    caller::{HasId, account_in_path, caller, demand_key_or_id, done, failed, reach},
    routes::{Access, Route},
    shapes::{HOLDINGS, Kind, Member, has, may, null},
};
use crate::{
    auth::{Actor, Scope},
    state::AppState,
};

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::post(
        "/v1/credits/purchase",
        Access::Scope(Scope::LedgerMint),
        "Mint credits for an account",
        || post(credits_purchase),
    )
    .bodies(PURCHASE, PURCHASED),
    Route::post(
        "/v1/credits/transfer",
        Access::Own(Scope::LedgerTransfer),
        "Move credits; opens the receiving account if need be",
        || post(credits_transfer),
    )
    .bodies(TRANSFER, TRANSFERRED),
    Route::get(
        "/v1/balances/{account}",
        Access::Own(Scope::LedgerRead),
        "What an account holds; zero for an unknown one",
        || get(balance_read),
    )
    .bodies(&[], BALANCE),
    Route::post(
        "/v1/transfers",
        Access::Own(Scope::LedgerTransfer),
        "Move credits between accounts that exist",
        || post(transfer_create),
    )
    .bodies(TRANSFER, TRANSFERRED),
    Route::post(
        "/v1/transfers/batch",
        Access::Own(Scope::LedgerTransfer),
        "Move credits up to 1000 times, each alone or in all-or-nothing chains",
        || post(transfer_batch),
    )
    .bodies(BATCH, BATCH_DONE),
    Route::get(
        "/v1/transfers/{id}",
        Access::Own(Scope::LedgerTransfer),
        "One transfer",
        || get(transfer_read),
    )
    .bodies(&[], TRANSFER_VIEW),
    Route::post(
        "/v1/payouts",
        Access::Scope(Scope::LedgerMint),
        "Credits leave the books",
        || post(payout_create),
    )
    .bodies(PAYOUT, TRANSFERRED),
];

const PURCHASE: &[Member] = &[
    has("account_id", Kind::Text),
    has("amount_usd", Kind::Usd),
    may("external_ref", Kind::Text),
];
const PURCHASED: &[Member] = &[
    has("account_id", Kind::Text),
    has("balance_cents", Kind::Integer),
    has("transfer_id", Kind::Text),
    has("seq", Kind::Integer),
    has("balances", Kind::ByAccount(HOLDINGS)),
];
const TRANSFER: &[Member] = &[
    may("id", Kind::Text),
    has("from_account", Kind::Text),
    has("to_account", Kind::Text),
    has("amount_usd", Kind::Usd),
    may("open_account", Kind::Flag),
];
/// What a movement of credits answers.
pub const TRANSFERRED: &[Member] = &[
    has("transfer_id", Kind::Text),
    has("seq", Kind::Integer),
    has("balances", Kind::ByAccount(HOLDINGS)),
];
const BALANCE: &[Member] = &[
    has("account_id", Kind::Text),
    has("balance_cents", Kind::Integer),
    has("exists", Kind::Flag),
    has("available_micro_usd", Kind::MicroUsd),
    has("posted_micro_usd", Kind::MicroUsd),
    has("locked_micro_usd", Kind::MicroUsd),
    has("held_micro_usd", Kind::MicroUsd),
];
const BATCH: &[Member] = &[has(
    "transfers",
    Kind::List(&[
        may("id", Kind::Text),
        has("from_account", Kind::Text),
        has("to_account", Kind::Text),
        has("amount_usd", Kind::Usd),
        may("open_account", Kind::Flag),
        may("chain", Kind::Flag),
    ]),
)];
const BATCH_DONE: &[Member] = &[
    has(
        "results",
        Kind::List(&[null("transfer_id", Kind::Text), null("code", Kind::Text)]),
    ),
    has("seq", Kind::Integer),
];
const TRANSFER_VIEW: &[Member] = &[
    has("transfer_id", Kind::Text),
    has("seq", Kind::Integer),
    has("kind", Kind::Text),
    has("from_account", Kind::Text),
    has("to_account", Kind::Text),
    has("amount_micro_usd", Kind::MicroUsd),
    null("reference", Kind::Text),
    has("at", Kind::Time),
];
const PAYOUT: &[Member] = &[
    may("id", Kind::Text),
    has("account_id", Kind::Text),
    has("amount_usd", Kind::Usd),
    may("external_ref", Kind::Text),
];

/// Mints credits.
pub async fn credits_purchase(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/credits/purchase")?;
    let request = PurchaseRequest::parse(&body::seed(body).await?)?;
    let answered = credits::purchase(&state.books, &caller, request).await;
    Ok(done(&answered.map_err(failed)?))
}

/// Moves credits as the prototype did.
pub async fn credits_transfer(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/credits/transfer")?;
    let request = TransferRequest::parse_seed(&body::seed(body).await?)?;
    actor.may_account(request.from.as_str())?;
    let answered = credits::transfer(&state.books, &caller, request).await;
    Ok(done(&answered.map_err(failed)?))
}

/// What an account holds.
pub async fn balance_read(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    account: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let account = account_in_path(account)?;
    actor.may_account(account.as_str())?;
    let balance = accounts::balance(&state.books, &account).await;
    Ok(json(StatusCode::OK, &balance.map_err(failed)?))
}

/// Moves credits between accounts that exist.
pub async fn transfer_create(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/transfers")?;
    let body = body::added(&headers, body, JSON_MAX_BYTES).await?;
    let request = TransferRequest::parse(&body)?;
    actor.may_account(request.from.as_str())?;
    demand_key_or_id(&caller, HasId::from(&request.id))?;
    let answered = credits::transfer(&state.books, &caller, request).await;
    Ok(done(&answered.map_err(failed)?))
}

/// Moves credits many times.
pub async fn transfer_batch(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/transfers/batch")?;
    let body = body::added(&headers, body, BATCH_MAX_BYTES).await?;
    let request = BatchRequest::parse(&body)?;
    let payers = request.transfers.iter().map(|(transfer, _)| &transfer.from);
    payers
        .map(AccountId::as_str)
        .try_for_each(|account| actor.may_account(account))?;
    let all_named = request
        .transfers
        .iter()
        .all(|(transfer, _)| transfer.id.is_some());
    demand_key_or_id(&caller, if all_named { HasId::Yes } else { HasId::No })?;
    let answered = credits::transfer_batch(&state.books, &caller, request).await;
    Ok(done(&answered.map_err(failed)?))
}

/// One transfer, for those who may see one of its sides.
pub async fn transfer_read(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Ok(Path(id)) = id else {
        return Err(ProblemCode::TransferNotFound.into());
    };
    // The scope of the route is enough to read what the token could have moved.
    let reads = reach(&actor);
    let shown = credits::transfer_show(&state.books, &reads, &id).await;
    Ok(json(StatusCode::OK, &shown.map_err(failed)?))
}

/// Credits leave the books.
pub async fn payout_create(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/payouts")?;
    let body = body::added(&headers, body, JSON_MAX_BYTES).await?;
    let request = PayoutRequest::parse(&body)?;
    let named = request.id.is_some() || request.external_ref.is_some();
    demand_key_or_id(&caller, if named { HasId::Yes } else { HasId::No })?;
    let answered = credits::payout(&state.books, &caller, request).await;
    Ok(done(&answered.map_err(failed)?))
}
