//! A user sees and moves its own money, a provider its own node, and nobody else's.

use reqwest::Method;
use serde_json::json;

use super::{super::running::ADMIN, World};

#[tokio::test]
async fn user_sees_own_balance() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.purchase("bob", "20").await;
    let alice = world.token("account", &["account=alice"]).await;
    let own = world.get(&alice, "/v1/balances/alice").await;
    assert_eq!(
        (own.status, &own.body["balance_cents"]),
        (200, &json!(1000))
    );
    for path in [
        "/v1/balances/bob",
        "/v1/accounts/bob",
        "/v1/accounts/bob/entries",
        "/v1/accounts/bob/usage",
        "/v1/locks?account=bob",
    ] {
        let refused = world.get(&alice, path).await;
        assert_eq!(refused.refusal(), (403, "resource_denied"), "{path}");
        assert!(!refused.text.contains("20000000"), "{path}");
    }
    let listed = world.get(&alice, "/v1/accounts").await;
    let ids: Vec<&str> = listed.body["accounts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|account| account["account_id"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids, ["alice"]);
    let all = world.get(&alice, "/v1/ledger/trial-balance").await;
    assert_eq!(all.refusal(), (403, "resource_denied"));
    world.stop().await;
}

#[tokio::test]
async fn others_balances_are_in_no_answer() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.purchase("bob", "31").await;
    let alice = world.token("account", &["account=alice"]).await;
    let body = json!({"from_account": "alice", "to_account": "bob", "amount_usd": 1});
    let moved = world.post(&alice, "/v1/credits/transfer", &body).await;
    assert_eq!(moved.status, 200, "{}", moved.text);
    let shown = moved.body["balances"].as_object().expect("balances");
    assert_eq!(shown.keys().collect::<Vec<_>>(), ["alice"]);
    assert!(!moved.text.contains("32000000"), "{}", moved.text);
    // What bob reads of it names alice, but says nothing of what she holds.
    let bob = world.token("account", &["account=bob"]).await;
    let id = moved.body["transfer_id"].as_str().expect("an id");
    let seen = world.get(&bob, &format!("/v1/transfers/{id}")).await;
    assert_eq!(
        (seen.status, &seen.body["from_account"]),
        (200, &json!("alice"))
    );
    assert!(!seen.text.contains("9000000"), "{}", seen.text);
    let carol = world.token("account", &["account=carol"]).await;
    let hidden = world.get(&carol, &format!("/v1/transfers/{id}")).await;
    assert_eq!(hidden.refusal(), (404, "transfer_not_found"));
    world.stop().await;
}

#[tokio::test]
async fn nobody_moves_anothers_money() {
    let world = World::start().await;
    world.purchase("bob", "20").await;
    let alice = world.token("account", &["account=alice"]).await;
    let theft = json!({"from_account": "bob", "to_account": "alice", "amount_usd": 1, "id": "t"});
    for path in ["/v1/credits/transfer", "/v1/transfers"] {
        let refused = world.post(&alice, path, &theft).await;
        assert_eq!(refused.refusal(), (403, "resource_denied"), "{path}");
    }
    let mixed = json!({"transfers": [
        {"from_account": "alice", "to_account": "bob", "amount_usd": 1, "id": "a"},
        theft,
    ]});
    let refused = world.post(&alice, "/v1/transfers/batch", &mixed).await;
    assert_eq!(refused.refusal(), (403, "resource_denied"));
    world.node("n1", "0.04").await;
    let stake = json!({"action": "deposit", "amount_usd": 1, "account_id": "bob", "id": "s"});
    let refused = world.post(&alice, "/v1/nodes/n1/stake", &stake).await;
    assert_eq!(refused.refusal(), (403, "resource_denied"));
    let lock = json!({"account_id": "bob", "node_id": "n1", "vcpus": 1, "id": "l",
                      "period": "2027-01-01"});
    let refused = world.post(&alice, "/v1/locks", &lock).await;
    assert_eq!(refused.refusal(), (403, "resource_denied"));
    assert_eq!(world.holdings("bob").await, (20_000_000, 20_000_000, 0));
    world.stop().await;
}

#[tokio::test]
async fn a_node_token_moves_no_money() {
    let world = World::start().await;
    let node = world.node("n1", "0.04").await;
    let token = node.body["node_token"]
        .as_str()
        .expect("shown once")
        .to_owned();
    world.purchase("alice", "10").await;
    let gift = json!({"from_account": "alice", "to_account": "n1", "amount_usd": 5});
    assert_eq!(
        world
            .post(ADMIN, "/v1/credits/transfer", &gift)
            .await
            .status,
        200
    );
    let out = json!({"from_account": "n1", "to_account": "thief", "amount_usd": 1, "id": "x"});
    for path in ["/v1/credits/transfer", "/v1/transfers"] {
        let refused = world.post(&token, path, &out).await;
        assert_eq!(refused.refusal(), (403, "scope_missing"), "{path}");
    }
    let stake = json!({"action": "withdraw", "amount_usd": 1, "id": "s"});
    let refused = world.post(&token, "/v1/nodes/n1/stake", &stake).await;
    assert_eq!(refused.refusal(), (403, "scope_missing"));
    let own = world.get(&token, "/v1/balances/n1").await;
    assert_eq!((own.status, &own.body["balance_cents"]), (200, &json!(500)));
    let refused = world.get(&token, "/v1/balances/alice").await;
    assert_eq!(refused.refusal(), (403, "resource_denied"));
    // A provider's earnings move by an account token for the node's id.
    let provider = world.token("account", &["account=n1"]).await;
    let body = json!({"from_account": "n1", "to_account": "alice", "amount_usd": 1});
    assert_eq!(
        world
            .post(&provider, "/v1/credits/transfer", &body)
            .await
            .status,
        200
    );
    world.stop().await;
}

