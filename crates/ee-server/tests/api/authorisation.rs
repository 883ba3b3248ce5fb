//! Every route x {no token, malformed, unknown, expired, revoked, each role, a bound token with
//! the right and with a wrong resource} x {all roles configured, admin only, nothing}.
//!
//! A route of the router without a row here fails the test, and so does a row without a route.
//! What each caller should hear is computed from the route's access rule and the roles' scopes.

use ee_protocol::access::{Role, Scope};
use ee_server::http::routes::{Access, routes};
use reqwest::Method;
use serde_json::{Value, json};

use super::running::{ADMIN, LAUNCHER, Running, UPTIME, answer};

/// What a bound token meets at a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    /// The gate, if the route is not for bound tokens at all.
    Gate,
    /// Tokens of this resource pass, those of another of its kind hear `resource_denied`.
    Only(&'static str),
    /// A list, or an id that says nothing: it passes, and shows what the token may see.
    Filtered,
    /// No bound token of these passes, with this code.
    Refused(&'static str),
}

/// What a route answers to a caller who may call it.
struct Row {
    method: &'static str,
    route: &'static str,
    path: &'static str,
    body: &'static str,
    passes: u16,
    own: Own,
}

const fn row(method: &'static str, route: &'static str, path: &'static str, passes: u16) -> Row {
    Row {
        method,
        route,
        path,
        body: "{}",
        passes,
        own: Own::Gate,
    }
}

impl Row {
    /// The route is for bound tokens too.
    const fn own(mut self, own: Own) -> Self {
        self.own = own;
        self
    }

    /// What is sent, where the resource stands in the body.
    const fn body(mut self, body: &'static str) -> Self {
        self.body = body;
        self
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
    row("GET", "/v1/apps", "/v1/apps", 200).own(Own::Filtered),
    row("GET", "/v1/apps/{app}", "/v1/apps/nobody", 404).own(Own::Only("app=nobody")),
    row(
        "GET",
        "/v1/apps/{app}/explain",
        "/v1/apps/nobody/explain",
        404,
    )
    .own(Own::Only("app=nobody")),
    row("GET", "/v1/allowlists", "/v1/allowlists", 200),
    row(
        "POST",
        "/v1/allowlists/acknowledge",
        "/v1/allowlists/acknowledge",
        400,
    ),
    row("POST", "/v1/proxy/{app}", "/v1/proxy/nobody", 404),
    row("POST", "/v1/auth/bootstrap", "/v1/auth/bootstrap", 201),
    row("GET", "/v1/whoami", "/v1/whoami", 200),
    row("GET", "/v1/audit", "/v1/audit", 200),
    row("GET", "/v1/tokens", "/v1/tokens", 200),
    row("POST", "/v1/tokens", "/v1/tokens", 400),
    row(
        "POST",
        "/v1/tokens/{id}/rotate",
        "/v1/tokens/000000000000/rotate",
        404,
    ),
    row("DELETE", "/v1/tokens/{id}", "/v1/tokens/000000000000", 404),
    row("POST", "/v1/credits/purchase", "/v1/credits/purchase", 400),
    row("POST", "/v1/credits/transfer", "/v1/credits/transfer", 400)
        .body(r#"{"from_account":"alice","to_account":"bob","amount_usd":1}"#)
        .own(ALICE),
    row("GET", "/v1/balances/{account}", "/v1/balances/alice", 200).own(ALICE),
    row("POST", "/v1/transfers", "/v1/transfers", 400)
        .body(r#"{"from_account":"alice","to_account":"alice","amount_usd":1,"id":"t"}"#)
        .own(ALICE),
    row("POST", "/v1/transfers/batch", "/v1/transfers/batch", 200)
        .body(
            r#"{"transfers":[{"from_account":"alice","to_account":"bob","amount_usd":1,"id":"b"}]}"#,
        )
        .own(ALICE),
    row("GET", "/v1/transfers/{id}", "/v1/transfers/0", 404).own(Own::Filtered),
    row("POST", "/v1/payouts", "/v1/payouts", 400),
    row("GET", "/v1/accounts", "/v1/accounts", 200).own(Own::Filtered),
    row("GET", "/v1/accounts/{account}", "/v1/accounts/alice", 404).own(ALICE),
    row(
        "GET",
        "/v1/accounts/{account}/entries",
        "/v1/accounts/alice/entries",
        404,
    )
    .own(ALICE),
    row(
        "GET",
        "/v1/accounts/{account}/usage",
        "/v1/accounts/alice/usage",
        404,
    )
    .own(ALICE),
    row("POST", "/v1/usage/report", "/v1/usage/report", 400),
    row("POST", "/v1/locks", "/v1/locks", 400)
        .body(
            r#"{"account_id":"alice","node_id":"nowhere","vcpus":1,"period":"2026-11-22","id":"l"}"#,
        )
        .own(ALICE),
    row("GET", "/v1/locks", "/v1/locks?account=alice", 200).own(ALICE),
    row("GET", "/v1/locks/{id}", "/v1/locks/0", 404).own(Own::Filtered),
    row("DELETE", "/v1/locks/{id}", "/v1/locks/0", 404).own(Own::Filtered),
    row("GET", "/v1/apps/{app}/payer", "/v1/apps/nobody/payer", 200).own(Own::Filtered),
    row("PUT", "/v1/apps/{app}/payer", "/v1/apps/nobody/payer", 400).own(NEEDS_APPS_WRITE),
    row("DELETE", "/v1/apps/{app}/payer", "/v1/apps/nobody/payer", 200).own(NEEDS_APPS_WRITE),
    row(
        "POST",
        "/v1/settlements/{period}/finalize",
        "/v1/settlements/nonsense/finalize",
        400,
    ),
    row("GET", "/v1/settlements", "/v1/settlements", 200),
    row("POST", "/v1/ledger/clock", "/v1/ledger/clock", 400),
    row("GET", "/v1/settlements/{period}", "/v1/settlements/2026-11-22", 200),
    row(
        "GET",
        "/v1/settlements/{period}/{node}",
        "/v1/settlements/latest/nobody",
        404,
    ),
    row("POST", "/v1/facts", "/v1/facts", 400),
    row("POST", "/v1/abuse/reports", "/v1/abuse/reports", 400),
    row("GET", "/v1/abuse/reports", "/v1/abuse/reports", 200),
    row(
        "POST",
        "/v1/abuse/reports/{id}/authorize",
        "/v1/abuse/reports/0/authorize",
        400,
    ),
    row("POST", "/v1/slashes", "/v1/slashes", 400),
    row("POST", "/v1/slashes/{id}/authorize", "/v1/slashes/0/authorize", 400),
    row("POST", "/v1/nodes/register", "/v1/nodes/register", 200)
        .body(r#"{"node_id":"n1","price_usd":0.04,"allow_update":true}"#)
        .own(Own::Only("node=n1")),
    row("GET", "/v1/nodes", "/v1/nodes", 200).own(Own::Filtered),
    row("GET", "/v1/nodes/{node}", "/v1/nodes/n1", 200).own(Own::Only("node=n1")),
    row("POST", "/v1/nodes/{node}/stake", "/v1/nodes/n1/stake", 404)
        .body(r#"{"action":"deposit","amount_usd":1,"account_id":"alice","id":"s"}"#)
        .own(ALICE),
    row("GET", "/v1/prices", "/v1/prices", 200),
    row("GET", "/v1/ledger/trial-balance", "/v1/ledger/trial-balance", 200),
    row("GET", "/v1/ledger/head", "/v1/ledger/head", 200),
];

const ALICE: Own = Own::Only("account=alice");
/// An account's own token pays, but to change an app it needs a scope more.
const NEEDS_APPS_WRITE: Own = Own::Refused("scope_missing");

/// Which credentials exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Configured {
    /// A token of every role.
    All,
    /// The admin's alone.
    AdminOnly,
    Nothing,
}

/// What a caller presents.
#[derive(Debug, Clone)]
#[expect(
    dead_code,
    reason = "why a token is dead is shown by Debug when a case fails"
)]
enum Caller {
    NoToken,
    Malformed,
    /// A token that opens nothing: unknown, expired, revoked.
    Dead(&'static str, String),
    /// A live token, its scopes, and what it is bound to.
    Live(Live),
    Bootstrap(String),
}

#[derive(Debug, Clone)]
#[expect(dead_code, reason = "the role is shown by Debug when a case fails")]
struct Live {
    token: String,
    role: Role,
    scopes: Vec<Scope>,
    bound: Option<&'static str>,
}

/// Bound tokens: of each kind one that some row calls its own, and a stranger's.
const BOUND: &[(Role, &str)] = &[
    (Role::Viewer, "app=nobody"),
    (Role::Viewer, "app=stranger"),
    (Role::Account, "account=alice"),
    (Role::Account, "account=stranger"),
    (Role::Node, "node=n1"),
    (Role::Node, "node=stranger"),
    (Role::Operator, "node=stranger"),
];

type Answer = (u16, &'static str);

fn expected(row: &Row, access: Access, caller: &Caller, configured: Configured) -> Answer {
    let pass = (row.passes, "");
    let (scope, whole) = match access {
        Access::Public | Access::ProxyApi => return pass,
        Access::Bootstrap => return bootstrap(row, caller, configured),
        Access::Scope(scope) => (Some(scope), true),
        Access::Own(scope) => (Some(scope), false),
        Access::AnyToken => (None, false),
    };
    let home = scope.map_or(Role::Admin, Scope::home);
    let home_is_closed = match configured {
        Configured::All => false,
        Configured::AdminOnly => home != Role::Admin,
        Configured::Nothing => true,
    };
    let refusal = match caller {
        Caller::NoToken => (401, "token_missing"),
        Caller::Malformed | Caller::Dead(..) | Caller::Bootstrap(_) => (401, "token_invalid"),
        Caller::Live(live) if scope.is_some_and(|scope| !live.scopes.contains(&scope)) => {
            (403, "scope_missing")
        }
        Caller::Live(live) => match (live.bound, whole, row.own) {
            (None, _, _) | (Some(_), false, Own::Filtered) => return pass,
            (Some(_), true, _) => (403, "resource_denied"),
            // Inside the gate: nobody's role matters any more.
            (Some(bound), false, Own::Only(own)) if reaches(bound, own) => return pass,
            (Some(_), false, Own::Only(_)) => return (403, "resource_denied"),
            (Some(_), false, Own::Refused(code)) => return (403, code),
            (Some(_), false, Own::Gate) if scope.is_none() => return pass,
            (Some(_), false, Own::Gate) => panic!("{}: say what it is to bound tokens", row.route),
        },
    };
    match home_is_closed {
        true => (403, "role_not_configured"),
        false => refusal,
    }
}

/// A node's earnings are the account of its id.
fn reaches(bound: &str, own: &str) -> bool {
    let earnings = bound.replacen("node=", "account=", 1);
    bound == own || earnings == own
}

fn bootstrap(row: &Row, caller: &Caller, configured: Configured) -> Answer {
    match (configured, caller) {
        (Configured::All | Configured::AdminOnly, _) => (403, "bootstrap_closed"),
        (Configured::Nothing, Caller::NoToken) => (401, "token_missing"),
        (Configured::Nothing, Caller::Bootstrap(_)) => (row.passes, ""),
        (Configured::Nothing, Caller::Malformed | Caller::Dead(..) | Caller::Live(_)) => {
            (401, "token_invalid")
        }
    }
}

/// Each call comes from another address, because wrong tokens are counted by address.
async fn call(running: &Running, row: &Row, caller: &Caller, nth: usize) -> (u16, Value) {
    let method = Method::from_bytes(row.method.as_bytes()).expect("method");
    let address = format!("10.1.{}.{}", nth / 250, nth % 250);
    let mut request = running
        .request(method, row.path)
        .header("x-forwarded-for", address);
    if row.method != "GET" {
        request = request
            .header("content-type", "application/json")
            .body(row.body);
    }
    request = match caller {
        Caller::NoToken => request,
        Caller::Malformed => request.header("authorization", "Basic YWRtaW46YWRtaW4="),
        Caller::Dead(_, token) | Caller::Live(Live { token, .. }) | Caller::Bootstrap(token) => {
            request.bearer_auth(token)
        }
    };
    answer(request.send().await.expect("answered")).await
}

fn route_of(row: &Row) -> Access {
    let found = routes().find(|r| r.path == row.route && r.method.as_str() == row.method);
    found
        .unwrap_or_else(|| panic!("row without a route: {} {}", row.method, row.route))
        .access
}

async fn check_all(running: &Running, callers: &[Caller], configured: Configured) {
    // The bootstrap comes last: its success configures the admin.
    let (last, rows): (Vec<&Row>, Vec<&Row>) = ROWS
        .iter()
        .partition(|row| route_of(row) == Access::Bootstrap);
    let cases = rows.into_iter().chain(last);
    let cases = cases.flat_map(|row| callers.iter().map(move |caller| (row, caller)));
    for (nth, (row, caller)) in cases.enumerate() {
        let (status, body) = call(running, row, caller, nth).await;
        let (wanted, code) = expected(row, route_of(row), caller, configured);
        let name = format!("{} {} {caller:?} {configured:?}", row.method, row.path);
        assert_eq!(status, wanted, "{name}: {body}");
        if !code.is_empty() {
            assert_eq!(body["code"], code, "{name}");
        }
    }
}

/// Makes a token by the API.
async fn make(running: &Running, request: Value) -> (String, String) {
    let asked = running
        .request(Method::POST, "/v1/tokens")
        .bearer_auth(ADMIN);
    let asked = asked.header("content-type", "application/json");
    let sent = asked.body(request.to_string()).send().await;
    let (status, body) = answer(sent.expect("answered")).await;
    assert_eq!(status, 201, "{body}");
    let text = |name: &str| body[name].as_str().expect("text").to_owned();
    (text("token"), text("id"))
}

async fn live(running: &Running, role: Role, bound: Option<&'static str>) -> Caller {
    let resources: Vec<&str> = bound.into_iter().collect();
    let request = json!({"role": role.as_str(), "resources": resources});
    Caller::Live(Live {
        token: make(running, request).await.0,
        role,
        scopes: role.scopes().into_iter().collect(),
        bound,
    })
}

/// Tokens that nobody may use any more.
async fn dead(running: &Running) -> Vec<Caller> {
    let (expired, _) = make(running, json!({"role": "admin", "expires_in_s": 1})).await;
    let (revoked, id) = make(running, json!({"role": "admin"})).await;
    let delete = running.request(Method::DELETE, &format!("/v1/tokens/{id}"));
    let done = delete.bearer_auth(ADMIN).send().await.expect("answered");
    assert_eq!(done.status(), 200);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    vec![
        Caller::Dead("expired", expired),
        Caller::Dead("revoked", revoked),
    ]
}

/// Nobody, nonsense, and a stranger.
fn strangers() -> Vec<Caller> {
    let unknown = "not-the-token-0123456789abcdef".to_owned();
    vec![
        Caller::NoToken,
        Caller::Malformed,
        Caller::Dead("unknown", unknown),
    ]
}

#[test]
fn every_route_has_a_row() {
    for route in routes() {
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
    let tokens = [
        ("EE_ADMIN_TOKEN", ADMIN),
        ("EE_LAUNCHER_TOKEN", LAUNCHER),
        ("EE_UPTIME_TOKEN", UPTIME),
    ];
    let running = Running::start(&tokens).await;
    let mut callers = strangers();
    callers.extend(dead(&running).await);
    for role in Role::ALL {
        if !matches!(role, Role::Node | Role::Account) {
            callers.push(live(&running, *role, None).await);
        }
    }
    for (role, bound) in BOUND {
        callers.push(live(&running, *role, Some(bound)).await);
    }
    check_all(&running, &callers, Configured::All).await;
    running.stop().await;
}

#[tokio::test]
async fn a_route_whose_role_has_no_token_says_so_first() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let mut callers = strangers();
    callers.push(live(&running, Role::Admin, None).await);
    callers.push(live(&running, Role::Viewer, None).await);
    check_all(&running, &callers, Configured::AdminOnly).await;
    running.stop().await;
}

#[tokio::test]
async fn unset_token_closes_the_door() {
    let running = Running::start(&[]).await;
    let mut callers = strangers();
    callers.push(Caller::Bootstrap(running.bootstrap_token()));
    check_all(&running, &callers, Configured::Nothing).await;
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
