//! Managed tokens from their making to their end, through the API.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use super::running::{ADMIN, Running, answer};

async fn send(running: &Running, token: &str, method: Method, path: &str, body: Value) -> Sent {
    let request = running.request(method, path).bearer_auth(token);
    let request = request.header("content-type", "application/json");
    let sent = request.body(body.to_string()).send().await;
    let (status, body) = answer(sent.expect("answered")).await;
    Sent { status, body }
}

struct Sent {
    status: u16,
    body: Value,
}

impl Sent {
    fn says(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    fn text(&self, name: &str) -> String {
        let text = self.body[name].as_str();
        text.unwrap_or_else(|| panic!("{name} in {}", self.body))
            .to_owned()
    }
}

async fn make(running: &Running, request: Value) -> Sent {
    let made = send(running, ADMIN, Method::POST, "/v1/tokens", request).await;
    assert_eq!(made.status, 201, "{}", made.body);
    made
}

async fn whoami(running: &Running, token: &str) -> (u16, Value) {
    running.get_as(token, "/v1/whoami").await
}

#[tokio::test]
async fn a_token_says_who_it_is_and_what_it_may() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let (status, admin) = whoami(&running, ADMIN).await;
    assert_eq!((status, &admin["name"]), (200, &json!("env:admin")));
    assert_eq!(admin["principal"], "role:admin");
    let request = json!({"role": "account", "resources": ["account=alice"], "name": "wallet"});
    let made = make(&running, request).await;
    let token = made.text("token");
    assert!(token.starts_with(&format!("ee_account_{}_", made.text("id"))));
    let (_, alice) = whoami(&running, &token).await;
    assert_eq!(alice["principal"], "account:alice");
    assert_eq!(alice["scopes"], json!(["ledger:read", "ledger:transfer"]));
    assert_eq!(alice["resources"], json!(["account=alice"]));
    assert_eq!(alice["expires_at"], made.body["expires_at"]);
    let (_, list) = running.get_as(ADMIN, "/v1/tokens").await;
    let listed = &list["tokens"][0];
    assert_eq!(
        (&listed["name"], &listed["state"]),
        (&json!("wallet"), &json!("active"))
    );
    assert!(
        !list.to_string().contains(&token[20..]),
        "no list shows a token"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_rotated_token_has_its_grace_and_a_revoked_one_none() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let made = make(&running, json!({"role": "viewer"})).await;
    let (first, id) = (made.text("token"), made.text("id"));
    let rotate = format!("/v1/tokens/{id}/rotate");
    let rotated = send(&running, ADMIN, Method::POST, &rotate, json!({})).await;
    let second = rotated.text("token");
    assert_eq!(rotated.text("id"), id);
    assert!(rotated.body["previous_until"].is_string());
    assert_eq!(whoami(&running, &first).await.0, 200);
    assert_eq!(whoami(&running, &second).await.0, 200);
    let hard = json!({"grace_s": 0});
    let third = send(&running, ADMIN, Method::POST, &rotate, hard)
        .await
        .text("token");
    assert_eq!(whoami(&running, &first).await.0, 401);
    assert_eq!(whoami(&running, &second).await.0, 401);
    assert_eq!(whoami(&running, &third).await.0, 200);
    let path = format!("/v1/tokens/{id}");
    let revoked = send(&running, ADMIN, Method::DELETE, &path, json!({})).await;
    assert_eq!(
        (revoked.status, revoked.text("state").as_str()),
        (200, "revoked")
    );
    let (status, refused) = whoami(&running, &third).await;
    assert_eq!((status, &refused["code"]), (401, &json!("token_invalid")));
    let again = send(&running, ADMIN, Method::POST, &rotate, json!({})).await;
    assert_eq!(again.says(), (404, "token_not_found"));
    running.stop().await;
}

#[tokio::test]
async fn tokens_outlive_a_restart_and_nothing_but_hashes_is_kept() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let token = make(&running, json!({"role": "auditor"}))
        .await
        .text("token");
    let dir = running.stop().await;
    for file in std::fs::read_dir(dir.path()).expect("readable") {
        let path = file.expect("entry").path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let secret = &token.as_bytes()[token.len() - 40..];
        let found = bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!found, "{} holds the token", path.display());
    }
    let running = Running::start_in(&dir, &[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let running = running.expect("started again");
    let (status, who) = whoami(&running, &token).await;
    assert_eq!((status, &who["role"]), (200, &json!("auditor")));
    running.stop().await;
    drop(Arc::clone(&dir));
}

#[tokio::test]
async fn nobody_gives_away_what_he_does_not_have() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let narrow = json!({"role": "admin", "scopes": ["tokens:admin", "apps:read"]});
    let narrow = make(&running, narrow).await.text("token");
    let path = "/v1/tokens";
    let full = send(
        &running,
        &narrow,
        Method::POST,
        path,
        json!({"role": "admin"}),
    )
    .await;
    assert_eq!(full.says(), (403, "scope_missing"));
    let reader = json!({"role": "viewer", "scopes": ["apps:read"]});
    assert_eq!(
        send(&running, &narrow, Method::POST, path, reader)
            .await
            .status,
        201
    );
    let minting = make(&running, json!({"role": "admin"})).await.text("id");
    let rotate = format!("/v1/tokens/{minting}/rotate");
    let stolen = send(&running, &narrow, Method::POST, &rotate, json!({})).await;
    assert_eq!(stolen.says(), (403, "scope_missing"));
    running.stop().await;
}

