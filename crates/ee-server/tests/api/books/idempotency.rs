//! The same request twice has one effect and one answer.

use reqwest::Method;
use serde_json::json;

use super::{super::running::ADMIN, World};

const PURCHASE: &str = "/v1/credits/purchase";

#[tokio::test]
async fn repeated_purchase_mints_once() {
    let world = World::start().await;
    let body = json!({"account_id": "alice", "amount_usd": 5});
    let first = world.keyed(ADMIN, PURCHASE, "key-1", &body).await;
    let again = world.keyed(ADMIN, PURCHASE, "key-1", &body).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.text, again.text, "word for word");
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(first.header("ledger-seq"), again.header("ledger-seq"));
    assert_eq!(world.holdings("alice").await.0, 5_000_000);
    // The payment's own reference mints once too, whatever the key.
    let paid = json!({"account_id": "alice", "amount_usd": 7, "external_ref": "stripe-1"});
    for key in ["key-2", "key-3"] {
        assert_eq!(world.keyed(ADMIN, PURCHASE, key, &paid).await.status, 200);
    }
    assert_eq!(world.post(ADMIN, PURCHASE, &paid).await.status, 200);
    assert_eq!(world.holdings("alice").await.0, 12_000_000);
    let other = json!({"account_id": "bob", "amount_usd": 7, "external_ref": "stripe-1"});
    let refused = world.post(ADMIN, PURCHASE, &other).await;
    assert_eq!(refused.refusal(), (409, "id_reused"));
    world.stop().await;
}

#[tokio::test]
async fn a_reused_key_with_another_body_is_refused() {
    let world = World::start().await;
    let one = json!({"account_id": "alice", "amount_usd": 1});
    let two = json!({"account_id": "alice", "amount_usd": 2});
    assert_eq!(world.keyed(ADMIN, PURCHASE, "k", &one).await.status, 200);
    let refused = world.keyed(ADMIN, PURCHASE, "k", &two).await;
    assert_eq!(refused.refusal(), (422, "idempotency_key_reused"));
    assert_eq!(world.holdings("alice").await.0, 1_000_000);
    // The same command in other words is the same request: what counts is what was understood.
    let spelled = r#" {"amount":"1.000000","account_id":"alice","note":"ignored"} "#;
    let again = world
        .call(Method::POST, ADMIN, PURCHASE, Some("k"), Some(spelled))
        .await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    world.stop().await;
}

#[tokio::test]
async fn a_key_holds_on_its_route_and_for_its_principal_only() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.purchase("carol", "10").await;
    let (alice, carol) = (
        world.token("account", &["account=alice"]).await,
        world.token("account", &["account=carol"]).await,
    );
    let path = "/v1/credits/transfer";
    for (token, from) in [(&alice, "alice"), (&carol, "carol")] {
        let body = json!({"from_account": from, "to_account": "bob", "amount_usd": 1});
        let moved = world.keyed(token, path, "same", &body).await;
        assert_eq!(moved.status, 200, "{}", moved.text);
        assert_eq!(moved.header("idempotent-replayed"), None);
    }
    let body = json!({"from_account": "alice", "to_account": "bob", "amount_usd": 1});
    let elsewhere = world.keyed(&alice, "/v1/transfers", "same", &body).await;
    assert_eq!(elsewhere.status, 200, "{}", elsewhere.text);
    assert_eq!(elsewhere.header("idempotent-replayed"), None);
    // Another token of the same account shares the key: rotation keeps it.
    let other = world.token("account", &["account=alice"]).await;
    let again = world.keyed(&other, path, "same", &body).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(world.holdings("bob").await.0, 3_000_000);
    world.stop().await;
}

#[tokio::test]
async fn a_refusal_is_remembered_under_its_key() {
    let world = World::start().await;
    world.purchase("alice", "1").await;
    let body = json!({"from_account": "alice", "to_account": "bob", "amount_usd": 5});
    let path = "/v1/credits/transfer";
    let first = world.keyed(ADMIN, path, "k", &body).await;
    assert_eq!(first.refusal(), (400, "insufficient_funds"));
    world.purchase("alice", "100").await;
    let again = world.keyed(ADMIN, path, "k", &body).await;
    assert_eq!(again.refusal(), (400, "insufficient_funds"));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.header("ledger-seq"), first.header("ledger-seq"));
    assert_eq!(world.keyed(ADMIN, path, "k2", &body).await.status, 200);
    world.stop().await;
}

#[tokio::test]
async fn errors_of_shape_and_access_are_not_remembered() {
    let world = World::start().await;
    let wrong = json!({"account_id": "alice", "amount_usd": -1});
    let right = json!({"account_id": "alice", "amount_usd": 1});
    let refused = world.keyed(ADMIN, PURCHASE, "k", &wrong).await;
    assert_eq!(refused.refusal(), (400, "invalid_amount"));
    assert_eq!(refused.header("ledger-seq"), None);
    let done = world.keyed(ADMIN, PURCHASE, "k", &right).await;
    assert_eq!(
        (done.status, done.header("idempotent-replayed")),
        (200, None)
    );
    world.stop().await;
}

#[tokio::test]
async fn a_malformed_key_is_refused() {
    let world = World::start().await;
    let body = json!({"account_id": "alice", "amount_usd": 1});
    for key in ["", "x".repeat(256).as_str(), "tab\there"] {
        let refused = world.keyed(ADMIN, PURCHASE, key, &body).await;
        assert_eq!(refused.refusal(), (400, "invalid_request"), "{key:?}");
    }
    let request = world
        .running
        .request(Method::POST, PURCHASE)
        .bearer_auth(ADMIN);
    let twice = request
        .header("idempotency-key", "a")
        .header("idempotency-key", "b");
    let sent = twice.body(body.to_string()).send().await.expect("answered");
    assert_eq!(sent.status().as_u16(), 400);
    assert_eq!(world.holdings("alice").await.0, 0);
    world.stop().await;
}

#[tokio::test]
async fn twins_that_run_at_once_have_one_effect() {
    let world = World::start().await;
    let body = json!({"account_id": "alice", "amount_usd": 3});
    let twins = (0..16).map(|_| world.keyed(ADMIN, PURCHASE, "twin", &body));
    let answers = futures_util::future::join_all(twins).await;
    assert!(answers.iter().all(|read| read.text == answers[0].text));
    let first = answers
        .iter()
        .filter(|read| read.header("idempotent-replayed").is_none());
    assert_eq!(first.count(), 1);
    assert_eq!(world.holdings("alice").await.0, 3_000_000);
    world.stop().await;
}

#[tokio::test]
async fn an_answer_outlives_the_process() {
    let world = World::start().await;
    let body = json!({"account_id": "alice", "amount_usd": 3});
    let first = world.keyed(ADMIN, PURCHASE, "k", &body).await;
    let dir = world.stop().await;
    let world = World::start_in(&dir).await;
    let again = world.keyed(ADMIN, PURCHASE, "k", &body).await;
    assert_eq!(again.text, first.text);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(world.holdings("alice").await, (3_000_000, 3_000_000, 0));
    world.stop().await;
}
