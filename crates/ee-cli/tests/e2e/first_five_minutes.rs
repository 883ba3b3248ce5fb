//! What a newcomer does in the first five minutes, by the book: `easyenclave dev` on free ports.

use std::process::Output;

use ee_protocol::{
    money::{MICROS_PER_HOUR, MicroUsd},
    period::Period,
    time::Timestamp,
};
use serde_json::Value;

use crate::support::{Running, curl, easyenclave};

struct Dev {
    process: Running,
    control: String,
    app: String,
    home: tempfile::TempDir,
}

impl Dev {
    fn start(extra: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let mut command = easyenclave();
        command
            .args([
                "dev",
                "--control-port",
                "0",
                "--proxy-port",
                "0",
                "--quote-port",
                "0",
            ])
            .args(extra)
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path())
            .env("TMPDIR", home.path());
        let mut process = Running::start(command);
        let control = process.wait_for("address", |line| {
            let (_, rest) = line.split_once("control plane  ")?;
            Some(rest.split_whitespace().next()?.to_owned())
        });
        let app = process.wait_for("next command", |line| {
            line.strip_prefix("Next: curl ").map(str::to_owned)
        });
        Self {
            process,
            control,
            app,
            home,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        easyenclave()
            .args(arguments)
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .output()
            .expect("our own binary")
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).expect("one JSON value")
    }

    /// Locks on a node, newest first.
    fn locks(&self, node: &str) -> Vec<Value> {
        let list = self.json(&["lock", "ls", "--node", node]);
        list["locks"].as_array().expect("a list").clone()
    }
}

/// What a lock of `vcpus` at `price` must hold, recomputed from its own row: every millionth of
/// an hour that it covers, rounded up once.
fn lock_needs(lock: &Value, price_micro_usd: u64) -> u64 {
    let text = |name: &str| lock[name].as_str().expect("text");
    let period = Period::parse(text("period")).expect("a period");
    let from = Timestamp::parse_rfc3339(text("from")).expect("a time");
    let covered = u64::try_from(period.end().since(from).as_micros()).expect("short");
    let used = covered * lock["vcpus"].as_u64().expect("a number");
    (used * price_micro_usd).div_ceil(MICROS_PER_HOUR)
}

fn amount(row: &Value, name: &str) -> u64 {
    row[name].as_str().expect("text").parse().expect("a number")
}

/// `667` as `$0.000667`.
fn dollars(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let (whole, fraction) = text.split_once('.').expect("a point");
    let kept = fraction.trim_end_matches('0').len().max(2);
    format!("${whole}.{}", &fraction[..kept])
}

/// Credits are bought, the app's payer is bound, and its locks cover the cheaper node.
fn money_is_locked_ahead(dev: &Dev) {
    let alice = dev.json(&["account", "show", "alice"]);
    assert_eq!(
        alice["posted_micro_usd"], "25000000",
        "nothing is paid before a verdict"
    );
    crate::support::wait_until("the app's first lock", || !dev.locks("hello-1").is_empty());
    for lock in dev.locks("hello-1") {
        assert_eq!(
            amount(&lock, "amount_micro_usd"),
            lock_needs(&lock, 40_000),
            "{lock}"
        );
        assert_eq!(
            (&lock["account_id"], &lock["app"]),
            (&"alice".into(), &"hello".into())
        );
    }
    let price = MicroUsd::parse_text("0.040").expect("a price").micros();
    let whole = u64::try_from(price).expect("positive") * 2 * 30 * 1_000_000;
    assert_eq!(dollars(whole.div_ceil(MICROS_PER_HOUR)), "$0.000667");
}

