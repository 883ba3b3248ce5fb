//! Every route of the API, with who may call it.

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get, post},
};
use ee_protocol::problem::{Problem, ProblemCode};
use http::{HeaderMap, HeaderValue, Method};

use super::{
    abuse, accounts, allowlists, answer::ApiError, apps, audit, authz, bootstrap, caller, credits,
    envelope, errors, health, ledger, locks, nodes, openapi, proxy, resolve, settlements,
    shapes::Member, tokens, usage, whoami,
};
use crate::{
    auth::{Admitted, Demand, Scope, TOKEN_RATE},
    config::ProxyApi,
    http::ClientIp,
    state::AppState,
};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    Public,
    /// A token with this scope that is bound to no resource.
    Scope(Scope),
    /// A token with this scope. One that is bound passes too: the handler asks what it may touch
    /// (`Actor::may_account` and its like).
    Own(Scope),
    /// Any live token.
    AnyToken,
    /// As `EE_PROXY_API` says.
    ProxyApi,
    /// The bootstrap token, checked where it is spent.
    Bootstrap,
}

/// One route.
pub struct Route {
    /// The method; GET answers HEAD too.
    pub method: Method,
    /// The path, with `{parameters}`.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it is for, in a line.
    pub summary: &'static str,
    /// What its body holds, as far as it is described.
    pub takes: &'static [Member],
    /// What its answer holds, as far as it is described.
    pub answers: &'static [Member],
    handler: Handler,
}

type Handler = fn() -> MethodRouter<AppState>;

impl Route {
    /// A route that reads.
    pub(super) const fn get(
        path: &'static str,
        access: Access,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        Self::new(Method::GET, path, access, summary, handler)
    }

    /// A route that does something.
    pub(super) const fn post(
        path: &'static str,
        access: Access,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        Self::new(Method::POST, path, access, summary, handler)
    }

    /// A route that sets something.
    pub(super) const fn put(
        path: &'static str,
        access: Access,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        Self::new(Method::PUT, path, access, summary, handler)
    }

    /// A route that takes something away.
    pub(super) const fn delete(
        path: &'static str,
        access: Access,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        Self::new(Method::DELETE, path, access, summary, handler)
    }

    /// Whether its answer shows the books, and so says up to which record.
    fn reads_books(&self) -> bool {
        self.method == Method::GET && !self.answers.is_empty()
    }

    /// Describes its bodies.
    pub(super) const fn bodies(
        mut self,
        takes: &'static [Member],
        answers: &'static [Member],
    ) -> Self {
        self.takes = takes;
        self.answers = answers;
        self
    }

    const fn new(
        method: Method,
        path: &'static str,
        access: Access,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        Self {
            method,
            path,
            access,
            summary,
            takes: &[],
            answers: &[],
            handler,
        }
    }
}

const fn public(path: &'static str, summary: &'static str, handler: Handler) -> Route {
    Route::get(path, Access::Public, summary, handler)
}

const fn reading(path: &'static str, summary: &'static str, handler: Handler) -> Route {
    Route::get(path, Access::Own(Scope::AppsRead), summary, handler)
}

/// Every route.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    NOUNS.iter().copied().flatten()
}

/// The routes, noun by noun; those of the books stand beside their handlers.
const NOUNS: &[&[Route]] = &[
    LIVE,
    audit::ROUTES,
    credits::ROUTES,
    accounts::ROUTES,
    usage::ROUTES,
    locks::ROUTES,
    settlements::ROUTES,
    abuse::ROUTES,
    nodes::ROUTES,
    ledger::ROUTES,
];

