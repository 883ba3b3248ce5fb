//! `/v1/authz` and `/v1/tls-check` as reverse proxies see them (ROUTING 7).

use reqwest::{Method, Response};

use super::running::{ADMIN, Running};

const FIELDS: [&str; 7] = [
    "x-ee-reason",
    "x-ee-app",
    "x-ee-node",
    "x-ee-network",
    "x-ee-sealed",
    "x-ee-binding",
    "x-ee-last-attest",
];

fn check_refusal(response: &Response, reason: &str, case: &str) {
    assert_eq!(response.status().as_u16(), 403, "{case}");
    for field in FIELDS {
        assert!(
            response.headers().contains_key(field),
            "{case}: {field} is missing"
        );
    }
    assert_eq!(response.headers()["x-ee-reason"], reason, "{case}");
    assert_eq!(response.headers()["cache-control"], "max-age=2", "{case}");
    assert!(
        response.headers()["etag"]
            .to_str()
            .is_ok_and(|tag| tag.starts_with("W/")),
        "{case}"
    );
}

#[tokio::test]
async fn nginx_auth_request_sees_403_not_500() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    for (path, reason) in [
        ("/v1/authz/nobody", "unknown_app"),
        ("/v1/authz/NOT_A_NAME", "invalid_app_name"),
        ("/v1/authz/%ff%fe", "invalid_app_name"),
        ("/v1/authz/%00", "invalid_app_name"),
        ("/v1/authz/a%2fb", "invalid_app_name"),
        ("/v1/authz", "invalid_app_name"),
        ("/v1/authz/nobody?app=victim&x=%zz", "unknown_app"),
    ] {
        check_refusal(&running.get(path).await, reason, path);
    }
    running.stop().await;
}

#[tokio::test]
async fn query_never_chooses_the_app() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let response = running
        .get("/v1/authz?app=victim&domain=victim.app.example.com")
        .await;
    check_refusal(&response, "invalid_app_name", "query");
    assert_eq!(response.headers()["x-ee-app"], "");
    assert_eq!(
        response.headers()["vary"],
        "X-Forwarded-Host",
        "one path for all apps: caches must tell them apart"
    );
    running.stop().await;
}

#[tokio::test]
async fn the_forwarded_host_counts_from_trusted_proxies_only() {
    let ask = async |trusted: &str, host: &str| {
        let pairs = [("EE_ADMIN_TOKEN", ADMIN), ("EE_TRUSTED_PROXIES", trusted)];
        let running = Running::start(&pairs).await;
        let request = running
            .request(Method::GET, "/v1/authz")
            .header("x-forwarded-host", host);
        let response = request.send().await.expect("answered");
        let reason = response.headers()["x-ee-reason"]
            .to_str()
            .expect("text")
            .to_owned();
        assert_eq!(response.status().as_u16(), 403);
        running.stop().await;
        reason
    };
    assert_eq!(
        ask("127.0.0.0/8", "nobody.app.example.com").await,
        "unknown_app"
    );
    assert_eq!(
        ask("127.0.0.0/8", "nobody.elsewhere.com").await,
        "invalid_app_name"
    );
    assert_eq!(ask("", "nobody.app.example.com").await, "invalid_app_name");
    assert_eq!(
        ask("10.0.0.0/8", "nobody.app.example.com").await,
        "invalid_app_name"
    );
}

#[tokio::test]
async fn tls_check_refuses_unregistered_hosts() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    for (query, status) in [
        ("?domain=control.example.com", 200),
        ("?domain=CONTROL.example.com", 200),
        ("?domain=nobody.app.example.com", 403),
        ("?domain=app.example.com", 403),
        ("?domain=evil.example.net", 403),
        ("?domain=", 403),
        ("", 403),
        ("?domain=%ff", 403),
    ] {
        let response = running.get(&format!("/v1/tls-check{query}")).await;
        assert_eq!(response.status().as_u16(), status, "{query}");
    }
    running.stop().await;
}