/// The killed node's period fails before your eyes, and its lock returns.
fn the_killed_nodes_period_is_refunded(dev: &Dev) {
    let said = dev.text(&["settle", "show", "latest", "--node", "hello-1", "--wait"]);
    let mut lines = said.lines();
    let head = lines.next().expect("a verdict");
    assert!(head.contains("  hello-1  FAILED  health_miss "), "{said}");
    let period = head.split("  ").next().expect("a period");
    let locks = dev.locks("hello-1");
    let of_period = locks.iter().filter(|lock| lock["period"] == *period);
    let locked: u64 = of_period.map(|lock| amount(lock, "amount_micro_usd")).sum();
    let expected = format!(
        "  refunded  alice  {}   hello-1 receives nothing",
        dollars(locked)
    );
    assert_eq!(lines.next(), Some(expected.as_str()), "{said}");
    // Read before the locks: a settlement in between only adds to what was paid.
    let alice = dev.json(&["account", "show", "alice"]);
    let paid: u64 = ["hello-1", "hello-2"]
        .iter()
        .flat_map(|node| dev.locks(node))
        .map(|lock| amount(&lock, "posted_micro_usd"))
        .sum();
    let left = amount(&alice, "posted_micro_usd");
    assert!(
        left + paid >= 25_000_000,
        "what alice lost, nodes were paid: {left} + {paid}"
    );
    let evidence = dev.json(&["settle", "show", period, "--node", "hello-1"]);
    assert!(
        evidence["facts"]
            .as_array()
            .is_some_and(|facts| !facts.is_empty()),
        "a verdict comes with its facts: {evidence}"
    );
}

#[test]
fn first_five_minutes() {
    let mut dev = Dev::start(&[]);
    let introduction = dev.process.output();
    assert!(
        introduction.contains("DEVELOPMENT NETWORK"),
        "{introduction}"
    );
    for line in [
        "ok    agent hello-1",
        "ok    agent hello-2",
        "FAIL  agent rogue",
        "$0.040/vCPU-h",
        "ok    ledger         alice $25.00; locks $0.000667 per period of 30 s",
    ] {
        assert!(introduction.contains(line), "{introduction}");
    }
    assert!(
        introduction.contains("measurement_mismatch:rtmr2"),
        "{introduction}"
    );

    let answer = curl(&[&dev.app]);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "hello from a simulated enclave\n")
    );

    let status = dev.run(&["status"]);
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && said.contains("hello"), "{said}");

    let explain = dev.run(&["app", "explain", "hello", "--agent", "rogue"]);
    assert_eq!(explain.status.code(), Some(3));
    // The rogue comes back every few seconds; what it fails at is said once.
    let said = String::from_utf8_lossy(&explain.stdout);
    assert_eq!(said.matches("FAIL").count(), 1, "{said}");

    money_is_locked_ahead(&dev);
    let port = dev.control.rsplit(':').next().expect("a port");
    let killed = dev.run(&["dev", "kill", "hello-1", "--control-port", port]);
    assert!(
        killed.status.success(),
        "{}",
        String::from_utf8_lossy(&killed.stderr)
    );
    crate::support::wait_until("the other agent takes over", || {
        let answer = curl(&[&dev.app]);
        answer.status == 200 && answer.header("x-ee-node") == Some("hello-2")
    });
    the_killed_nodes_period_is_refunded(&dev);

    dev.process.signal("INT");
    assert_eq!(dev.process.wait_for_exit(), Some(0));
    let left: Vec<_> = files_below(dev.home.path());
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn own_program_goes_behind_the_network() {
    let (_backend, url) = crate::support::start_backend();
    let dev = Dev::start(&["--app", "mine", "--backend", &url]);
    let port = dev
        .app
        .trim_end_matches('/')
        .rsplit(':')
        .next()
        .expect("a port");
    let answer = curl(&[
        "-H",
        "Host: mine.localhost",
        &format!("http://127.0.0.1:{port}/"),
    ]);
    assert_eq!(
        (answer.status, answer.header("x-ee-node")),
        (200, answer.header("x-ee-node"))
    );
    assert!(
        answer
            .header("x-ee-node")
            .is_some_and(|node| node.starts_with("mine-"))
    );
}

fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
