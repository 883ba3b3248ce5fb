//! Nodes: price, capacity, stake, and whose word counts.

use serde_json::{Value, json};

use super::{
    super::running::{ADMIN, LAUNCHER},
    World,
};

const REGISTER: &str = "/v1/nodes/register";

#[tokio::test]
async fn a_node_is_registered_as_the_seed_did() {
    let world = World::start().await;
    let body = json!({"node_id": "n1", "price_usd_per_vcpu_hour": 0.04, "stake_amount_usd": 100,
                      "stake_tier": "standard"});
    let made = world.post(ADMIN, REGISTER, &body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let node = &made.body["node"];
    assert_eq!(
        (&node["node_id"], &node["status"]),
        (&json!("n1"), &json!("active"))
    );
    assert_eq!(node["price_cents_per_vcpu_hour"], 4);
    assert_eq!(node["price_micro_usd_per_vcpu_hour"], "40000");
    assert_eq!(
        (&node["stake_tier"], &node["stake_amount_cents"]),
        (&json!("standard"), &json!(10_000))
    );
    assert_eq!(
        (&node["attestation_status"], &node["health_status"]),
        (&json!("unknown"), &json!("unknown"))
    );
    assert!(
        made.body["node_token"]
            .as_str()
            .expect("shown once")
            .starts_with("ee_node_")
    );
    let again = world.post(ADMIN, REGISTER, &body).await;
    assert_eq!(again.refusal(), (400, "node_exists"));
    let shown = world.get(ADMIN, "/v1/nodes/n1").await;
    assert_eq!(&shown.body, node);
    let unknown = world.get(ADMIN, "/v1/nodes/nobody").await;
    assert_eq!(unknown.refusal(), (404, "node_not_found"));
    world.stop().await;
}

#[tokio::test]
async fn absent_fields_stay() {
    let world = World::start().await;
    let body = json!({"node_id": "n1", "price_usd": 0.04, "stake_amount_usd": 100,
                      "stake_tier": "premium", "vcpus": 4});
    assert_eq!(world.post(ADMIN, REGISTER, &body).await.status, 200);
    let update = json!({"node_id": "n1", "allow_update": true});
    let updated = world.post(ADMIN, REGISTER, &update).await;
    let node = &updated.body["node"];
    assert_eq!(
        node["price_micro_usd_per_vcpu_hour"], "40000",
        "{}",
        updated.text
    );
    assert_eq!(
        (&node["stake_tier"], &node["vcpus"]),
        (&json!("premium"), &json!(4))
    );
    assert_eq!(node["stake_micro_usd"], "100000000");
    assert_eq!(updated.body["node_token"], json!(null), "shown once");
    world.stop().await;
}

#[tokio::test]
async fn node_cannot_set_its_stake() {
    let world = World::start().await;
    let made = world.node("n1", "0.04").await;
    let token = made.body["node_token"]
        .as_str()
        .expect("shown once")
        .to_owned();
    for (name, value) in [
        ("stake_amount_usd", json!(0)),
        ("stake_tier", json!("premium")),
    ] {
        let mut body = json!({"node_id": "n1", "allow_update": true});
        body[name] = value;
        let refused = world.post(&token, REGISTER, &body).await;
        assert_eq!(refused.refusal(), (403, "stake_admin_only"), "{name}");
    }
    let price = json!({"node_id": "n1", "price_usd": 0.05, "allow_update": true});
    let changed = world.post(&token, REGISTER, &price).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let other = json!({"node_id": "n2", "price_usd": 0.05});
    let refused = world.post(&token, REGISTER, &other).await;
    assert_eq!(refused.refusal(), (403, "resource_denied"));
    let refused = world.get(&token, "/v1/nodes/n2").await;
    assert_eq!(refused.refusal(), (403, "resource_denied"));
    world.stop().await;
}

#[tokio::test]
async fn errors_of_a_node_come_in_their_order() {
    let world = World::start().await;
    let code = async |body: Value| {
        let read = world.post(ADMIN, REGISTER, &body).await;
        assert_eq!(read.status, 400, "{}", read.text);
        read.body["error"].as_str().expect("a word").to_owned()
    };
    assert_eq!(code(json!({})).await, "missing_node_id");
    assert_eq!(
        code(json!({"node_id": "n1", "price_usd": -1})).await,
        "invalid_price"
    );
    assert_eq!(
        code(json!({"node_id": "n1", "price_usd": "x"})).await,
        "invalid_price"
    );
    assert_eq!(
        code(json!({"node_id": "n1", "stake_amount_usd": -1})).await,
        "invalid_amount"
    );
    assert_eq!(
        code(json!({"node_id": "n1", "stake_tier": "gold"})).await,
        "invalid_stake_tier"
    );
    assert_eq!(world.get(ADMIN, "/v1/nodes/n1").await.status, 404);
    world.stop().await;
}

#[tokio::test]
async fn stake_is_deposited_and_withdrawn_by_its_owner() {
    let world = World::start().await;
    world.node("n1", "0.04").await;
    world.purchase("alice", "10").await;
    let alice = world.token("account", &["account=alice"]).await;
    let deposit = json!({"id": "d1", "action": "deposit", "amount_usd": 4, "account_id": "alice"});
    let paid = world.post(&alice, "/v1/nodes/n1/stake", &deposit).await;
    assert_eq!(paid.status, 200, "{}", paid.text);
    assert_eq!(world.holdings("alice").await.0, 6_000_000);
    let node = world.get(ADMIN, "/v1/nodes/n1").await;
    assert_eq!(node.body["stake_micro_usd"], "4000000");
    let withdraw = json!({"id": "w1", "action": "withdraw", "amount_usd": 1});
    let refused = world.post(&alice, "/v1/nodes/n1/stake", &withdraw).await;
    assert_eq!(refused.refusal(), (403, "resource_denied"));
    let owner = world.token("account", &["account=n1"]).await;
    let begun = world.post(&owner, "/v1/nodes/n1/stake", &withdraw).await;
    assert_eq!(begun.status, 200, "{}", begun.text);
    let account = world.get(&owner, "/v1/accounts/n1").await;
    assert_eq!(account.body["stake_micro_usd"], "3000000");
    assert_eq!(account.body["unbonding_micro_usd"], "1000000");
    assert_eq!(account.body["available_micro_usd"], "0", "not free yet");
    world.stop().await;
}

#[tokio::test]
async fn an_unknown_node_has_no_abuse() {
    let world = World::start().await;
    let file = async |body: Value| world.post(LAUNCHER, "/v1/abuse/reports", &body).await;
    assert_eq!(file(json!({})).await.refusal(), (400, "missing_node_id"));
    let unknown = file(json!({"node_id": "nobody"})).await;
    assert_eq!(unknown.refusal(), (400, "node_not_found"));
    let path = "/v1/abuse/reports/00000000000000000000000000000000/authorize";
    let decide = json!({"action": "authorize"});
    let refused = world.post(ADMIN, path, &decide).await;
    assert_eq!(refused.refusal(), (400, "report_not_found"));
    let refused = world.post(ADMIN, path, &json!({"action": "maybe"})).await;
    assert_eq!(refused.refusal(), (400, "invalid_action"));
    world.stop().await;
}

#[tokio::test]
async fn prices_are_posted_for_all_to_read() {
    let world = World::start().await;
    world.node("n1", "0.04").await;
    world.node("n2", "0.055").await;
    let read = world.running.get("/v1/prices").await;
    let text = read.text().await.expect("text");
    let body: Value = serde_json::from_str(&text).expect("JSON");
    let prices = body["prices"].as_array().expect("a list").iter();
    let prices: Vec<_> = prices
        .map(|price| {
            (
                price["node_id"].as_str(),
                price["price_micro_usd_per_vcpu_hour"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        prices,
        [(Some("n1"), Some("40000")), (Some("n2"), Some("55000"))]
    );
    world.stop().await;
}
