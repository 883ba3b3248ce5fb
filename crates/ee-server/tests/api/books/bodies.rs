//! No request body is our fault: whatever is sent to any route that takes one, the answer is the
//! sender's business (L14).
//!
//! Bodies are made from what the routes know, and then spoilt: members of real names with values
//! of every kind, cut off, doubled, nested, or plain noise. The generator is seeded, so a failure
//! is found again.

use ee_server::http::routes::{Access, routes};
use reqwest::Method;
use serde_json::{Value, json};

use super::{super::running::ADMIN, World};

/// Bodies for each route.
const BODIES: usize = 60;

/// SplitMix64: the same bodies on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % n as u64).expect("small")
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Every member that some route reads.
const MEMBERS: &[&str] = &[
    "account_id",
    "amount_usd",
    "amount",
    "external_ref",
    "from_account",
    "to_account",
    "id",
    "open_account",
    "transfers",
    "chain",
    "node_id",
    "vcpus",
    "period",
    "period_start",
    "period_end",
    "mode",
    "vcpu_hours",
    "usage_id",
    "source",
    "cumulative",
    "action",
    "authorized_by",
    "reason",
    "reported_by",
    "evidence",
    "price_usd",
    "price_usd_per_vcpu_hour",
    "stake_amount_usd",
    "stake_tier",
    "allow_update",
    "rotate_token",
    "effective_from",
    "track",
    "from",
    "until",
    "max_price_usd",
    "nodes_max",
    "role",
    "resources",
    "scopes",
    "name",
    "expires_in_s",
    "grace_s",
    "repo",
    "release_tag",
    "digest",
    "method",
    "path",
    "headers",
    "body_b64",
    "",
];

/// Values that have broken somebody's parser, and some that are right.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "0.5",
    "1e3",
    "1e30",
    "1e-30",
    "1e999",
    "-1e999",
    "0.0000001",
    "9007199254740993",
    "18446744073709551616",
    "-9223372036854775809",
    "99999999999999999999999999999999999999999999",
    "NaN",
    "Infinity",
    "-Infinity",
    "\"\"",
    "\"alice\"",
    "\"bob\"",
    "\"n1\"",
    "\"sys:mint\"",
    "\"a#held\"",
    "\"NaN\"",
    "\"1e30\"",
    "\"-1\"",
    "\"٣\"",
    "\"１\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\u202e\"",
    "\"é\"",
    "\"aaaéaaa\"",
    "\"💸\"",
    "\"2026-11-22T13:00:00Z\"",
    "\"2026-11-22T14:00:00+00:00\"",
    "\"2026-11-22T25:00:00Z\"",
    "\"0000-00-00T00:00:00Z\"",
    "\"9999-12-31T23:59:59Z\"",
    "\"-000001-01-01T00:00:00Z\"",
    "\"1969-12-31T23:59:59Z\"",
    "\"2026-11-22T13:00:00.9999999999999999999Z\"",
    "\"2026-11-22T23:59:60Z\"",
    "\"2026-11-22\"",
    "\"2026-11-22T13Z\"",
    "\"metered\"",
    "\"reserved\"",
    "\"authorize\"",
    "\"deny\"",
    "\"overturn\"",
    "\"deposit\"",
    "\"withdraw\"",
    "\"health\"",
    "\"attestation_fraud\"",
    "\"premium\"",
    "\"admin\"",
    "\"account\"",
    "[]",
    "[1]",
    "[[]]",
    "[null]",
    "{}",
    "{\"a\":1}",
    "[{}]",
    "[\"account=alice\"]",
    "\"app=hello\"",
    "[{\"from_account\":\"alice\",\"to_account\":\"bob\",\"amount_usd\":1,\"id\":\"x\"}]",
    "[{\"from_account\":\"alice\",\"to_account\":\"alice\",\"amount_usd\":1,\"chain\":true}]",
];