/// The routes of the live half.
const LIVE: &[Route] = &[
    public("/health", "Service health", || get(health::health_read)),
    public("/livez", "The process runs", || get(health::live_read)),
    public("/readyz", "The process takes requests", || {
        get(health::ready_read)
    }),
    public("/openapi.json", "This description", || {
        get(openapi::openapi_read)
    }),
    public("/errors/{code}", "What a problem's code means", || {
        get(errors::error_read)
    }),
    public("/v1/version", "Name and version", || {
        get(health::version_read)
    }),
    public("/v1/tunnel", "WebSocket for agents", || {
        get(crate::tunnel::tunnel_open)
    }),
    public(
        "/v1/resolve/{app}",
        "May traffic go to this app, and where to",
        || get(resolve::app_resolve),
    ),
    public(
        "/v1/authz",
        "Forward-auth for reverse proxies, app by X-Forwarded-Host",
        || get(authz::host_authorize),
    ),
    public(
        "/v1/authz/{app}",
        "Forward-auth for reverse proxies",
        || get(authz::app_authorize),
    ),
    public(
        "/v1/tls-check",
        "Whether a certificate may be issued for a domain",
        || get(authz::domain_check),
    ),
    reading("/v1/apps", "All apps by name", || get(apps::app_list)),
    reading("/v1/apps/{app}", "One app", || get(apps::app_read)),
    reading(
        "/v1/apps/{app}/explain",
        "Why an app is or is not served",
        || get(apps::app_explain),
    ),
    Route::get(
        "/v1/allowlists",
        Access::Scope(Scope::AppsRead),
        "Releases whose allowlist changed after it was first seen",
        || get(allowlists::alarm_list),
    ),
    Route::post(
        "/v1/allowlists/acknowledge",
        Access::Scope(Scope::AppsWrite),
        "Settle an alarm: the digest of the allowlist to go by",
        || post(allowlists::alarm_acknowledge),
    ),
    Route::post(
        "/v1/proxy/{app}",
        Access::ProxyApi,
        "Send one request to an app",
        || post(proxy::app_proxy),
    ),
    Route::post(
        "/v1/auth/bootstrap",
        Access::Bootstrap,
        "Spend the bootstrap token for the first admin token",
        || post(bootstrap::bootstrap_spend),
    ),
    Route::get(
        "/v1/whoami",
        Access::AnyToken,
        "What the presented token is",
        || get(whoami::whoami_read),
    ),
    Route::get(
        "/v1/tokens",
        Access::Scope(Scope::TokensAdmin),
        "Managed tokens by id",
        || get(tokens::token_list),
    ),
    Route::post(
        "/v1/tokens",
        Access::Scope(Scope::TokensAdmin),
        "Make a token; its text is shown once",
        || post(tokens::token_create),
    ),
    Route::post(
        "/v1/tokens/{id}/rotate",
        Access::Scope(Scope::TokensAdmin),
        "Give a token a new secret; the old one stays good for a grace",
        || post(tokens::token_rotate),
    ),
    Route::delete(
        "/v1/tokens/{id}",
        Access::Scope(Scope::TokensAdmin),
        "Revoke a token",
        || delete(tokens::token_revoke),
    ),
];

/// The router over [`routes`], with everything around it.
pub fn router(state: &AppState) -> Router {
    let add = |router: Router<AppState>, route: &Route| {
        let gate = Gate {
            state: state.clone(),
            access: route.access,
        };
        let mut handler = (route.handler)();
        if route.reads_books() {
            handler = handler.route_layer(from_fn_with_state(state.clone(), caller::stamp));
        }
        let gated = handler.route_layer(from_fn_with_state(gate, admit));
        router.route(route.path, gated)
    };
    let trusted = state.settings.trusted_proxies.clone();
    routes()
        .fold(Router::new(), add)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(trusted, envelope::wrap))
        .with_state(state.clone())
}

#[derive(Clone)]
struct Gate {
    state: AppState,
    access: Access,
}

/// Lets a request through if its route's access rule allows the caller.
async fn admit(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let demand = match (gate.access, gate.state.settings.proxy_api) {
        (Access::Public | Access::Bootstrap, _) | (Access::ProxyApi, ProxyApi::Public) => {
            return next.run(request).await;
        }
        (Access::ProxyApi, ProxyApi::Off) => {
            return ApiError::from(ProblemCode::ProxyApiOff).into_response();
        }
        (Access::ProxyApi, ProxyApi::Token) => Demand::Own(Scope::ProxyUse),
        (Access::Scope(scope), _) => Demand::Whole(scope),
        (Access::Own(scope), _) => Demand::Own(scope),
        (Access::AnyToken, _) => Demand::AnyToken,
    };
    let Some(client) = request.extensions().get::<ClientIp>().copied() else {
        return ApiError::from(ProblemCode::Internal).into_response();
    };
    let (auth, now) = (&gate.state.auth, gate.state.now());
    match auth.authorise(request.headers(), demand, client.0, now) {
        Ok(admitted) => {
            request.extensions_mut().insert(admitted.actor.clone());
            let mut response = next.run(request).await;
            add_rate(response.headers_mut(), &admitted);
            response
        }
        Err(refused) => refused.into_response(),
    }
}

/// What is left of a managed token's rate (draft-ietf-httpapi-ratelimit-headers).
fn add_rate(headers: &mut HeaderMap, admitted: &Admitted) {
    let Some(rate) = admitted.rate else {
        return;
    };
    let (q, w) = (TOKEN_RATE.burst, TOKEN_RATE.window.as_secs());
    let (r, t) = (rate.remaining, rate.full_in.as_millis().div_ceil(1_000));
    for (name, text) in [
        ("ratelimit-policy", format!("\"token\";q={q};w={w}")),
        ("ratelimit", format!("\"token\";r={r};t={t}")),
    ] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}

async fn not_found(request: Request) -> ApiError {
    let detail = format!("no route {}", request.uri().path());
    Problem::new(ProblemCode::NotFound).detail(detail).into()
}

async fn method_not_allowed(request: Request) -> ApiError {
    let detail = format!("{} {}", request.method(), request.uri().path());
    Problem::new(ProblemCode::MethodNotAllowed)
        .detail(detail)
        .into()
}
