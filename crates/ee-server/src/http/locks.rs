//! `/v1/locks*`, `/v1/apps/{app}/payer`.

use axum::{
    Extension,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::Response,
    routing::{delete, get, post, put},
};
use ee_control::locks::{self, Asked};
use ee_core::books::rows::LockState;
use ee_protocol::{
    account::AccountId,
    http::locks::{LockList, LockRequest, LockView, PayerRequest},
    names::{AppName, NodeId},
    problem::{Problem, ProblemCode},
};
use http::{HeaderMap, StatusCode, Uri};

use super::{
    answer::{ApiError, json},
    body::{self, JSON_MAX_BYTES},
    caller::{HasId, caller, demand_key_or_id, done, failed, page_of},
    paging::{self, parameter},
    routes::{Access, Route},
    shapes::{HOLDINGS, Kind, Member, has, may, null},
};
use crate::{
    auth::{Actor, Reach, Scope},
    state::AppState,
};

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::post(
        "/v1/locks",
        Access::Own(Scope::LedgerTransfer),
        "Set credits aside for a node and a period",
        || post(lock_create),
    )
    .bodies(LOCK, LOCKED),
    Route::get(
        "/v1/locks",
        Access::Own(Scope::LedgerTransfer),
        "Locks, newest first",
        || get(lock_list),
    )
    .bodies(&[], LOCKS),
    Route::get(
        "/v1/locks/{id}",
        Access::Own(Scope::LedgerTransfer),
        "One lock",
        || get(lock_read),
    )
    .bodies(&[], LOCK_VIEW),
    Route::delete(
        "/v1/locks/{id}",
        Access::Own(Scope::LedgerTransfer),
        "Give a lock back before it begins",
        || delete(lock_release),
    )
    .bodies(&[], RELEASED),
    Route::get(
        "/v1/apps/{app}/payer",
        Access::Own(Scope::LedgerRead),
        "Who pays for an app, and for how many periods more",
        || get(payer_read),
    )
    .bodies(&[], PAYER_STANDING),
    Route::put(
        "/v1/apps/{app}/payer",
        Access::Own(Scope::LedgerTransfer),
        "Who pays for an app; needs apps:write on it too",
        || put(payer_bind),
    )
    .bodies(PAYER, PAYER_VIEW),
    Route::delete(
        "/v1/apps/{app}/payer",
        Access::Own(Scope::LedgerTransfer),
        "Leave an app without payer; needs apps:write on it too",
        || delete(payer_unbind),
    )
    .bodies(&[], PAYER_VIEW),
];

const MODES: Kind = Kind::Word(&["metered", "reserved"]);
const LOCK: &[Member] = &[
    may("id", Kind::Text),
    has("account_id", Kind::Text),
    has("node_id", Kind::Text),
    has("vcpus", Kind::Integer),
    may("period", Kind::Text),
    may("period_start", Kind::Time),
    may("period_end", Kind::Time),
    may("mode", MODES),
];
const LOCKED: &[Member] = &[
    has("lock_id", Kind::Text),
    has("amount_micro_usd", Kind::MicroUsd),
    has("price_micro_usd", Kind::MicroUsd),
    has("expires_at", Kind::Time),
    has("period", Kind::Text),
    has("seq", Kind::Integer),
    has("balances", Kind::ByAccount(HOLDINGS)),
];
const LOCK_VIEW: &[Member] = &[
    has("lock_id", Kind::Text),
    has("account_id", Kind::Text),
    has("node_id", Kind::Text),
    has("period", Kind::Text),
    has("from", Kind::Time),
    null("vcpus", Kind::Integer),
    has("mode", MODES),
    has("amount_micro_usd", Kind::MicroUsd),
    has("posted_micro_usd", Kind::MicroUsd),
    has(
        "state",
        Kind::Word(&["open", "settled", "released", "expired"]),
    ),
    has("expires_at", Kind::Time),
    null("app", Kind::Text),
];
const LOCKS: &[Member] = &[
    has("locks", Kind::List(LOCK_VIEW)),
    null("next_cursor", Kind::Text),
];
const RELEASED: &[Member] = &[
    has("lock_id", Kind::Text),
    has("returned_micro_usd", Kind::MicroUsd),
    has("seq", Kind::Integer),
    has("balances", Kind::ByAccount(HOLDINGS)),
];
const PAYER: &[Member] = &[
    has("account_id", Kind::Text),
    has("vcpus", Kind::Integer),
    may("max_price_usd", Kind::Usd),
    may("nodes_max", Kind::Integer),
];
const PAYER_STANDING: &[Member] = &[
    has("app", Kind::Text),
    null("account_id", Kind::Text),
    null("vcpus", Kind::Integer),
    null("max_price_micro_usd", Kind::MicroUsd),
    null("nodes_max", Kind::Integer),
    has("seq", Kind::Integer),
    null("funds", Kind::Word(&["ok", "low", "exhausted"])),
    null("runway_periods", Kind::Integer),
];
const PAYER_VIEW: &[Member] = &[
    has("app", Kind::Text),
    null("account_id", Kind::Text),
    null("vcpus", Kind::Integer),
    null("max_price_micro_usd", Kind::MicroUsd),
    null("nodes_max", Kind::Integer),
    has("seq", Kind::Integer),
];

