//! U+0000 ends at the edge: JSON can say it, PostgreSQL's text cannot hold it, so a command with it
//! would be our failure.
//!
//! What to send comes from the description of the API: a route or a member that is added later is
//! tested, or the test says what it lacks.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{super::running::ADMIN, World, hours_ago};

/// A good value for each member of a request that may be text.
fn good(path: &str, member: &str) -> Value {
    match member {
        "account_id" | "from_account" => json!("alice"),
        "to_account" => json!("bob"),
        "node_id" => json!("n1"),
        "amount_usd" | "vcpu_hours" => json!("0.5"),
        "max_price_usd" | "price_usd_per_vcpu_hour" | "stake_amount_usd" => json!("0.04"),
        "id" | "external_ref" | "usage_id" | "source" => json!("x-1"),
        "reason" if path == "/v1/slashes" => json!("attestation_fraud"),
        "reason" | "reported_by" | "authorized_by" | "evidence" => json!("as seen"),
        "period_start" | "from" => json!(hours_ago(2)),
        "period_end" | "until" | "effective_from" | "now" => json!(hours_ago(1)),
        "period" => json!("latest"),
        "mode" => json!("metered"),
        "track" => json!("health"),
        "stake_tier" => json!("economy"),
        "action" if path.ends_with("/stake") => json!("deposit"),
        "action" => json!("deny"),
        "transfers" => json!([{"id": "x-2", "from_account": "alice", "to_account": "bob",
            "amount_usd": "0.01"}]),
        _ => panic!("{path}: what is a good {member}?"),
    }
}

/// The members that may be text, of each route that takes a body.
fn described(api: &Value) -> Vec<(Method, String, Vec<String>)> {
    let mut found = Vec::new();
    for (path, operations) in api["paths"].as_object().expect("paths") {
        for (verb, operation) in operations.as_object().expect("operations") {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(properties) = schema["properties"].as_object() else {
                continue;
            };
            let is_text = |schema: &Value| schema["type"].to_string().contains("string");
            let texts = properties.iter().filter(|(_, schema)| is_text(schema));
            let texts = texts.map(|(name, _)| name.clone()).collect();
            let method = Method::from_bytes(verb.to_ascii_uppercase().as_bytes()).expect("a verb");
            found.push((method, path.clone(), texts));
        }
    }
    found
}

async fn answer(
    world: &World,
    method: &Method,
    path: &str,
    body: &Value,
    key: usize,
) -> (u16, String) {
    let path = path
        .replace("{id}", "00000000000070008000000000000000")
        .replace("{app}", "hello");
    let path = path
        .replace("{period}", "latest")
        .replace("{node}", "n1")
        .replace("{account}", "alice");
    let (key, body) = (format!("key-{key}"), body.to_string());
    let read = world.call(method.clone(), ADMIN, &path, Some(&key), Some(&body));
    let read = read.await;
    let code = read.body["code"].as_str().unwrap_or_default();
    (read.status, code.to_owned())
}

#[tokio::test]
async fn zero_bytes_are_refused_by_every_route_in_every_member() {
    let world = World::start().await;
    world.purchase("alice", "1000").await;
    world.purchase("bob", "1").await;
    world.node("n1", "0.04").await;
    let routes = described(&world.get(ADMIN, "/openapi.json").await.body);
    assert!(routes.len() > 15, "{routes:?}");
    let (mut key, mut checked) = (0, 0);
    for (method, path, texts) in &routes {
        // Only a ledger under test has a clock to set.
        if path == "/v1/ledger/clock" {
            continue;
        }
        let mut body: Map<String, Value> = texts
            .iter()
            .map(|name| (name.clone(), good(path, name)))
            .collect();
        if path == "/v1/locks" {
            body.insert("period".into(), Value::Null);
        }
        if path.ends_with("/locks") || path.ends_with("/payer") {
            body.insert("vcpus".into(), json!(1));
        }
        if path.ends_with("/batch") {
            body.insert("transfers".into(), good(path, "transfers"));
        }
        key += 1;
        let sound = answer(&world, method, path, &json!(body), key).await;
        // What the books refuse was read: only then is a later refusal about the character.
        let (status, code) = &sound;
        let of_shape = ["invalid_", "missing_", "unknown_"];
        assert!(
            *status < 500 && !of_shape.iter().any(|word| code.starts_with(word)),
            "{method} {path} {sound:?}: {body:?}"
        );
        for name in texts {
            let mut spoilt = body.clone();
            let text = spoilt[name].as_str().unwrap_or_default();
            spoilt.insert(name.clone(), json!(format!("{text}\0")));
            key += 1;
            let refused = answer(&world, method, path, &json!(spoilt), key).await;
            assert!(
                refused.0 == 400 && refused != sound,
                "{method} {path}: {name}: {refused:?}"
            );
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked} members");
    let mut batch = good("", "transfers");
    batch[0]["id"] = json!("x\0");
    let body = json!({ "transfers": batch });
    let read = world.keyed(ADMIN, "/v1/transfers/batch", "batch", &body);
    assert_eq!(read.await.status, 400);
    for member in ["name", "role"] {
        let mut token = json!({"role": "viewer", "name": "x"});
        token[member] = json!("viewer\0");
        assert_eq!(world.post(ADMIN, "/v1/tokens", &token).await.status, 400);
    }
    assert_eq!(world.sum().await, "0");
    world.stop().await;
}
