//! Every route x {no token, malformed, wrong, right} x {configured, not configured}.
//!
//! A route of the router without a row here fails the test, and so does a row without a route.

use ee_server::http::routes::{Access, ROUTES};
use reqwest::Method;
use serde_json::Value;

use super::running::{ADMIN, LAUNCHER, Running, UPTIME, answer};

/// What a route answers to a caller who may call it.
struct Row {
    method: &'static str,
    route: &'static str,
    path: &'static str,
    passes: u16,
}

const fn row(method: &'static str, route: &'static str, path: &'static str, passes: u16) -> Row {
    Row {
        method,
        route,
        path,
        passes,
    }
}

const ROWS: &[Row] = &[
    row("GET", "/health", "/health", 200),
    row("GET", "/livez", "/livez", 200),
    row("GET", "/readyz", "/readyz", 200),
    row("GET", "/openapi.json", "/openapi.json", 200),
    row("GET", "/errors/{code}", "/errors/unknown_app", 200),
    row("GET", "/v1/version", "/v1/version", 200),
    row("GET", "/v1/tunnel", "/v1/tunnel", 400),
    row("GET", "/v1/resolve/{app}", "/v1/resolve/nobody", 404),
    row("GET", "/v1/authz", "/v1/authz", 403),
    row("GET", "/v1/authz/{app}", "/v1/authz/nobody", 403),
    row("GET", "/v1/tls-check", "/v1/tls-check", 403),
    row("GET", "/v1/apps", "/v1/apps", 200),
    row("GET", "/v1/apps/{app}", "/v1/apps/nobody", 404),
    row(
        "GET",
        "/v1/apps/{app}/explain",
        "/v1/apps/nobody/explain",
        404,
    ),
    row("GET", "/v1/allowlists", "/v1/allowlists", 200),
    row(
        "POST",
        "/v1/allowlists/acknowledge",
        "/v1/allowlists/acknowledge",
        400,
    ),
    row("POST", "/v1/proxy/{app}", "/v1/proxy/nobody", 404),
    row("POST", "/v1/auth/bootstrap", "/v1/auth/bootstrap", 201),
];

/// What a caller presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    NoToken,
    Malformed,
    Wrong,
    Right,
}

const CALLERS: [Caller; 4] = [
    Caller::NoToken,
    Caller::Malformed,
    Caller::Wrong,
    Caller::Right,
];

/// Which admin credential exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Configured {
    Token,
    Nothing,
}

fn expected(
    row: &Row,
    access: Access,
    caller: Caller,
    configured: Configured,
) -> (u16, &'static str) {
    match (access, configured, caller) {
        (Access::Public | Access::ProxyApi, _, _)
        | (Access::Scope(_), Configured::Token, Caller::Right)
        | (Access::Bootstrap, Configured::Nothing, Caller::Right) => (row.passes, ""),
        (Access::Scope(_), Configured::Nothing, _) => (403, "role_not_configured"),
        (Access::Bootstrap, Configured::Token, _) => (403, "bootstrap_closed"),
        (Access::Scope(_) | Access::Bootstrap, _, Caller::NoToken) => (401, "token_missing"),
        (Access::Scope(_) | Access::Bootstrap, _, Caller::Malformed | Caller::Wrong) => {
            (401, "token_invalid")
        }
    }
}

async fn call(running: &Running, row: &Row, caller: Caller, right: &str) -> (u16, Value) {
    let method = Method::from_bytes(row.method.as_bytes()).expect("method");
    let mut request = running.request(method, row.path);
    if row.method == "POST" {
        request = request.body("{}");
    }
    request = match caller {
        Caller::NoToken => request,
        Caller::Malformed => request.header("authorization", "Basic YWRtaW46YWRtaW4="),
        Caller::Wrong => request.bearer_auth("not-the-token-0123456789abcdef"),
        Caller::Right => request.bearer_auth(right),
    };
    answer(request.send().await.expect("answered")).await
}

fn route_of(row: &Row) -> Access {
    let found = ROUTES
        .iter()
        .find(|r| r.path == row.route && r.method.as_str() == row.method);
    found
        .unwrap_or_else(|| panic!("row without a route: {} {}", row.method, row.route))
        .access
}

