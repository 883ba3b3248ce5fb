//! `/v1/nodes*`, `/v1/prices`: capacity, price and stake.

use axum::{
    Extension,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::Response,
    routing::{get, post},
};
use ee_control::{answers::Answered, nodes};
use ee_protocol::{
    account::AccountId,
    http::nodes::{NodeList, NodeRegistered, NodeRequest, PriceList, StakeRequest, StakeWord},
    names::NodeId,
    problem::ProblemCode,
};
use http::{HeaderMap, StatusCode, Uri};

use super::{
    answer::{ApiError, json},
    body::{self, JSON_MAX_BYTES},
    caller::{
        HasId, caller, demand_key_or_id, done, failed, failed_for_node, node_in_path, page_of,
    },
    credits::TRANSFERRED,
    paging,
    routes::{Access, Route},
    shapes::{Kind, Member, has, may, null},
};
use crate::{
    auth::{Actor, Reach, Scope},
    state::AppState,
};

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::post(
        "/v1/nodes/register",
        Access::Own(Scope::NodesWrite),
        "Set a node's price, capacity and stake",
        || post(node_register),
    )
    .bodies(REGISTER, REGISTERED),
    Route::get(
        "/v1/nodes",
        Access::Own(Scope::NodesRead),
        "Nodes, in the order in which they came",
        || get(node_list),
    )
    .bodies(&[], NODES),
    Route::get(
        "/v1/nodes/{node}",
        Access::Own(Scope::NodesRead),
        "One node",
        || get(node_read),
    )
    .bodies(&[], NODE),
    Route::post(
        "/v1/nodes/{node}/stake",
        Access::Own(Scope::LedgerTransfer),
        "Deposit stake, or withdraw it",
        || post(stake_move),
    )
    .bodies(STAKE, TRANSFERRED),
    Route::get(
        "/v1/prices",
        Access::Public,
        "Posted prices, now and later",
        || get(price_list),
    )
    .bodies(&[], PRICES),
];

const TIERS: Kind = Kind::Word(&["premium", "standard", "economy"]);
const REGISTER: &[Member] = &[
    has("node_id", Kind::Text),
    may("price_usd_per_vcpu_hour", Kind::Usd),
    may("stake_amount_usd", Kind::Usd),
    may("stake_tier", TIERS),
    may("allow_update", Kind::Flag),
    may("rotate_token", Kind::Flag),
    may("vcpus", Kind::Integer),
    may("effective_from", Kind::Time),
];
const NODE: &[Member] = &[
    has("node_id", Kind::Text),
    has("status", Kind::Word(&["active", "banned"])),
    null("price_cents_per_vcpu_hour", Kind::Integer),
    has("stake_tier", TIERS),
    has("stake_amount_cents", Kind::Integer),
    has(
        "attestation_status",
        Kind::Word(&["unknown", "valid", "invalid"]),
    ),
    has("health_status", Kind::Word(&["unknown", "pass", "fail"])),
    null("last_attested_at", Kind::Time),
    null("last_health_at", Kind::Time),
    null("created_at", Kind::Time),
    null("updated_at", Kind::Time),
    null("price_micro_usd_per_vcpu_hour", Kind::MicroUsd),
    has("stake_micro_usd", Kind::MicroUsd),
    null("vcpus", Kind::Integer),
    null("not_routed", Kind::Text),
];
const NODES: &[Member] = &[
    has("nodes", Kind::List(NODE)),
    null("next_cursor", Kind::Text),
];
const REGISTERED: &[Member] = &[
    has("node", Kind::Object(NODE)),
    null("node_token", Kind::Text),
    has("seq", Kind::Integer),
];
const STAKE: &[Member] = &[
    may("id", Kind::Text),
    has("action", Kind::Word(&["deposit", "withdraw"])),
    has("amount_usd", Kind::Usd),
    may("account_id", Kind::Text),
];
const PRICES: &[Member] = &[
    has(
        "prices",
        Kind::List(&[
            has("node_id", Kind::Text),
            has("price_micro_usd_per_vcpu_hour", Kind::MicroUsd),
            has("effective_from", Kind::Time),
        ]),
    ),
    null("next_cursor", Kind::Text),
];