/// Makes a lock.
pub async fn lock_create(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/locks")?;
    let body = body::added(&headers, body, JSON_MAX_BYTES).await?;
    let request = LockRequest::parse(&body)?;
    actor.may_account(request.account.as_str())?;
    demand_key_or_id(&caller, HasId::from(&request.id))?;
    let answered = locks::lock(&state.books, &caller, request).await;
    Ok(done(&answered.map_err(failed)?))
}

/// Locks of the account that `?account=` names; without it, of the token's only account, or of all.
/// `?node=` and `?state=` narrow them.
pub async fn lock_list(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let page = paging::page(&uri, &state.cursors)?;
    let asked = Asked {
        account: listed_account(&actor, &uri)?,
        node: parameter(&uri, "node")
            .map(|node| NodeId::parse(&node).map_err(|_| wrong("?node", "no node's id")))
            .transpose()?,
        state: parameter(&uri, "state")
            .map(|word| lock_state(&word))
            .transpose()?,
    };
    let listed = locks::list(&state.books, asked, page.after.as_deref(), page.limit).await;
    let listed = listed.map_err(failed)?;
    Ok(page_of(
        listed,
        &state,
        &uri,
        &page,
        |locks, next_cursor| LockList { locks, next_cursor },
    ))
}

fn lock_state(word: &str) -> Result<LockState, ApiError> {
    let mut states = LockState::ALL.iter().copied();
    let state = states.find(|state| state.word() == word);
    state.ok_or_else(|| wrong("?state", "not open, settled, released or expired"))
}

fn wrong(pointer: &str, what: &str) -> ApiError {
    Problem::new(ProblemCode::InvalidField)
        .field(pointer, what)
        .into()
}

fn listed_account(actor: &Actor, uri: &Uri) -> Result<Option<AccountId>, ApiError> {
    let named = match (parameter(uri, "account"), actor.accounts()) {
        (Some(named), _) => named,
        (None, Reach::All) => return Ok(None),
        (None, Reach::Only(own)) => match own.iter().next() {
            Some(account) if own.len() == 1 => account.clone(),
            Some(_) | None => {
                let problem = Problem::new(ProblemCode::MissingFields);
                return Err(problem.field("?account", "missing").into());
            }
        },
    };
    let account = AccountId::parse(&named);
    let account = account.map_err(|_| wrong("?account", "no account's id"))?;
    actor.may_account(account.as_str())?;
    Ok(Some(account))
}

/// One lock.
pub async fn lock_read(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    Ok(json(StatusCode::OK, &own_lock(&state, &actor, id).await?))
}

/// Gives a lock back.
pub async fn lock_release(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "DELETE /v1/locks/{id}")?;
    let lock = own_lock(&state, &actor, id).await?;
    let id = locks::lock_id(&lock.lock_id).map_err(failed)?;
    let answered = locks::release(&state.books, &caller, id).await;
    Ok(done(&answered.map_err(failed)?))
}

/// The lock of a path, if its account is the caller's: strangers hear that there is none.
async fn own_lock(
    state: &AppState,
    actor: &Actor,
    id: Result<Path<String>, PathRejection>,
) -> Result<LockView, ApiError> {
    let absent = || ApiError::from(ProblemCode::LockNotFound);
    let Ok(Path(id)) = id else {
        return Err(absent());
    };
    let id = locks::lock_id(&id).map_err(failed)?;
    let lock = locks::show(&state.books, id).await.map_err(failed)?;
    actor.may_account(&lock.account_id).map_err(|_| absent())?;
    Ok(lock)
}

/// Who pays for an app: for whoever pays, and for those who see every account.
pub async fn payer_read(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    app: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let app = app.ok().and_then(|Path(app)| AppName::parse(&app).ok());
    let app = app.ok_or_else(|| ApiError::from(ProblemCode::InvalidAppName))?;
    let standing = locks::payer_standing(&state.books, &app, state.now()).await;
    let standing = standing.map_err(failed)?;
    if let Some(account) = &standing.payer.account_id {
        actor.may_account(account)?;
    }
    Ok(json(StatusCode::OK, &standing))
}

/// Binds the payer of an app. Whoever is named pays, so the account must be the caller's; an empty
/// payer stops an app, so the app must be the caller's too.
pub async fn payer_bind(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    app: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let app = own_app(&actor, app)?;
    let caller = caller(&actor, &headers, "PUT /v1/apps/{app}/payer")?;
    let body = body::added(&headers, body, JSON_MAX_BYTES).await?;
    let request = PayerRequest::parse(&body)?;
    actor.may_account(request.account.as_str())?;
    let answered = locks::bind_payer(&state.books, &caller, app, request).await;
    Ok(done(&answered.map_err(failed)?))
}

/// Leaves an app without payer.
pub async fn payer_unbind(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    app: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let app = own_app(&actor, app)?;
    let caller = caller(&actor, &headers, "DELETE /v1/apps/{app}/payer")?;
    if let Some(account) = locks::payer(&state.books, &app).await.map_err(failed)? {
        actor.may_account(&account)?;
    }
    let answered = locks::unbind_payer(&state.books, &caller, app).await;
    Ok(done(&answered.map_err(failed)?))
}

fn own_app(actor: &Actor, app: Result<Path<String>, PathRejection>) -> Result<AppName, ApiError> {
    actor.demand(Scope::AppsWrite)?;
    let app = app.ok().and_then(|Path(app)| AppName::parse(&app).ok());
    let app = app.ok_or_else(|| ApiError::from(ProblemCode::InvalidAppName))?;
    actor.may_app(app.as_str())?;
    Ok(app)
}