const NOISE: &[&str] = &[
    "",
    " ",
    "null",
    "[]",
    "[{}]",
    "{",
    "}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{'a':1}",
    "1",
    "\"x\"",
    "tru",
    "\u{feff}{}",
    "{}{}",
    "{\"a\":1}\u{0}",
    "--",
    "<xml/>",
    "a=b&c=d",
];

fn body(dice: &mut Dice) -> Vec<u8> {
    let long = format!("\"{}\"", "x".repeat(dice.below(3_000)));
    let deep = "[".repeat(dice.below(200));
    match dice.below(12) {
        0 => return dice.one(NOISE).as_bytes().to_vec(),
        1 => {
            return (0..dice.below(64))
                .map(|_| dice.roll().to_le_bytes()[0])
                .collect();
        }
        2 => return format!("{{\"account_id\":{deep}").into_bytes(),
        _ => {}
    }
    let count = dice.below(9);
    let members: Vec<String> = (0..count)
        .map(|_| {
            let value = if dice.below(20) == 0 {
                long.as_str()
            } else {
                dice.one(VALUES)
            };
            format!("\"{}\":{value}", dice.one(MEMBERS))
        })
        .collect();
    let mut body = format!("{{{}}}", members.join(",")).into_bytes();
    if dice.below(10) == 0 {
        let cut = dice.below(body.len() + 1);
        body.truncate(cut);
    }
    body
}

#[tokio::test]
async fn no_request_body_is_a_500() {
    let world = World::start().await;
    world.purchase("alice", "1000").await;
    world.node("n1", "0.04").await;
    let mut dice = Dice(20_261_122);
    let takes_a_body = routes().filter(|route| {
        let method = [Method::POST, Method::PUT, Method::DELETE].contains(&route.method);
        method && !matches!(route.access, Access::Bootstrap)
    });
    for route in takes_a_body {
        for nth in 0..BODIES {
            let path = route.path.replace("{id}", "0").replace("{app}", "hello");
            let period = ["2026-11-22", "latest", "x", "aaa%C3%A9aaa", "%ff"][nth % 5];
            let path = path.replace("{period}", period).replace("{node}", "n1");
            let body = body(&mut dice);
            let request = world.running.request(route.method.clone(), &path);
            let request = request
                .bearer_auth(ADMIN)
                .header("idempotency-key", format!("k{nth}"));
            let request = request.header("content-type", "application/json");
            let sent = request.body(body.clone()).send().await.expect("answered");
            let (status, text) = (sent.status().as_u16(), sent.text().await.expect("text"));
            let shown = String::from_utf8_lossy(&body);
            // The proxy route has no app to reach here, and says so with 404.
            assert!(
                status < 500,
                "{} {path} {status} {shown}\n{text}",
                route.method
            );
        }
    }
    assert_eq!(world.sum().await, "0");
    assert_eq!(world.running.get("/health").await.status().as_u16(), 200);
    world.stop().await;
}