/// Registers a node, or changes what the request names. Its token is shown once.
pub async fn node_register(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/nodes/register")?;
    let request = NodeRequest::parse(&body::seed(body).await?)?;
    let (node, rotate) = (request.node.clone(), request.rotate_token);
    actor.may_node(node.as_str())?;
    if request.touches_stake() && !actor.is_unbound() {
        return Err(ProblemCode::StakeAdminOnly.into());
    }
    let registered = nodes::register(&state.books, &caller, request).await;
    let mark = registered.map_err(failed)?;
    let node_token = token_for(&state, &actor, &node, rotate && !mark.replayed).await?;
    let live = nodes::live_states(state.plane.routes(), state.now());
    let shown = nodes::show(&state.books, &node, &live, state.now()).await;
    let body = NodeRegistered {
        node: shown.map_err(failed)?,
        node_token,
        seq: mark.seq,
    };
    Ok(done(&Answered { body, mark }))
}

/// The node's token, the first time and after a rotation.
async fn token_for(
    state: &AppState,
    actor: &Actor,
    node: &NodeId,
    rotate: bool,
) -> Result<Option<String>, ApiError> {
    match rotate {
        true => state
            .auth
            .rotate_node_token(state, node, actor)
            .await
            .map(Some),
        false => state.auth.issue_node_token(state, node, actor).await,
    }
}

/// Nodes that the token reaches.
pub async fn node_list(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let page = paging::page(&uri, &state.cursors)?;
    let now = state.now();
    let live = nodes::live_states(state.plane.routes(), now);
    let after = page.after.as_deref();
    let only = match actor.nodes() {
        Reach::All => None,
        Reach::Only(nodes) => Some(nodes.clone()),
    };
    let listed = nodes::list(&state.books, only, &live, after, page.limit, now).await;
    let listed = listed.map_err(failed)?;
    Ok(page_of(
        listed,
        &state,
        &uri,
        &page,
        |nodes, next_cursor| NodeList { nodes, next_cursor },
    ))
}

/// One node.
pub async fn node_read(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    node: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let node = node_in_path(node)?;
    actor.may_node(node.as_str())?;
    let now = state.now();
    let live = nodes::live_states(state.plane.routes(), now);
    let shown = nodes::show(&state.books, &node, &live, now).await;
    Ok(json(StatusCode::OK, &shown.map_err(failed_for_node)?))
}

/// Moves stake: a deposit needs the paying account, a withdrawal the node's own.
pub async fn stake_move(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    node: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller(&actor, &headers, "POST /v1/nodes/{node}/stake")?;
    let node = node_in_path(node)?;
    let body = body::added(&headers, body, JSON_MAX_BYTES).await?;
    let request = StakeRequest::parse(&body)?;
    let touched = match (&request.action, &request.account) {
        (StakeWord::Deposit, Some(account)) => account.clone(),
        (StakeWord::Deposit, None) | (StakeWord::Withdraw, _) => AccountId::from(&node),
    };
    actor.may_account(touched.as_str())?;
    demand_key_or_id(&caller, HasId::from(&request.id))?;
    let answered = nodes::stake(&state.books, &caller, node, request).await;
    Ok(done(&answered.map_err(failed)?))
}

/// Posted prices.
pub async fn price_list(State(state): State<AppState>, uri: Uri) -> Result<Response, ApiError> {
    let page = paging::page(&uri, &state.cursors)?;
    let after = page.after.as_deref();
    let listed = nodes::prices(&state.books, after, page.limit, state.now()).await;
    let listed = listed.map_err(failed)?;
    Ok(page_of(
        listed,
        &state,
        &uri,
        &page,
        |prices, next_cursor| PriceList {
            prices,
            next_cursor,
        },
    ))
}
