//! Locks ahead of compute.

use reqwest::Method;
use serde_json::{Value, json};

use super::{super::running::ADMIN, World, hours_ahead};

fn lock(id: &str, from: u64, until: u64) -> Value {
    json!({"id": id, "account_id": "alice", "node_id": "n1", "vcpus": 2,
           "period_start": hours_ahead(from), "period_end": hours_ahead(until)})
}

#[tokio::test]
async fn compute_is_locked_ahead() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.node("n1", "0.04").await;
    let alice = world.token("account", &["account=alice"]).await;
    let made = world.post(&alice, "/v1/locks", &lock("l1", 1, 2)).await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert_eq!(made.body["amount_micro_usd"], "80000");
    assert_eq!(made.body["price_micro_usd"], "40000");
    assert_eq!(made.body["balances"]["alice"]["locked_micro_usd"], "80000");
    assert_eq!(
        world.holdings("alice").await,
        (9_920_000, 10_000_000, 80_000)
    );
    let again = world.post(&alice, "/v1/locks", &lock("l1", 1, 2)).await;
    assert_eq!(
        again.body["lock_id"], made.body["lock_id"],
        "one id, one lock"
    );
    let listed = world.get(&alice, "/v1/locks").await;
    assert_eq!(listed.body["locks"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed.body["locks"][0]["mode"], "metered");
    let by_node = world.get(ADMIN, "/v1/locks?node=n1&state=open").await;
    assert_eq!(by_node.body["locks"], listed.body["locks"]);
    let none = world.get(ADMIN, "/v1/locks?node=n1&state=settled").await;
    assert_eq!(none.body["locks"], json!([]));
    world.stop().await;
}

#[tokio::test]
async fn a_lock_is_given_back_before_it_begins() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.node("n1", "0.04").await;
    let made = world.post(ADMIN, "/v1/locks", &lock("l1", 1, 2)).await;
    let path = format!(
        "/v1/locks/{}",
        made.body["lock_id"].as_str().expect("an id")
    );
    let bob = world.token("account", &["account=bob"]).await;
    for method in [Method::GET, Method::DELETE] {
        let hidden = world.call(method, &bob, &path, None, None).await;
        assert_eq!(hidden.refusal(), (404, "lock_not_found"));
    }
    let alice = world.token("account", &["account=alice"]).await;
    let gone = world
        .call(Method::DELETE, &alice, &path, Some("k"), None)
        .await;
    assert_eq!(
        (gone.status, &gone.body["returned_micro_usd"]),
        (200, &json!("80000"))
    );
    let again = world
        .call(Method::DELETE, &alice, &path, Some("k"), None)
        .await;
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (200, Some("true"))
    );
    let twice = world.call(Method::DELETE, &alice, &path, None, None).await;
    assert_eq!(twice.refusal(), (409, "lock_resolved"));
    let shown = world.get(&alice, &path).await;
    assert_eq!(shown.body["state"], "released");
    assert_eq!(world.holdings("alice").await, (10_000_000, 10_000_000, 0));
    world.stop().await;
}

#[tokio::test]
async fn a_lock_that_runs_is_not_given_back() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.node("n1", "0.04").await;
    let mut body = lock("l1", 0, 2);
    body["period_start"] = json!(super::hours_ago(1));
    let made = world.post(ADMIN, "/v1/locks", &body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let path = format!(
        "/v1/locks/{}",
        made.body["lock_id"].as_str().expect("an id")
    );
    let refused = world.call(Method::DELETE, ADMIN, &path, None, None).await;
    assert_eq!(refused.refusal(), (409, "lock_started"));
    world.stop().await;
}

#[tokio::test]
async fn refusals_of_a_lock_are_named() {
    let world = World::start().await;
    world.purchase("alice", "0.05").await;
    let refused = world.post(ADMIN, "/v1/locks", &lock("a", 1, 2)).await;
    assert_eq!(refused.refusal(), (400, "node_not_found"));
    let body = json!({"node_id": "n1", "vcpus": 1});
    assert_eq!(
        world.post(ADMIN, "/v1/nodes/register", &body).await.status,
        200
    );
    let refused = world.post(ADMIN, "/v1/locks", &lock("b", 1, 2)).await;
    assert_eq!(refused.refusal(), (400, "node_price_missing"));
    world.node("n1", "0.04").await;
    let refused = world.post(ADMIN, "/v1/locks", &lock("c", 1, 2)).await;
    assert_eq!(refused.refusal(), (409, "capacity_exceeded"));
    let mut one = lock("d", 1, 3);
    one["vcpus"] = json!(1);
    let refused = world.post(ADMIN, "/v1/locks", &one).await;
    assert_eq!(refused.refusal(), (400, "insufficient_funds"));
    let mut past = lock("e", 0, 1);
    past["period_start"] = json!(super::hours_ago(3));
    past["period_end"] = json!(super::hours_ago(2));
    past["vcpus"] = json!(1);
    let refused = world.post(ADMIN, "/v1/locks", &past).await;
    assert_eq!(refused.refusal(), (400, "period_finalized"));
    let mut no_id = lock("f", 1, 2);
    no_id.as_object_mut().expect("an object").remove("id");
    let refused = world.post(ADMIN, "/v1/locks", &no_id).await;
    assert_eq!(refused.refusal(), (400, "idempotency_key_required"));
    assert_eq!(world.holdings("alice").await, (50_000, 50_000, 0));
    world.stop().await;
}
