//! A settlement of more locks than one step takes, killed in the middle: it finishes, each lock
//! resolves once, and the verdict stays.

use std::{thread, time::Duration};

use ee_testbed::{PostgresCluster, postgres::TEST_URL};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    http::Client,
    kill::{asked, at_last, this_minute},
    random::Random,
    server::{Books, Home},
    story::{Operation, Period},
};

/// More than one chunk of 2 000 (LEDGER 8), so that the kill may fall between two.
const LOCKS: u64 = 4_100;
/// Clients that report at the same time.
const WORKERS: u64 = 8;
/// The kill comes at most so long after the first step showed.
const AFTER_US: u64 = 20_000;
/// Every so many rounds of killing come with one of these.
const ONE_IN: u64 = 20;

#[test]
fn settlement_killed_in_the_middle_finishes_on_sqlite() {
    let folder = TempDir::new().unwrap();
    rounds(&Home::new(folder.path(), Books::Sqlite));
}

#[test]
fn settlement_killed_in_the_middle_finishes_on_postgresql() {
    if std::env::var_os(TEST_URL).is_none() {
        return;
    }
    let cluster = PostgresCluster::start().unwrap();
    let folder = TempDir::new().unwrap();
    rounds(&Home::new(folder.path(), Books::Postgres(cluster.url())));
}

fn rounds(home: &Home) {
    let rounds = asked("EE_CRASH_ROUNDS", 1).div_ceil(ONE_IN);
    let minute = this_minute();
    let (mut middle, mut seed) = (0, asked("EE_CRASH_SEED", 1));
    for round in 0..rounds {
        seed += 1;
        middle += u64::from(one(home, &Period::back(minute, round), round, seed));
    }
    home.audit();
    eprintln!("{rounds} settlements of {LOCKS} locks killed, {middle} of them half done");
}

/// Whether the kill fell into the middle.
fn one(home: &Home, period: &Period, round: u64, seed: u64) -> bool {
    let server = home.start();
    prepare(&server.api, period, round);
    let body = json!({
        "node_id": node(round), "period_start": period.start, "period_end": period.end,
    });
    let path = format!("/v1/settlements/{}/finalize", period.id);
    let finalize = Operation::new(&format!("finalize {round}"), path, body);
    let (api, asking) = (server.api.clone(), finalize.clone());
    let asked = thread::spawn(move || asking.send(&mut Client::new(&api)));
    // Reads are answered between two steps: the first that shows money moving is the middle.
    let mut watching = Client::new(&server.api);
    while resolved(&mut watching, round) == 0 && !asked.is_finished() {
        thread::yield_now();
    }
    thread::sleep(Duration::from_micros(Random::new(seed).below(AFTER_US)));
    server.kill();
    let answered = asked.join().unwrap();

    let server = home.start();
    let mut client = Client::new(&server.api);
    let before = resolved(&mut client, round);
    let again = at_last(&finalize, &mut client);
    assert_eq!(again.status, 200, "{again:?}");
    if let Some(first) = answered {
        assert_eq!(again.body["verdict"], first.body["verdict"]);
        assert_eq!(again.body["seq"], first.body["seq"]);
    }
    finish(&mut client, period, round);
    assert_eq!(resolved(&mut client, round), LOCKS);
    before > 0 && before < LOCKS
}

fn node(round: u64) -> String {
    format!("node-{round}")
}

/// A node that passes, and `LOCKS` accounts that used it.
fn prepare(api: &str, period: &Period, round: u64) {
    let mut client = Client::new(api);
    let register = json!({"node_id": node(round), "price_usd_per_vcpu_hour": "0.36"});
    let mut first = vec![Operation::new(&node(round), "/v1/nodes/register", register)];
    for track in ["health", "attestation"] {
        let body = json!({
            "node_id": node(round), "track": track, "from": period.start, "until": period.end,
        });
        first.push(Operation::new(
            &format!("{track} {round}"),
            "/v1/facts",
            body,
        ));
    }
    for operation in &first {
        let answer = at_last(operation, &mut client);
        assert_eq!(answer.status, 200, "{operation:?}: {answer:?}");
    }
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || {
                let mut client = Client::new(api);
                for number in (worker..LOCKS).step_by(usize::try_from(WORKERS).unwrap()) {
                    report(&mut client, period, round, number);
                }
            });
        }
    });
}

fn report(client: &mut Client, period: &Period, round: u64, number: u64) {
    let account = format!("user-{number}");
    let buy = json!({"account_id": account, "amount_usd": "1"});
    let used = json!({
        "account_id": account, "node_id": node(round), "vcpu_hours": "0.5",
        "period_start": period.start, "period_end": period.end,
    });
    for (path, body) in [("/v1/credits/purchase", buy), ("/v1/usage/report", used)] {
        let operation = Operation::new(&format!("{round} {number}"), path, body);
        let answer = at_last(&operation, client);
        assert_eq!(answer.status, 200, "{operation:?}: {answer:?}");
    }
}

/// Waits until nothing of the period is open.
fn finish(client: &mut Client, period: &Period, round: u64) {
    let path = format!("/v1/settlements/{}/{}", period.id, node(round));
    for _ in 0..600 {
        let answer = client.get(&path).unwrap();
        if answer.body["state"] == "settled" {
            assert_eq!(answer.body["verdict"], "pass", "{answer:?}");
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("never settled: {:?}", client.get(&path).unwrap().body);
}

/// How many of the round's locks are resolved: each pays half a vCPU hour, 180 000 µ$.
fn resolved(client: &mut Client, round: u64) -> u64 {
    let answer = client
        .get(&format!("/v1/balances/{}", node(round)))
        .unwrap();
    let paid = answer.body["posted_micro_usd"].as_str().unwrap();
    let paid: u64 = paid.parse().unwrap();
    assert_eq!(paid % 180_000, 0, "{paid}");
    paid / 180_000
}
