//! Purchase, transfer, batch, payout.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    super::running::{ADMIN, UPTIME},
    World,
};

#[tokio::test]
async fn a_purchase_answers_as_the_seed_did() {
    let world = World::start().await;
    let bought = world.purchase("alice", "25.00").await;
    assert_eq!(bought.body["account_id"], "alice");
    assert_eq!(bought.body["balance_cents"], 2500);
    let seq = bought.body["seq"].as_u64().expect("a number");
    assert_eq!(bought.header("ledger-seq"), Some(seq.to_string().as_str()));
    let id = bought.body["transfer_id"].as_str().expect("an id");
    assert!(
        id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(
        bought.body["balances"]["alice"]["available_micro_usd"],
        "25000000"
    );
    let balance = world.get(ADMIN, "/v1/balances/alice").await;
    assert_eq!(balance.body["balance_cents"], 2500);
    assert_eq!(balance.body["exists"], true);
    let unknown = world.get(ADMIN, "/v1/balances/nobody").await;
    assert_eq!(
        (unknown.status, &unknown.body["balance_cents"]),
        (200, &json!(0))
    );
    assert_eq!(unknown.body["exists"], false);
    world.stop().await;
}

/// What the prototype took for no amount at all.
const MISSING: &[&str] = &["0", "-0", "0.0", "0e9", "null", "false", "\"\"", "[]", "{}"];

/// What is no amount of money.
const INVALID: &[&str] = &[
    "-1",
    "1e30",
    "1e-7",
    "1e9999",
    "0.0000001",
    "true",
    "[25]",
    "{\"usd\":1}",
    "\"NaN\"",
    "\"Infinity\"",
    "\"-Infinity\"",
    "\"-1\"",
    "\"0\"",
    "\"1e3\"",
    "\"1_000\"",
    "\" 1\"",
    "\"1 \"",
    "\"+1\"",
    "\"٢٥\"",
    "\"２５\"",
    "\"25.\"",
    "\".5\"",
    "\"0x10\"",
    "\"1,5\"",
    "99999999999999999999999999999999999999",
    "\"99999999999\"",
];

/// What is no JSON, though some write it.
const NO_JSON: &[&str] = &[
    "NaN",
    "Infinity",
    "-Infinity",
    "+1",
    "01",
    "1.",
    ".5",
    "0x10",
    "'1'",
];

/// What is no object.
const NO_OBJECT: &[&str] = &[
    "",
    "[]",
    "[{}]",
    "null",
    "1",
    "\"text\"",
    "{",
    "{}{}",
    "\u{feff}{}",
];

async fn refused(world: &World, body: &str) -> String {
    let path = "/v1/credits/purchase";
    let read = world
        .call(Method::POST, ADMIN, path, None, Some(body))
        .await;
    assert_eq!(read.status, 400, "{body}: {}", read.text);
    assert_eq!(read.body["error"], read.body["code"], "{body}");
    read.body["code"].as_str().expect("a code").to_owned()
}

#[tokio::test]
async fn odd_numbers_and_bodies_are_400() {
    let world = World::start().await;
    for (amounts, code) in [
        (MISSING, "missing_amount"),
        (INVALID, "invalid_amount"),
        (NO_JSON, "invalid_json"),
    ] {
        for amount in amounts {
            let body = format!(r#"{{"account_id":"alice","amount_usd":{amount}}}"#);
            assert_eq!(refused(&world, &body).await, code, "{amount}");
        }
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    for body in NO_OBJECT.iter().copied().chain([deep.as_str()]) {
        assert_eq!(refused(&world, body).await, "invalid_json", "{body:?}");
    }
    let huge = "x".repeat(129);
    for id in [
        huge.as_str(),
        "sys:mint",
        "a#held",
        "tab\\there",
        "nul\\u0000",
    ] {
        let body = format!(r#"{{"account_id":"{id}","amount_usd":1}}"#);
        assert_eq!(refused(&world, &body).await, "invalid_field", "{id}");
    }
    assert_eq!(world.holdings("alice").await, (0, 0, 0));
    assert_eq!(world.get(ADMIN, "/v1/accounts/alice").await.status, 404);
    world.stop().await;
}

#[tokio::test]
async fn errors_of_a_purchase_come_in_their_order() {
    let world = World::start().await;
    let code = async |body: Value| {
        let read = world.post(ADMIN, "/v1/credits/purchase", &body).await;
        read.body["error"].as_str().expect("a word").to_owned()
    };
    assert_eq!(code(json!({})).await, "missing_account_id");
    assert_eq!(code(json!({"account_id": 0})).await, "missing_account_id");
    assert_eq!(code(json!({"account_id": "a"})).await, "missing_amount");
    assert_eq!(
        code(json!({"account_id": "a", "amount_usd": -1})).await,
        "invalid_amount"
    );
    world.stop().await;
}

#[tokio::test]
async fn integers_pass_for_ids_and_names() {
    let world = World::start().await;
    let body = json!({"account_id": 12345, "amount": 1.5});
    let bought = world.post(ADMIN, "/v1/credits/purchase", &body).await;
    assert_eq!(
        (bought.status, &bought.body["account_id"]),
        (200, &json!("12345"))
    );
    assert_eq!(world.holdings("12345").await.0, 1_500_000);
    world.stop().await;
}

#[tokio::test]
async fn a_transfer_moves_credits_once() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    let body = json!({"from_account": "alice", "to_account": "bob", "amount_usd": 2.5});
    let moved = world.post(ADMIN, "/v1/credits/transfer", &body).await;
    assert_eq!(moved.status, 200, "{}", moved.text);
    assert_eq!(
        moved.body["balances"]["alice"]["available_micro_usd"],
        "7500000"
    );
    assert_eq!(
        moved.body["balances"]["bob"]["available_micro_usd"],
        "2500000"
    );
    let id = moved.body["transfer_id"].as_str().expect("an id");
    let shown = world.get(ADMIN, &format!("/v1/transfers/{id}")).await;
    assert_eq!(shown.body["from_account"], "alice", "{}", shown.text);
    assert_eq!(shown.body["amount_micro_usd"], "2500000");
    assert_eq!(world.sum().await, "0");
    world.stop().await;
}

#[tokio::test]
async fn self_transfer_is_refused() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    let body = json!({"from_account": "alice", "to_account": "alice", "amount_usd": 1});
    let refused = world.post(ADMIN, "/v1/credits/transfer", &body).await;
    assert_eq!(refused.refusal(), (400, "same_account"));
    assert_eq!(refused.body["retryable"], false);
    assert!(refused.body["seq"].is_u64(), "{}", refused.text);
    assert!(refused.header("ledger-seq").is_some());
    assert_eq!(world.holdings("alice").await, (10_000_000, 10_000_000, 0));
    world.stop().await;
}

#[tokio::test]
async fn a_transfer_without_funds_is_refused() {
    let world = World::start().await;
    world.purchase("alice", "1").await;
    let body = json!({"from_account": "alice", "to_account": "bob", "amount_usd": 1.000001});
    let refused = world.post(ADMIN, "/v1/credits/transfer", &body).await;
    assert_eq!(refused.refusal(), (400, "insufficient_funds"));
    let nobody = json!({"from_account": "nobody", "to_account": "bob", "amount_usd": 1});
    let refused = world.post(ADMIN, "/v1/credits/transfer", &nobody).await;
    assert_eq!(refused.refusal(), (400, "insufficient_funds"));
    assert_eq!(world.get(ADMIN, "/v1/accounts/bob").await.status, 404);
    world.stop().await;
}

#[tokio::test]
async fn an_added_transfer_opens_an_account_only_if_asked_to() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    let mut body = json!({"from_account": "alice", "to_account": "bob", "amount_usd": "1"});
    let path = "/v1/transfers";
    let refused = world.post(ADMIN, path, &body).await;
    assert_eq!(refused.refusal(), (400, "idempotency_key_required"));
    let refused = world.keyed(ADMIN, path, "k1", &body).await;
    assert_eq!(refused.refusal(), (404, "account_not_found"));
    body["open_account"] = json!(true);
    assert_eq!(world.keyed(ADMIN, path, "k2", &body).await.status, 200);
    body["surprise"] = json!(1);
    let refused = world.keyed(ADMIN, path, "k3", &body).await;
    assert_eq!(refused.refusal(), (400, "unknown_field"));
    assert_eq!(refused.body["errors"][0]["pointer"], "/surprise");
    world.stop().await;
}

#[tokio::test]
async fn added_routes_read_json_only() {
    let world = World::start().await;
    let request = world.running.request(Method::POST, "/v1/transfers");
    let sent = request.bearer_auth(ADMIN).body("{}").send().await;
    assert_eq!(sent.expect("answered").status().as_u16(), 415);
    // The seed's own routes read any type, as the prototype did.
    let request = world.running.request(Method::POST, "/v1/credits/purchase");
    let body = r#"{"account_id":"alice","amount_usd":1}"#;
    let request = request
        .bearer_auth(ADMIN)
        .header("content-type", "text/plain");
    let sent = request.body(body).send().await;
    assert_eq!(sent.expect("answered").status().as_u16(), 200);
    world.stop().await;
}

#[tokio::test]
async fn a_batch_answers_item_by_item_and_chains_stand_together() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    let item = |id: &str, usd: &str, chain: bool| {
        json!({"id": id, "from_account": "alice", "to_account": "bob", "amount_usd": usd,
               "open_account": true, "chain": chain})
    };
    let items = [
        item("one", "1", false),
        item("two", "2", true),
        item("three", "100", false),
        item("four", "3", false),
    ];
    let done = world
        .post(ADMIN, "/v1/transfers/batch", &json!({"transfers": items}))
        .await;
    assert_eq!(done.status, 200, "{}", done.text);
    let results = done.body["results"].as_array().expect("results");
    let codes: Vec<Option<&str>> = results.iter().map(|r| r["code"].as_str()).collect();
    assert_eq!(
        codes,
        [None, Some("chain_broken"), Some("insufficient_funds"), None]
    );
    assert_eq!(world.holdings("bob").await.0, 4_000_000);
    assert_eq!(world.sum().await, "0");
    world.stop().await;
}

#[tokio::test]
async fn a_payout_takes_credits_out_once() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    let body = json!({"account_id": "alice", "amount_usd": 4, "external_ref": "bank-7"});
    for _ in 0..2 {
        let paid = world.post(ADMIN, "/v1/payouts", &body).await;
        assert_eq!(paid.status, 200, "{}", paid.text);
    }
    assert_eq!(world.holdings("alice").await.0, 6_000_000);
    let sums = world.get(ADMIN, "/v1/ledger/trial-balance").await;
    assert_eq!(sums.body["paid_out_micro_usd"], "4000000");
    assert_eq!(sums.body["circulation_micro_usd"], "6000000");
    assert_eq!(sums.body["sum_micro_usd"], "0");
    world.stop().await;
}

#[tokio::test]
async fn only_an_admin_mints() {
    let world = World::start().await;
    let body = json!({"account_id": "alice", "amount_usd": 1});
    for token in [UPTIME, world.token("operator", &[]).await.as_str()] {
        let refused = world.post(token, "/v1/credits/purchase", &body).await;
        assert_eq!(refused.refusal(), (403, "scope_missing"));
    }
    world.stop().await;
}