async fn check_all(running: &Running, configured: Configured) {
    let bootstrap = match configured {
        Configured::Token => "no bootstrap token was made".to_owned(),
        Configured::Nothing => running.bootstrap_token(),
    };
    for row in ROWS {
        let access = route_of(row);
        let right = if access == Access::Bootstrap {
            bootstrap.as_str()
        } else {
            ADMIN
        };
        for caller in CALLERS {
            let (status, body) = call(running, row, caller, right).await;
            let (wanted, code) = expected(row, access, caller, configured);
            let name = format!("{} {} {caller:?} {configured:?}", row.method, row.path);
            assert_eq!(status, wanted, "{name}: {body}");
            if !code.is_empty() {
                assert_eq!(body["code"], code, "{name}");
            }
        }
    }
}

#[test]
fn every_route_has_a_row() {
    for route in ROUTES {
        let known = |row: &&Row| row.route == route.path && row.method == route.method.as_str();
        let found = ROWS.iter().find(known);
        assert!(
            found.is_some(),
            "no row for {} {}",
            route.method,
            route.path
        );
    }
    ROWS.iter().for_each(|row| {
        route_of(row);
    });
}

#[tokio::test]
async fn every_route_is_authorised_as_its_row_says() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    check_all(&running, Configured::Token).await;
    running.stop().await;
}

#[tokio::test]
async fn unset_token_closes_the_door() {
    let running = Running::start(&[]).await;
    check_all(&running, Configured::Nothing).await;
    running.stop().await;
}

#[tokio::test]
async fn roles_reach_as_far_as_their_scopes() {
    let tokens = [
        ("EE_ADMIN_TOKEN", ADMIN),
        ("EE_LAUNCHER_TOKEN", LAUNCHER),
        ("EE_UPTIME_TOKEN", UPTIME),
    ];
    let running = Running::start(&tokens).await;
    assert_eq!(running.get_as(ADMIN, "/v1/apps").await.0, 200);
    assert_eq!(running.get_as(LAUNCHER, "/v1/apps").await.0, 200);
    let (status, body) = running.get_as(UPTIME, "/v1/apps").await;
    assert_eq!(
        (status, body["code"].as_str()),
        (403, Some("scope_missing"))
    );
    running.stop().await;
}

#[tokio::test]
async fn the_proxy_route_follows_its_setting() {
    let call = async |setting: &str, token: Option<&str>| -> (u16, String) {
        let pairs = [("EE_ADMIN_TOKEN", ADMIN), ("EE_PROXY_API", setting)];
        let running = Running::start(&pairs).await;
        let mut request = running.request(Method::POST, "/v1/proxy/nobody").body("{}");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let (status, body) = answer(request.send().await.expect("answered")).await;
        running.stop().await;
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(call("public", None).await.0, 404);
    assert_eq!(call("token", None).await, (401, "token_missing".into()));
    assert_eq!(call("token", Some(ADMIN)).await.0, 404);
    assert_eq!(
        call("off", Some(ADMIN)).await,
        (403, "proxy_api_off".into())
    );
}

#[tokio::test]
async fn bad_tokens_are_rate_limited_but_a_right_one_passes() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let mut last = (0, Value::Null);
    for _ in 0..11 {
        last = running.get_as("wrong", "/v1/apps").await;
    }
    assert_eq!(
        (last.0, last.1["code"].as_str()),
        (429, Some("rate_limited"))
    );
    let wrong = running
        .request(Method::GET, "/v1/apps")
        .bearer_auth("wrong")
        .send()
        .await;
    let wait = wrong.expect("answered").headers()["retry-after"]
        .to_str()
        .map(str::to_owned);
    assert!(wait.expect("text").parse::<u64>().expect("seconds") > 0);
    assert_eq!(running.get_as(ADMIN, "/v1/apps").await.0, 200);
    running.stop().await;
}

#[tokio::test]
async fn loopback_is_no_credential() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let forged = running
        .request(Method::GET, "/v1/apps")
        .header("x-forwarded-for", "127.0.0.1");
    let (status, body) = answer(forged.send().await.expect("answered")).await;
    assert_eq!(
        (status, body["code"].as_str()),
        (401, Some("token_missing"))
    );
    running.stop().await;
}
