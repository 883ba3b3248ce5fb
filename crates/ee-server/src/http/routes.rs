//! Every route of the API, with who may call it.

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use ee_protocol::problem::{Problem, ProblemCode};
use http::Method;

use super::{
    allowlists, answer::ApiError, apps, authz, bootstrap, envelope, errors, health, openapi, proxy,
    resolve,
};
use crate::{auth::Scope, config::ProxyApi, http::ClientIp, state::AppState};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    Public,
    /// A token with this scope.
    Scope(Scope),
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
    handler: fn() -> MethodRouter<AppState>,
}

type Handler = fn() -> MethodRouter<AppState>;

const fn public(path: &'static str, summary: &'static str, handler: Handler) -> Route {
    Route {
        method: Method::GET,
        path,
        access: Access::Public,
        summary,
        handler,
    }
}

const fn reading(path: &'static str, summary: &'static str, handler: Handler) -> Route {
    let access = Access::Scope(Scope::AppsRead);
    Route {
        method: Method::GET,
        path,
        access,
        summary,
        handler,
    }
}

/// The routes.
pub const ROUTES: &[Route] = &[
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
    reading(
        "/v1/allowlists",
        "Releases whose allowlist changed after it was first seen",
        || get(allowlists::alarm_list),
    ),
    Route {
        method: Method::POST,
        path: "/v1/allowlists/acknowledge",
        access: Access::Scope(Scope::AppsWrite),
        summary: "Settle an alarm: the digest of the allowlist to go by",
        handler: || post(allowlists::alarm_acknowledge),
    },
    Route {
        method: Method::POST,
        path: "/v1/proxy/{app}",
        access: Access::ProxyApi,
        summary: "Send one request to an app",
        handler: || post(proxy::app_proxy),
    },
    Route {
        method: Method::POST,
        path: "/v1/auth/bootstrap",
        access: Access::Bootstrap,
        summary: "Spend the bootstrap token for the first admin token",
        handler: || post(bootstrap::bootstrap_spend),
    },
];

/// The router over [`ROUTES`], with everything around it.
pub fn router(state: &AppState) -> Router {
    let add = |router: Router<AppState>, route: &Route| {
        let gate = Gate {
            state: state.clone(),
            access: route.access,
        };
        router.route(
            route.path,
            (route.handler)().route_layer(from_fn_with_state(gate, admit)),
        )
    };
    let trusted = state.settings.trusted_proxies.clone();
    ROUTES
        .iter()
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
async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let scope = match (gate.access, gate.state.settings.proxy_api) {
        (Access::Public | Access::Bootstrap, _) | (Access::ProxyApi, ProxyApi::Public) => {
            return next.run(request).await;
        }
        (Access::ProxyApi, ProxyApi::Off) => {
            return ApiError::from(ProblemCode::ProxyApiOff).into_response();
        }
        (Access::ProxyApi, ProxyApi::Token) => Scope::ProxyUse,
        (Access::Scope(scope), _) => scope,
    };
    let Some(client) = request.extensions().get::<ClientIp>().copied() else {
        return ApiError::from(ProblemCode::Internal).into_response();
    };
    let now = gate.state.now();
    match gate
        .state
        .auth
        .authorise(request.headers(), scope, client.0, now)
    {
        Ok(actor) => {
            let mut request = request;
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
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