#[tokio::test]
async fn a_managed_token_has_its_rate_and_says_so() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let token = make(&running, json!({"role": "viewer"}))
        .await
        .text("token");
    let ask = || {
        running
            .request(Method::GET, "/v1/whoami")
            .bearer_auth(&token)
            .send()
    };
    let first = ask().await.expect("answered");
    assert_eq!(first.headers()["ratelimit-policy"], "\"token\";q=600;w=60");
    assert_eq!(first.headers()["ratelimit"], "\"token\";r=599;t=1");
    let mut last = first;
    for _ in 0..1_200 {
        last = ask().await.expect("answered");
        if last.status() != 200 {
            break;
        }
    }
    assert_eq!(
        last.status(),
        429,
        "600 at once and ten a second after that"
    );
    assert_eq!(last.headers()["retry-after"], "1");
    assert_eq!(whoami(&running, ADMIN).await.0, 200);
    running.stop().await;
}

#[tokio::test]
async fn a_bound_reader_of_apps_sees_no_others() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let request = json!({"role": "viewer", "resources": ["app=hello"]});
    let token = make(&running, request).await.text("token");
    let (status, list) = running.get_as(&token, "/v1/apps").await;
    assert_eq!((status, &list["apps"]), (200, &json!([])));
    assert_eq!(running.get_as(&token, "/v1/apps/hello").await.0, 404);
    let (status, other) = running.get_as(&token, "/v1/apps/other").await;
    assert_eq!((status, &other["code"]), (403, &json!("resource_denied")));
    running.stop().await;
}

#[tokio::test]
async fn tokens_are_listed_page_by_page() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    for _ in 0..5 {
        make(&running, json!({"role": "viewer"})).await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/tokens?limit=2".to_owned();
    loop {
        let (status, page) = running.get_as(ADMIN, &path).await;
        assert_eq!(status, 200, "{page}");
        let tokens = page["tokens"].as_array().expect("a list");
        seen.extend(tokens.iter().map(|token| token["id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/tokens?limit=2&cursor={cursor}");
    }
    let ids: std::collections::BTreeSet<String> = seen.iter().map(Value::to_string).collect();
    assert_eq!((seen.len(), ids.len()), (5, 5));
    let (_, forged) = running.get_as(ADMIN, "/v1/tokens?cursor=abc").await;
    assert_eq!(forged["code"], "invalid_field");
    running.stop().await;
}

#[tokio::test]
async fn bodies_that_are_no_request_for_a_token_are_400() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    for (body, code) in [
        ("", "invalid_json"),
        ("[]", "invalid_json"),
        ("{\"role\":", "invalid_json"),
        ("{}", "missing_fields"),
        ("{\"role\":\"root\"}", "invalid_field"),
        ("{\"role\":\"viewer\",\"scope\":1}", "unknown_field"),
        ("{\"role\":\"viewer\",\"resources\":{}}", "invalid_field"),
        (
            "{\"role\":\"viewer\",\"expires_in_s\":1e400}",
            "invalid_field",
        ),
    ] {
        let request = running
            .request(Method::POST, "/v1/tokens")
            .bearer_auth(ADMIN);
        let request = request.header("content-type", "application/json");
        let sent = request.body(body).send().await.expect("answered");
        let (status, answer) = answer(sent).await;
        assert_eq!((status, &answer["code"]), (400, &json!(code)), "{body}");
    }
    running.stop().await;
}

#[tokio::test]
async fn every_change_of_a_token_is_in_the_audit_newest_first() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let auditor = make(&running, json!({"role": "auditor"})).await;
    let id = auditor.text("id");
    let made = make(&running, json!({"role": "viewer"})).await;
    let gone = format!("/v1/tokens/{}", made.text("id"));
    send(&running, ADMIN, Method::DELETE, &gone, json!(null)).await;
    let token = auditor.text("token");
    let (status, page) = running.get_as(&token, "/v1/audit?limit=2").await;
    assert_eq!(status, 200, "{page}");
    let row = |page: &Value, at: usize, name: &str| page["audit"][at][name].clone();
    assert_eq!(row(&page, 0, "action"), "token.revoke");
    assert_eq!(row(&page, 0, "actor"), "env:admin");
    assert_eq!(row(&page, 1, "action"), "token.create");
    let cursor = page["next_cursor"].as_str().expect("there is more");
    let path = format!("/v1/audit?limit=2&cursor={cursor}");
    let (_, rest) = running.get_as(&token, &path).await;
    assert_eq!(row(&rest, 0, "subject"), format!("token:{id}"));
    assert_eq!(row(&rest, 0, "seq"), 1);
    assert_eq!(rest["next_cursor"], Value::Null);
    let (status, refused) = running.get_as(&made.text("token"), "/v1/audit").await;
    assert_eq!((status, &refused["code"]), (401, &json!("token_invalid")));
    running.stop().await;
}
