//! Reports of usage: what they charge, what they lock, what they refuse.

use serde_json::{Value, json};

use super::{
    super::running::{ADMIN, UPTIME},
    World, hours_ago,
};

const PATH: &str = "/v1/usage/report";

fn report(hours: &str, from: u64, until: u64) -> Value {
    json!({"account_id": "alice", "node_id": "n1", "vcpu_hours": hours,
           "period_start": hours_ago(from), "period_end": hours_ago(until)})
}

#[tokio::test]
async fn a_report_locks_what_it_costs() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.node("n1", "0.04").await;
    let done = world.post(UPTIME, PATH, &report("2", 3, 2)).await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert_eq!(done.body["amount_cents"], 8);
    assert_eq!(done.body["amount_micro_usd"], "80000");
    assert_eq!(done.body["lock_id"].as_str().map(str::len), Some(32));
    assert_eq!(done.body["usage_id"].as_str().map(str::len), Some(32));
    assert_eq!(
        world.holdings("alice").await,
        (9_920_000, 10_000_000, 80_000)
    );
    let lock = done.body["lock_id"].as_str().expect("an id");
    let lock = world.get(ADMIN, &format!("/v1/locks/{lock}")).await;
    assert_eq!(lock.body["account_id"], "alice", "{}", lock.text);
    assert_eq!(
        (&lock.body["state"], &lock.body["vcpus"]),
        (&json!("open"), &json!(null))
    );
    world.stop().await;
}

#[tokio::test]
async fn sub_cent_price_is_charged() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.node("n1", "0.0035").await;
    let done = world.post(UPTIME, PATH, &report("1", 3, 2)).await;
    assert_eq!(done.body["amount_micro_usd"], "3500", "{}", done.text);
    assert_eq!(done.body["amount_cents"], 0);
    assert_eq!(world.holdings("alice").await.2, 3_500);
    world.stop().await;
}

#[tokio::test]
async fn duplicate_usage_locks_once() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.node("n1", "0.04").await;
    let mut named = report("1", 3, 2);
    named["usage_id"] = json!("u-1");
    let first = world.post(UPTIME, PATH, &named).await;
    let again = world.post(UPTIME, PATH, &named).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.body["lock_id"], again.body["lock_id"]);
    let mut sourced = report("1", 3, 2);
    sourced["source"] = json!("probe");
    sourced["id"] = json!(1);
    for _ in 0..3 {
        assert_eq!(world.post(UPTIME, PATH, &sourced).await.status, 200);
    }
    assert_eq!(world.holdings("alice").await.2, 80_000);
    named["vcpu_hours"] = json!("2");
    let refused = world.post(UPTIME, PATH, &named).await;
    assert_eq!(refused.refusal(), (409, "id_reused"));
    // A total instead of an addition is harmless however often it comes.
    let mut total = report("5", 3, 2);
    total["cumulative"] = json!(true);
    for _ in 0..3 {
        assert_eq!(world.post(UPTIME, PATH, &total).await.status, 200);
    }
    assert_eq!(world.holdings("alice").await.2, 200_000);
    world.stop().await;
}

#[tokio::test]
async fn z_and_offset_are_one_period() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.node("n1", "0.04").await;
    let mut spelled = report("1", 3, 2);
    let first = world.post(UPTIME, PATH, &spelled).await;
    for name in ["period_start", "period_end"] {
        let zulu = spelled[name].as_str().expect("text").to_owned();
        spelled[name] = json!(zulu.replace('Z', "+00:00"));
    }
    let second = world.post(UPTIME, PATH, &spelled).await;
    assert_eq!(second.status, 200, "{}", second.text);
    assert_eq!(first.body["period"], second.body["period"]);
    for name in ["period_start", "period_end"] {
        let offset = spelled[name].as_str().expect("text").to_owned();
        spelled[name] = json!(offset.replace("+00:00", ""));
    }
    let third = world.post(UPTIME, PATH, &spelled).await;
    assert_eq!(
        first.body["period"], third.body["period"],
        "no offset means UTC"
    );
    assert_eq!(world.holdings("alice").await.2, 120_000);
    world.stop().await;
}

