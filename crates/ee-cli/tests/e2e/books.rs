//! The commands of the books as people and scripts use them.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{ADMIN_TOKEN, ControlPlane, easyenclave};

/// A control plane and commands that talk to it.
struct Desk {
    control: ControlPlane,
    dir: tempfile::TempDir,
}

impl Desk {
    fn open() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Self {
            control: ControlPlane::start(dir.path(), &[]),
            dir,
        }
    }

    fn run(&self, token: &str, arguments: &[&str]) -> Output {
        easyenclave()
            .args(arguments)
            .env("EE_URL", &self.control.api)
            .env("EE_TOKEN", token)
            .output()
            .expect("our own binary")
    }

    fn text(&self, token: &str, arguments: &[&str]) -> String {
        let output = self.run(token, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, token: &str, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["-o", "json"]].concat();
        let text = self.text(token, &arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    fn admin(&self, arguments: &[&str]) -> Value {
        self.json(ADMIN_TOKEN, arguments)
    }

    /// A token of `account`.
    fn wallet(&self, account: &str) -> String {
        let resource = format!("account={account}");
        let create = [
            "token",
            "create",
            "--role",
            "account",
            "--resource",
            &resource,
        ];
        self.admin(&create)["token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }
}

/// A code and an exit status, as scripts tell refusals apart.
fn refusal(output: &Output) -> (Option<i32>, String) {
    let said = String::from_utf8_lossy(&output.stderr);
    let code = said
        .split_once("error[")
        .and_then(|(_, rest)| rest.split_once(']'));
    let (code, _) = code.unwrap_or_else(|| panic!("no code in: {said}"));
    assert!(said.contains("\nnext: "), "{said}");
    (output.status.code(), code.to_owned())
}

/// The hour after the running one: locks may be made for it, and released.
fn next_hour() -> String {
    use ee_control::ports::Clock;
    use ee_protocol::period::Period;
    let hour = Period::holding(ee_server::clock::SystemClock.now(), 3_600).expect("an hour");
    hour.next().expect("a next one").to_string()
}

#[test]
fn every_command_of_the_books_prints_one_json_value() {
    let desk = Desk::open();
    let period = next_hour();
    let bought = desk.admin(&["credits", "purchase", "alice", "25"]);
    assert_eq!(bought["balance_cents"], 2_500);
    let node = desk.admin(&["node", "register", "n1", "--price", "0.04", "--vcpus", "4"]);
    assert!(node["node_token"].is_string());
    desk.admin(&["node", "price", "n1", "0.05"]);
    let shown = desk.admin(&["node", "show", "n1"]);
    assert_eq!(shown["price_micro_usd_per_vcpu_hour"], "50000");
    assert_eq!(desk.admin(&["node", "ls"])["nodes"][0]["node_id"], "n1");
    desk.admin(&["credits", "purchase", "bob", "0.000001"]);
    desk.admin(&["credits", "transfer", "alice", "bob", "1.5"]);
    let stake = desk.admin(&["node", "stake", "n1", "deposit", "2", "--account", "alice"]);
    assert!(stake["transfer_id"].is_string());
    lock_and_release(&desk, &period);
    report_and_dispute(&desk, &period);
    assert!(desk.admin(&["settle", "ls", "--node", "n1"])["settlements"].is_array());
    assert_eq!(desk.admin(&["settle", "show", &period])["state"], "open");
    assert_eq!(desk.admin(&["whoami"])["name"], "env:admin");
    lists(&desk);
}

fn lock_and_release(desk: &Desk, period: &str) {
    let lock = [
        "lock",
        "create",
        "--account",
        "alice",
        "--node",
        "n1",
        "--vcpus",
        "2",
        "--period",
        period,
    ];
    let lock = desk.admin(&lock);
    assert_eq!(lock["amount_micro_usd"], "100000");
    let id = lock["lock_id"].as_str().expect("an id");
    assert_eq!(desk.admin(&["lock", "show", id])["state"], "open");
    assert_eq!(
        desk.admin(&["lock", "ls", "--account", "alice"])["locks"][0]["lock_id"],
        id
    );
    assert_eq!(
        desk.admin(&["account", "show", "alice"])["locked_micro_usd"],
        "100000"
    );
    desk.admin(&["lock", "release", id]);
    assert_eq!(
        desk.admin(&["account", "show", "alice"])["posted_micro_usd"],
        "21500000"
    );
}

fn report_and_dispute(desk: &Desk, period: &str) {
    let report = [
        "usage",
        "report",
        "--account",
        "alice",
        "--node",
        "n1",
        "--period",
        period,
        "--vcpu-hours",
        "0.5",
        "--usage-id",
        "u1",
    ];
    let used = desk.admin(&report);
    assert_eq!(used["amount_micro_usd"], "25000");
    assert_eq!(
        desk.admin(&["usage", "ls", "alice"])["usage"][0]["usage_id"],
        used["usage_id"]
    );
    let filed = desk.admin(&[
        "abuse", "file", "n1", "--reason", "mining", "--period", period,
    ]);
    let report = filed["report_id"].as_str().expect("an id");
    assert_eq!(
        desk.admin(&["abuse", "ls"])["reports"][0]["status"],
        "pending"
    );
    assert_eq!(desk.admin(&["abuse", "deny", report])["status"], "denied");
}

fn lists(desk: &Desk) {
    let entries = desk.admin(&["account", "entries", "alice"]);
    assert!(
        entries["entries"].as_array().is_some_and(|e| e.len() >= 3),
        "{entries}"
    );
    assert_eq!(desk.admin(&["account", "ls"])["next_cursor"], Value::Null);

    let lines = desk.text(ADMIN_TOKEN, &["account", "ls", "-o", "jsonl"]);
    let accounts: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a value a line"))
        .collect();
    assert!(
        accounts
            .iter()
            .any(|account| account["account_id"] == "bob"),
        "{lines}"
    );
    let two = desk.admin(&["account", "ls", "--limit", "2"]);
    assert_eq!(two["accounts"].as_array().map(Vec::len), Some(2));
    assert!(two["next_cursor"].is_string());
}

#[test]
fn tables_show_dollars_and_the_environment_of_a_new_node() {
    let desk = Desk::open();
    let text = |arguments: &[&str]| desk.text(ADMIN_TOKEN, arguments);
    let said = text(&["credits", "purchase", "alice", "25"]);
    assert!(said.contains("alice  available $25.00"), "{said}");
    let said = text(&["node", "register", "n1", "--price", "0.0035"]);
    assert!(said.contains("$0.0035/vCPU-h"), "{said}");
    assert!(
        said.contains("EE_NODE_ID=n1\nEE_NODE_TOKEN=ee_node_"),
        "{said}"
    );
    let said = text(&["account", "ls"]);
    assert!(said.starts_with("ACCOUNT  KIND  AVAILABLE"), "{said}");
}

#[test]
fn refusals_have_their_exit_status_and_a_next_step() {
    let desk = Desk::open();
    let admin = |arguments: &[&str]| refusal(&desk.run(ADMIN_TOKEN, arguments));
    desk.admin(&["credits", "purchase", "alice", "1"]);
    desk.admin(&["node", "register", "n1", "--price", "0.04"]);
    let exit = |status: i32, code: &str| (Some(status), code.to_owned());
    assert_eq!(
        admin(&["credits", "transfer", "alice", "bob", "2"]),
        exit(1, "insufficient_funds")
    );
    assert_eq!(
        admin(&["credits", "purchase", "alice", "1e3"]),
        exit(1, "invalid_amount")
    );
    assert_eq!(admin(&["node", "register", "n1"]), exit(1, "node_exists"));
    assert_eq!(
        admin(&["node", "show", "nobody"]),
        exit(5, "node_not_found")
    );
    assert_eq!(
        admin(&["settle", "finalize", &next_hour()]),
        exit(6, "period_open")
    );
    let wrong = desk.run("not-the-token-0123456789abcdef", &["account", "ls"]);
    assert_eq!(refusal(&wrong), exit(4, "token_invalid"));
    let usage = desk.run(ADMIN_TOKEN, &["settle", "show", "latest"]);
    assert_eq!(usage.status.code(), Some(2));
    let nowhere = easyenclave()
        .args(["account", "ls", "--url", "http://127.0.0.1:1"])
        .output()
        .expect("our own binary");
    assert_eq!(refusal(&nowhere), exit(7, "unreachable"));
}

#[test]
fn a_repeat_under_the_same_key_has_one_effect() {
    let desk = Desk::open();
    desk.admin(&["credits", "purchase", "alice", "10"]);
    let pay = |amount: &str| {
        let key = ["--idempotency-key", "k1"];
        let pay = ["credits", "transfer", "alice", "bob", amount, "-o", "json"];
        desk.run(ADMIN_TOKEN, &[&key[..], &pay[..]].concat())
    };
    let (first, second) = (pay("3"), pay("3"));
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(
        desk.admin(&["account", "show", "bob"])["posted_micro_usd"],
        "3000000"
    );
    assert_eq!(refusal(&pay("4")).1, "idempotency_key_reused");
    let plain = ["credits", "transfer", "alice", "bob", "3"];
    desk.admin(&plain);
    desk.admin(&plain);
    let bob = desk.admin(&["account", "show", "bob"]);
    assert_eq!(
        bob["posted_micro_usd"], "9000000",
        "each command has a key of its own"
    );
}

#[test]
fn a_wallet_token_moves_its_own_money_and_sees_nobody_elses() {
    let desk = Desk::open();
    desk.admin(&["credits", "purchase", "alice", "10"]);
    desk.admin(&["credits", "purchase", "bob", "10"]);
    let alice = desk.wallet("alice");
    assert_eq!(desk.json(&alice, &["whoami"])["principal"], "account:alice");
    assert_eq!(
        desk.json(&alice, &["account", "show", "alice"])["posted_micro_usd"],
        "10000000"
    );
    let paid = desk.json(&alice, &["credits", "transfer", "alice", "bob", "1"]);
    assert!(paid["balances"]["alice"].is_object());
    assert!(
        paid["balances"]["bob"].is_null(),
        "another's balance is no business of hers"
    );
    for (arguments, code) in [
        (&["account", "show", "bob"][..], "resource_denied"),
        (
            &["credits", "transfer", "bob", "alice", "1"],
            "resource_denied",
        ),
        (&["credits", "purchase", "alice", "1"], "scope_missing"),
        (&["token", "ls"], "scope_missing"),
        (&["abuse", "ls"], "role_not_configured"),
    ] {
        let (status, said) = refusal(&desk.run(&alice, arguments));
        assert_eq!((status, said.as_str()), (Some(4), code), "{arguments:?}");
    }
    let seen = desk.json(&alice, &["account", "ls"]);
    assert_eq!(seen["accounts"].as_array().map(Vec::len), Some(1), "{seen}");
}

#[test]
fn an_audit_names_the_changed_cell_and_its_exit_status_is_a_no() {
    let desk = Desk::open();
    desk.admin(&["credits", "purchase", "alice", "25"]);
    let database = desk.dir.path().join("control-plane.db");
    let database = database.display().to_string();
    let audit = ["audit", "verify", "--db", &database, "all"];
    let sound = desk.run(ADMIN_TOKEN, &audit);
    assert_eq!(sound.status.code(), Some(0), "{sound:?}");
    drop(desk.control);
    let theft = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute(\"UPDATE \
                 account SET posted = posted + 5 WHERE name = 'alice'\"); db.commit()";
    let stolen = Command::new("python3")
        .args(["-c", theft, &database])
        .status();
    assert!(stolen.expect("python3").success());
    let broken = easyenclave().args(audit).output().expect("our own binary");
    assert_eq!(broken.status.code(), Some(3), "{broken:?}");
    let said = String::from_utf8_lossy(&broken.stdout);
    assert!(said.contains("account: posted of"), "{said}");
}
