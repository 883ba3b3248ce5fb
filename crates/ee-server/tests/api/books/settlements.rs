//! Settlement on demand, and what everybody may read of it.

use std::{sync::atomic::Ordering, time::Duration};

use ee_control::ports::Clock;
use ee_server::clock::SystemClock;
use serde_json::{Value, json};

use super::{
    super::running::{ADMIN, LAUNCHER, UPTIME},
    World, hours_ago, hours_ahead,
};

fn finalize(node: &str, from: u64, until: u64) -> Value {
    json!({"node_id": node, "period_start": hours_ago(from), "period_end": hours_ago(until)})
}

/// A node with a used period three hours ago, settled and unsettled alike.
async fn used() -> World {
    let world = World::start().await;
    use_of_three_hours_ago(&world).await;
    world
}

async fn use_of_three_hours_ago(world: &World) {
    world.purchase("alice", "10").await;
    world.node("n1", "0.04").await;
    let report = json!({"account_id": "alice", "node_id": "n1", "vcpu_hours": 1,
                        "period_start": hours_ago(3), "period_end": hours_ago(2)});
    let reported = world.post(UPTIME, "/v1/usage/report", &report).await;
    assert_eq!(reported.status, 200, "{}", reported.text);
}

#[tokio::test]
async fn errors_of_a_finalise_are_named() {
    let world = World::start().await;
    let path = "/v1/settlements/2026-11/finalize";
    let code = async |path: &str, body: Value| {
        let read = world.post(ADMIN, path, &body).await;
        (
            read.status,
            read.body["code"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(
        code(path, json!({"node_id": "n1"})).await,
        (400, "missing_fields".into())
    );
    assert_eq!(code(path, json!({})).await, (400, "invalid_period".into()));
    assert_eq!(
        code(path, finalize("n1", 2, 3)).await,
        (400, "invalid_period".into())
    );
    let elsewhere = "/v1/settlements/2020-01-01/finalize";
    assert_eq!(
        code(elsewhere, finalize("n1", 3, 2)).await,
        (400, "period_mismatch".into())
    );
    let future =
        json!({"node_id": "n1", "period_start": hours_ahead(1), "period_end": hours_ahead(2)});
    assert_eq!(code(path, future).await, (409, "period_open".into()));
    world.stop().await;
}

#[tokio::test]
async fn an_unknown_node_is_not_eligible() {
    let world = World::start().await;
    let body = finalize("nobody", 3, 2);
    let read = world.post(ADMIN, "/v1/settlements/x/finalize", &body).await;
    assert_eq!(read.status, 200, "{}", read.text);
    assert_eq!(
        (&read.body["eligible"], &read.body["reasons"]),
        (&json!(false), &json!(["node_not_found"]))
    );
    assert_eq!(
        (&read.body["settled"], &read.body["failed"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        read.body["period_start"], body["period_start"],
        "echoed as sent"
    );
    world.stop().await;
}

#[tokio::test]
async fn no_evidence_is_not_a_pass() {
    let world = used().await;
    let read = world
        .post(ADMIN, "/v1/settlements/x/finalize", &finalize("n1", 3, 2))
        .await;
    assert_eq!(read.status, 200, "{}", read.text);
    assert_eq!(read.body["eligible"], false);
    assert_ne!(read.body["verdict"], "pass");
    assert_eq!(world.holdings("n1").await.0, 0, "nothing unearned is paid");
    assert_eq!(world.sum().await, "0");
    world.stop().await;
}

#[tokio::test]
async fn second_finalize_repeats_the_verdict() {
    let world = used().await;
    let path = "/v1/settlements/x/finalize";
    let first = world.post(ADMIN, path, &finalize("n1", 3, 2)).await;
    let second = world.post(ADMIN, path, &finalize("n1", 3, 2)).await;
    assert_eq!((first.status, second.status), (200, 200), "{}", second.text);
    for same in ["verdict", "reasons", "eligible", "state", "period"] {
        assert_eq!(first.body[same], second.body[same], "{same}");
    }
    assert_eq!(
        (&second.body["settled"], &second.body["failed"]),
        (&json!(0), &json!(0))
    );
    world.stop().await;
}

#[tokio::test]
async fn two_finalises_at_once_settle_once() {
    let world = used().await;
    let (path, body) = ("/v1/settlements/x/finalize", finalize("n1", 3, 2));
    let twins = (0..8).map(|_| world.post(ADMIN, path, &body));
    let answers = futures_util::future::join_all(twins).await;
    let resolved: u64 = answers
        .iter()
        .map(|read| {
            assert_eq!(read.status, 200, "{}", read.text);
            assert_eq!(read.body["verdict"], answers[0].body["verdict"]);
            let count = |name: &str| read.body[name].as_u64().expect("a count");
            count("settled") + count("failed")
        })
        .sum();
    assert!(
        resolved <= 1,
        "one lock is resolved once, not {resolved} times"
    );
    assert_eq!(world.sum().await, "0");
    world.stop().await;
}

#[tokio::test]
async fn a_verdict_is_public_and_names_no_user() {
    let world = used().await;
    let done = world
        .post(ADMIN, "/v1/settlements/x/finalize", &finalize("n1", 3, 2))
        .await;
    let period = done.body["period"].as_str().expect("a period");
    for path in [
        format!("/v1/settlements/{period}"),
        format!("/v1/settlements/{period}/n1"),
        "/v1/settlements/latest/n1".to_owned(),
        "/v1/settlements?node=n1".to_owned(),
        "/v1/settlements".to_owned(),
    ] {
        let read = world.running.get(&path).await;
        assert_eq!(read.status().as_u16(), 200, "{path}");
        let text = read.text().await.expect("text");
        assert!(
            text.contains("facts_hash") && text.contains(period),
            "{path}: {text}"
        );
        assert!(
            !text.contains("alice") && !text.contains("micro_usd"),
            "{path}: {text}"
        );
    }
    let open = world.running.get("/v1/settlements/2026-01-01").await;
    assert_eq!(open.status().as_u16(), 200);
    let none = world.running.get("/v1/settlements/2026-01-01/n1").await;
    assert_eq!(none.status().as_u16(), 404);
    world.stop().await;
}

#[tokio::test]
async fn facts_from_outside_are_a_union() {
    let world = World::start().await;
    world.node("n1", "0.04").await;
    let body =
        json!({"node_id": "n1", "track": "health", "from": hours_ago(3), "until": hours_ago(2)});
    for _ in 0..2 {
        let read = world.post(UPTIME, "/v1/facts", &body).await;
        assert_eq!(read.status, 200, "{}", read.text);
    }
    let unknown = json!({"node_id": "nobody", "track": "health", "from": hours_ago(3), "until": hours_ago(2)});
    let refused = world.post(UPTIME, "/v1/facts", &unknown).await;
    assert_eq!(refused.refusal(), (400, "node_not_found"));
    world.stop().await;
}

/// The uptime server saw the node healthy and attested throughout.
async fn covered(world: &World) {
    for track in ["health", "attestation"] {
        let body =
            json!({"node_id": "n1", "track": track, "from": hours_ago(3), "until": hours_ago(2)});
        let read = world.post(UPTIME, "/v1/facts", &body).await;
        assert_eq!(read.status, 200, "{}", read.text);
    }
}

#[tokio::test]
async fn a_covered_period_pays_the_provider_what_was_used() {
    let world = used().await;
    covered(&world).await;
    let done = world
        .post(ADMIN, "/v1/settlements/x/finalize", &finalize("n1", 3, 2))
        .await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert_eq!(
        (&done.body["eligible"], &done.body["verdict"]),
        (&json!(true), &json!("pass")),
        "{}",
        done.text
    );
    assert_eq!(
        (&done.body["settled"], &done.body["failed"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(done.body["paid_micro_usd"], "40000");
    assert_eq!(world.holdings("n1").await, (40_000, 40_000, 0));
    assert_eq!(world.holdings("alice").await, (9_960_000, 9_960_000, 0));
    let all = world
        .post(
            ADMIN,
            &format!(
                "/v1/settlements/{}/finalize",
                done.body["period"].as_str().expect("a period")
            ),
            &json!({}),
        )
        .await;
    assert_eq!(all.status, 200, "{}", all.text);
    assert_eq!(all.body["settled"], 0, "once");
    assert_eq!(world.sum().await, "0");
    world.stop().await;
}

#[tokio::test]
async fn late_abuse_claws_back() {
    let world = used().await;
    covered(&world).await;
    let report = finalize("n1", 3, 2);
    let filed = world.post(LAUNCHER, "/v1/abuse/reports", &report).await;
    let id = filed.body["report_id"].as_str().expect("an id").to_owned();
    let done = world
        .post(ADMIN, "/v1/settlements/x/finalize", &report)
        .await;
    assert_eq!(
        done.body["pending_abuse_reports"],
        json!([id]),
        "{}",
        done.text
    );
    assert_eq!(world.holdings("n1").await.0, 40_000);
    let path = format!("/v1/abuse/reports/{id}/authorize");
    for _ in 0..2 {
        let decided = world
            .post(ADMIN, &path, &json!({"action": "authorize"}))
            .await;
        assert_eq!(
            (decided.status, &decided.body["status"]),
            (200, &json!("authorized"))
        );
    }
    assert_eq!(
        world.holdings("n1").await,
        (0, 0, 0),
        "exactly what that period paid"
    );
    assert_eq!(world.holdings("alice").await, (10_000_000, 10_000_000, 0));
    let refused = world.post(ADMIN, &path, &json!({"action": "deny"})).await;
    assert_eq!(refused.refusal(), (409, "report_already_decided"));
    let listed = world.get(LAUNCHER, "/v1/abuse/reports").await;
    assert_eq!(
        listed.body["reports"][0]["status"], "authorized",
        "{}",
        listed.text
    );
    assert_eq!(world.sum().await, "0");
    world.stop().await;
}

#[tokio::test]
async fn many_locks_are_settled_before_the_answer() {
    let world = World::start().await;
    world.node("n1", "0.04").await;
    let users = 2_500;
    world.purchase("bank", "1000").await;
    let items: Vec<Value> = (0..users)
        .map(|n| {
            json!({"id": format!("i{n}"), "from_account": "bank", "to_account": format!("u{n}"),
                        "amount_usd": "0.1", "open_account": true})
        })
        .collect();
    for chunk in items.chunks(1_000) {
        let done = world
            .post(ADMIN, "/v1/transfers/batch", &json!({"transfers": chunk}))
            .await;
        assert_eq!(done.status, 200);
    }
    let reports = (0..users).map(|n| {
        let body = json!({"account_id": format!("u{n}"), "node_id": "n1", "vcpu_hours": 1,
                          "period_start": hours_ago(3), "period_end": hours_ago(2)});
        let world = &world;
        async move { world.post(UPTIME, "/v1/usage/report", &body).await.status }
    });
    let reports: Vec<_> = reports.collect();
    for status in futures_util::future::join_all(reports).await {
        assert_eq!(status, 200);
    }
    covered(&world).await;
    let done = world
        .post(ADMIN, "/v1/settlements/x/finalize", &finalize("n1", 3, 2))
        .await;
    assert_eq!(
        (done.status, &done.body["state"]),
        (200, &json!("settled")),
        "{}",
        done.text
    );
    assert_eq!(done.body["settled"], users, "each once, in all chunks");
    assert_eq!(world.holdings("n1").await.0, 40_000 * users);
    assert_eq!(world.sum().await, "0");
    world.stop().await;
}

#[tokio::test]
async fn an_admin_confirms_the_clock() {
    let world = World::start().await;
    let now = SystemClock.now();
    let body = json!({"now": now.rfc3339_seconds()});
    let read = world.post(ADMIN, "/v1/ledger/clock", &body).await;
    assert_eq!(
        (read.status, &read.body["trusted"]),
        (200, &json!(true)),
        "{}",
        read.text
    );
    for wrong in [
        json!({}),
        json!({"now": "soon"}),
        json!({"now": 7}),
        json!({"then": 1}),
    ] {
        assert_eq!(
            world.post(ADMIN, "/v1/ledger/clock", &wrong).await.status,
            400
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn reads_say_up_to_which_record_they_go() {
    let world = World::start().await;
    let seq = world.purchase("alice", "1").await.body["seq"]
        .as_u64()
        .expect("a number");
    for path in [
        "/v1/balances/alice",
        "/v1/accounts/alice/entries",
        "/v1/prices",
    ] {
        let read = world.get(ADMIN, path).await;
        let shown = read
            .header("ledger-seq")
            .expect("a record")
            .parse::<u64>()
            .expect("a number");
        assert!(shown >= seq, "{path}: {shown} < {seq}");
    }
    world.stop().await;
}

/// What an operator sees after a failed audit, which the server makes a minute after its start and
/// then every hour: it goes on for those who ask, but says that it is not to be relied on, and
/// settles nothing by itself.
#[tokio::test]
async fn books_that_do_not_add_up_are_told_and_settle_nothing_by_themselves() {
    let world = World::start().await;
    let unsound = &world.running.server.state.books_unsound;
    assert_eq!(world.get(ADMIN, "/readyz").await.status, 200);
    unsound.store(true, Ordering::Release);
    let ready = world.get(ADMIN, "/readyz").await;
    assert_eq!(
        (ready.status, &ready.body["code"]),
        (503, &json!("store_unavailable"))
    );
    let detail = ready.body["detail"].as_str().expect("text");
    assert!(detail.contains("easyenclave audit verify"), "{detail}");
    let alive = world.get(ADMIN, "/livez").await;
    assert_eq!(alive.status, 200, "nobody starts it again blindly");

    use_of_three_hours_ago(&world).await;
    let judged = async || {
        let found = world.get(ADMIN, "/v1/settlements?node=n1").await;
        found.body["settlements"].as_array().map_or(0, Vec::len)
    };
    // Two ticks pass.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(judged().await, 0);
    unsound.store(false, Ordering::Release);
    for _ in 0..200 {
        if judged().await == 1 {
            world.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it was due all the time");
}