#[tokio::test]
async fn reversed_period_is_refused() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.node("n1", "0.04").await;
    let code = async |body: Value| {
        let read = world.post(UPTIME, PATH, &body).await;
        assert_eq!(read.status, 400, "{}", read.text);
        read.body["code"].as_str().expect("a code").to_owned()
    };
    assert_eq!(code(report("1", 2, 3)).await, "invalid_period", "reversed");
    assert_eq!(code(report("1", 2, 2)).await, "invalid_period", "empty");
    assert_eq!(
        code(report("1", 24 * 40, 2)).await,
        "invalid_period",
        "over 31 days"
    );
    let mut malformed = report("1", 3, 2);
    for wrong in [
        json!("yesterday"),
        json!(1_700_000_000),
        json!(["x"]),
        json!("2026-13-01T00:00:00Z"),
    ] {
        malformed["period_start"] = wrong.clone();
        assert_eq!(code(malformed.clone()).await, "invalid_period", "{wrong}");
    }
    assert_eq!(
        code(report("1", 24 * 20, 24 * 20 - 1)).await,
        "period_finalized",
        "ancient"
    );
    assert_eq!(world.holdings("alice").await.2, 0);
    world.stop().await;
}

#[tokio::test]
async fn an_overlapping_period_is_refused() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.node("n1", "0.04").await;
    assert_eq!(
        world.post(UPTIME, PATH, &report("1", 4, 2)).await.status,
        200
    );
    let refused = world.post(UPTIME, PATH, &report("1", 3, 1)).await;
    assert_eq!(refused.refusal(), (400, "period_overlap"));
    assert_eq!(
        world.post(UPTIME, PATH, &report("1", 2, 1)).await.status,
        200,
        "adjacent"
    );
    world.stop().await;
}

#[tokio::test]
async fn errors_of_a_report_come_in_their_order() {
    let world = World::start().await;
    world.node("n1", "0.04").await;
    let code = async |body: Value| {
        let read = world.post(UPTIME, PATH, &body).await;
        assert_eq!(read.status, 400, "{}", read.text);
        read.body["error"].as_str().expect("a word").to_owned()
    };
    assert_eq!(code(json!({})).await, "missing_fields");
    let mut body = report("0", 3, 2);
    body["vcpu_hours"] = json!(0);
    assert_eq!(code(body.clone()).await, "missing_fields");
    for wrong in [
        json!(-1),
        json!("NaN"),
        json!("1e3"),
        json!(true),
        json!("x".repeat(41)),
    ] {
        body["vcpu_hours"] = wrong;
        assert_eq!(code(body.clone()).await, "invalid_vcpu_hours");
    }
    body["vcpu_hours"] = json!(1);
    body["node_id"] = json!("unknown");
    assert_eq!(code(body.clone()).await, "node_price_missing");
    body["node_id"] = json!("n1");
    assert_eq!(code(body).await, "insufficient_funds");
    world.stop().await;
}

#[tokio::test]
async fn unpaid_usage_is_remembered() {
    let world = World::start().await;
    world.purchase("alice", "0.01").await;
    world.node("n1", "0.04").await;
    let refused = world.post(UPTIME, PATH, &report("1", 3, 2)).await;
    assert_eq!(refused.refusal(), (400, "insufficient_funds"));
    assert_eq!(world.holdings("alice").await, (10_000, 10_000, 0));
    let listed = world.get(ADMIN, "/v1/accounts/alice/usage").await;
    let row = &listed.body["usage"][0];
    assert_eq!(row["state"], "uncollected", "{}", listed.text);
    assert_eq!(
        (&row["node_id"], &row["amount_micro_usd"]),
        (&json!("n1"), &json!("40000"))
    );
    world.stop().await;
}

#[tokio::test]
async fn only_those_with_the_scope_report() {
    let world = World::start().await;
    let account = world.token("account", &["account=alice"]).await;
    let refused = world.post(&account, PATH, &report("1", 3, 2)).await;
    assert_eq!(refused.refusal(), (403, "scope_missing"));
    world.stop().await;
}

#[tokio::test]
async fn price_is_that_of_the_period() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.node("n1", "0.04").await;
    assert_eq!(
        world.post(UPTIME, PATH, &report("1", 3, 2)).await.body["amount_micro_usd"],
        "40000"
    );
    world.node("n1", "5").await;
    let later = world.post(UPTIME, PATH, &report("1", 3, 2)).await;
    assert_eq!(later.body["amount_micro_usd"], "40000", "{}", later.text);
    world.stop().await;
}