#[tokio::test]
async fn a_stranger_binds_himself_no_payer_but_another() {
    let world = World::start().await;
    world.purchase("victim", "10").await;
    world.purchase("alice", "10").await;
    let bind = async |token: &str, app: &str, account: &str| {
        let body = json!({"account_id": account, "vcpus": 1}).to_string();
        let path = format!("/v1/apps/{app}/payer");
        world
            .call(Method::PUT, token, &path, None, Some(&body))
            .await
    };
    let alice = world.token("account", &["account=alice"]).await;
    let refused = bind(&alice, "hello", "alice").await;
    assert_eq!(refused.refusal(), (403, "scope_missing"));
    let scopes = ["ledger:read", "ledger:transfer", "apps:write"];
    let request = json!({"role": "account", "resources": ["account=alice", "app=hello"],
                         "scopes": scopes});
    let alice = world.token_with(request).await;
    let refused = bind(&alice, "hello", "victim").await;
    assert_eq!(refused.refusal(), (403, "resource_denied"));
    let refused = bind(&alice, "other", "alice").await;
    assert_eq!(refused.refusal(), (403, "resource_denied"));
    let bound = bind(&alice, "hello", "alice").await;
    assert_eq!(
        (bound.status, &bound.body["account_id"]),
        (200, &json!("alice"))
    );
    // Only the payer takes the payer away.
    let request = json!({"role": "account", "resources": ["account=victim", "app=hello"],
                         "scopes": scopes});
    let victim = world.token_with(request).await;
    let path = "/v1/apps/hello/payer";
    let refused = world.call(Method::DELETE, &victim, path, None, None).await;
    assert_eq!(refused.refusal(), (403, "resource_denied"));
    let gone = world.call(Method::DELETE, &alice, path, None, None).await;
    assert_eq!((gone.status, &gone.body["account_id"]), (200, &json!(null)));
    world.stop().await;
}

#[tokio::test]
async fn actor_is_authenticated() {
    let world = World::start().await;
    world.node("n1", "0.04").await;
    let body = json!({"node_id": "n1", "reason": "mining", "reported_by": "root"});
    let launcher = super::super::running::LAUNCHER;
    let filed = world.post(launcher, "/v1/abuse/reports", &body).await;
    assert_eq!(
        (filed.status, &filed.body["status"]),
        (200, &json!("pending"))
    );
    let id = filed.body["report_id"].as_str().expect("an id");
    let path = format!("/v1/abuse/reports/{id}/authorize");
    // A name in the body opens nothing: the token decides.
    let decision = json!({"action": "deny", "authorized_by": "the owner"});
    let refused = world.post(launcher, &path, &decision).await;
    assert_eq!(refused.refusal(), (403, "scope_missing"));
    let denied = world.post(ADMIN, &path, &decision).await;
    assert_eq!(
        (denied.status, &denied.body["status"]),
        (200, &json!("denied"))
    );
    let again = world.post(ADMIN, &path, &decision).await;
    assert_eq!(
        (again.status, &again.body["status"]),
        (200, &json!("denied"))
    );
    let other = json!({"action": "authorize", "authorized_by": "the owner"});
    let refused = world.post(ADMIN, &path, &other).await;
    assert_eq!(refused.refusal(), (409, "report_already_decided"));
    world.stop().await;
}

#[tokio::test]
async fn an_id_squatted_as_the_other_kind_is_refused() {
    let world = World::start().await;
    world.purchase("n1", "1").await;
    let body = json!({"node_id": "n1", "price_usd": 1});
    let refused = world.post(ADMIN, "/v1/nodes/register", &body).await;
    assert_eq!(refused.refusal(), (409, "account_kind_conflict"));
    world.node("n2", "0.04").await;
    let body = json!({"account_id": "n2", "amount_usd": 1});
    let refused = world.post(ADMIN, "/v1/credits/purchase", &body).await;
    assert_eq!(refused.refusal(), (409, "account_kind_conflict"));
    // To receive a transfer fixes nothing, so a gift squats nobody's name.
    world.purchase("alice", "1").await;
    let gift = json!({"from_account": "alice", "to_account": "n3", "amount_usd": "0.5"});
    assert_eq!(
        world
            .post(ADMIN, "/v1/credits/transfer", &gift)
            .await
            .status,
        200
    );
    world.node("n3", "0.04").await;
    world.stop().await;
}
