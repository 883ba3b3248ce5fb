//! `/v1/accounts*`: accounts, their entries, their usage.

use axum::{
    Extension,
    extract::{Path, State, rejection::PathRejection},
    response::Response,
    routing::get,
};
use ee_control::{accounts, usage};
use ee_protocol::http::{
    accounts::{AccountList, EntryList},
    usage::UsageList,
};
use http::{HeaderMap, StatusCode, Uri, header};

use super::{
    answer::{ApiError, json},
    caller::{account_in_path, failed, page_of, reach},
    export::{self, Format},
    paging,
    routes::{Access, Route},
    shapes::{Kind, Member, has, null},
};
use crate::{
    auth::{Actor, Scope},
    state::AppState,
};

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::get(
        "/v1/accounts",
        Access::Own(Scope::LedgerRead),
        "Accounts in the order of their opening",
        || get(account_list),
    )
    .bodies(&[], ACCOUNTS),
    Route::get(
        "/v1/accounts/{account}",
        Access::Own(Scope::LedgerRead),
        "An account: posted, locked, held, available",
        || get(account_read),
    )
    .bodies(&[], ACCOUNT),
    Route::get(
        "/v1/accounts/{account}/entries",
        Access::Own(Scope::LedgerRead),
        "Every line of an account, newest first; JSON, CSV or JSON Lines",
        || get(entry_list),
    )
    .bodies(&[], ENTRIES),
    Route::get(
        "/v1/accounts/{account}/usage",
        Access::Own(Scope::LedgerRead),
        "Reports of usage that the account pays for, newest first",
        || get(usage_list),
    )
    .bodies(&[], USAGE),
];

const ACCOUNT: &[Member] = &[
    has("account_id", Kind::Text),
    null("kind", Kind::Word(&["user", "node"])),
    has("available_micro_usd", Kind::MicroUsd),
    has("posted_micro_usd", Kind::MicroUsd),
    has("locked_micro_usd", Kind::MicroUsd),
    has("held_micro_usd", Kind::MicroUsd),
    has("stake_micro_usd", Kind::MicroUsd),
    has("unbonding_micro_usd", Kind::MicroUsd),
];
const ACCOUNTS: &[Member] = &[
    has("accounts", Kind::List(ACCOUNT)),
    null("next_cursor", Kind::Text),
];
const ENTRIES: &[Member] = &[
    has(
        "entries",
        Kind::List(&[
            has("seq", Kind::Integer),
            has("at", Kind::Time),
            has("kind", Kind::Text),
            has("transfer_id", Kind::Text),
            has("amount_micro_usd", Kind::MicroUsd),
            has("effect", Kind::Word(&["posted", "pending"])),
            has("account", Kind::Text),
            has("counterparty", Kind::Text),
            null("reference", Kind::Text),
        ]),
    ),
    null("next_cursor", Kind::Text),
];
const USAGE: &[Member] = &[
    has(
        "usage",
        Kind::List(&[
            has("usage_id", Kind::Text),
            has("account_id", Kind::Text),
            has("node_id", Kind::Text),
            has("period", Kind::Text),
            has("vcpu_us", Kind::Text),
            has("amount_micro_usd", Kind::MicroUsd),
            has("state", Kind::Word(&["collected", "uncollected"])),
            has("at", Kind::Time),
            has("seq", Kind::Integer),
        ]),
    ),
    null("next_cursor", Kind::Text),
];

/// Accounts that the token reaches.
pub async fn account_list(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let page = paging::page(&uri, &state.cursors)?;
    let after = page.after.as_deref();
    let listed = accounts::list(&state.books, reach(&actor), after, page.limit).await;
    let listed = listed.map_err(failed)?;
    Ok(page_of(
        listed,
        &state,
        &uri,
        &page,
        |accounts, next_cursor| AccountList {
            accounts,
            next_cursor,
        },
    ))
}

/// One account.
pub async fn account_read(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    account: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let account = account_in_path(account)?;
    actor.may_account(account.as_str())?;
    let shown = accounts::show(&state.books, &account).await;
    Ok(json(StatusCode::OK, &shown.map_err(failed)?))
}

/// Lines of an account.
pub async fn entry_list(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    account: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let account = account_in_path(account)?;
    actor.may_account(account.as_str())?;
    let format = export::format(&uri, &headers)?;
    let page = paging::page(&uri, &state.cursors)?;
    let after = page.after.as_deref();
    let listed = accounts::entries(&state.books, &account, after, page.limit).await;
    let listed = listed.map_err(failed)?;
    let written = match format {
        Format::Json => None,
        Format::Csv => Some(export::csv(&listed.rows)),
        Format::JsonLines => Some(export::json_lines(&listed.rows)),
    };
    let paged = page_of(listed, &state, &uri, &page, |entries, next_cursor| {
        EntryList {
            entries,
            next_cursor,
        }
    });
    let Some(mut written) = written else {
        return Ok(paged);
    };
    if let Some(link) = paged.headers().get(header::LINK) {
        written.headers_mut().insert(header::LINK, link.clone());
    }
    Ok(written)
}

/// Usage that an account pays for.
pub async fn usage_list(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    account: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let account = account_in_path(account)?;
    actor.may_account(account.as_str())?;
    let page = paging::page(&uri, &state.cursors)?;
    let after = page.after.as_deref();
    let listed = usage::list(&state.books, &account, after, page.limit).await;
    let listed = listed.map_err(failed)?;
    Ok(page_of(
        listed,
        &state,
        &uri,
        &page,
        |usage, next_cursor| UsageList { usage, next_cursor },
    ))
}