#[tokio::test]
async fn no_path_and_no_query_is_a_500() {
    let world = World::start().await;
    let odd = [
        "%00",
        "%ff",
        "..%2f..",
        "a%23held",
        "sys:mint",
        "%E2%80%AE",
        "0",
        "-1",
        "x%0ay",
        "ffffffffffffffffffffffffffffffff",
        "00000000000070008000000000000000",
        "20261122T130000Z--20261122T140000Z",
        "aaa%C3%A9aaa",
    ];
    let queries = [
        "",
        "?limit=0",
        "?limit=-1",
        "?limit=99999999999999999999",
        "?cursor=x",
        "?cursor=%ff",
        "?cursor=AAAA",
        "?account=sys:mint",
        "?node=%00",
        "?state=x",
        "?format=xls",
        "?limit",
        "?&&=&",
    ];
    for route in routes().filter(|route| route.method == Method::GET) {
        if route.path == "/v1/tunnel" {
            continue;
        }
        for odd in odd {
            for query in queries {
                let mut path = route.path.to_owned();
                while let (Some(open), Some(close)) = (path.find('{'), path.find('}')) {
                    path.replace_range(open..=close, odd);
                }
                let read = world.get(ADMIN, &format!("{path}{query}")).await;
                assert!(
                    read.status < 500,
                    "{path}{query}: {} {}",
                    read.status,
                    read.text
                );
            }
            if !route.path.contains('{') {
                break;
            }
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn a_body_has_its_limit() {
    let world = World::start().await;
    let padding = "x".repeat(64 * 1024);
    let body = json!({"account_id": "alice", "amount_usd": 1, "padding": padding});
    let refused = world.post(ADMIN, "/v1/credits/purchase", &body).await;
    assert_eq!(refused.refusal(), (413, "body_too_large"));
    let item = |n: usize| {
        json!({"id": format!("{n:0>100}"), "from_account": "alice", "to_account": "bob",
               "amount_usd": "0.000001", "open_account": true})
    };
    world.purchase("alice", "1").await;
    let items: Vec<Value> = (0..1_000).map(item).collect();
    let batch = json!({"transfers": items});
    assert!(batch.to_string().len() > 64 * 1024, "a batch may be larger");
    let done = world.post(ADMIN, "/v1/transfers/batch", &batch).await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert_eq!(world.holdings("bob").await.0, 1_000);
    world.stop().await;
}

/// PostgreSQL keeps no U+0000 in text: it is refused at the door, in every member that holds text,
/// so that both stores take the same.
#[tokio::test]
async fn a_null_character_is_in_no_text() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.node("n1", "0.04").await;
    let usage = json!({"account_id": "alice", "node_id": "n1", "vcpu_hours": 1,
        "period_start": "2026-11-22T13:00:00Z", "period_end": "2026-11-22T14:00:00Z"});
    let with = |base: &Value, name: &str| {
        let mut body = base.clone();
        body[name] = json!("a\u{0}b");
        if name == "source" {
            body["id"] = json!("x");
        }
        body
    };
    let purchase = json!({"account_id": "alice", "amount_usd": 1});
    let transfer =
        json!({"id": "t", "from_account": "alice", "to_account": "bob", "amount_usd": 1});
    let abuse = json!({"node_id": "n1", "reason": "r", "reported_by": "bob"});
    let slash = json!({"id": "s", "node_id": "n1", "reason": "attestation_fraud", "evidence": "e"});
    let payout = json!({"id": "p", "account_id": "alice", "amount_usd": 1});
    let token = json!({"role": "account", "resources": ["account=alice"]});
    for (path, base, members) in [
        (
            "credits/purchase",
            &purchase,
            &["account_id", "external_ref"][..],
        ),
        (
            "transfers",
            &transfer,
            &["id", "from_account", "to_account"],
        ),
        (
            "usage/report",
            &usage,
            &["account_id", "node_id", "usage_id", "source"],
        ),
        (
            "abuse/reports",
            &abuse,
            &["node_id", "reason", "reported_by"],
        ),
        ("slashes", &slash, &["id", "node_id", "evidence"]),
        ("payouts", &payout, &["id", "account_id", "external_ref"]),
        (
            "nodes/register",
            &json!({"node_id": "n2", "price_usd": 1}),
            &["node_id"],
        ),
        ("tokens", &token, &["name", "role"]),
    ] {
        for member in members {
            let body = with(base, member);
            let read = world.post(ADMIN, &format!("/v1/{path}"), &body).await;
            assert_eq!(read.status, 400, "{path} {member}: {}", read.text);
        }
    }
    let filed = world.post(ADMIN, "/v1/abuse/reports", &abuse).await;
    let report = filed.body["report_id"].as_str().expect("an id").to_owned();
    let decision = with(&json!({"action": "deny"}), "authorized_by");
    let path = format!("/v1/abuse/reports/{report}/authorize");
    assert_eq!(world.post(ADMIN, &path, &decision).await.status, 400);
    assert_eq!(world.sum().await, "0");
    world.stop().await;
}
