//! What the store keeps across restarts and crashes, and what it refuses to open.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set its scene fails by panicking"
)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use ee_core::attestation::{AttestationResult, BindingStrength, Pinning, Provenance, TcbStatus};
use ee_protocol::{
    names::{AgentId, AppName, Network, NodeId, ReleaseTag, Repo},
    time::Timestamp,
};
use ee_store::{AppRow, ChangedAsset, CollateralMark, NodeRow, OpenError, PinKey, PinRow, Store};
use tempfile::TempDir;

#[tokio::test]
async fn apps_and_nodes_come_back_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("deep/er/control-plane.db");
    let store = Store::open(&path).unwrap();
    store
        .save_registration(app(Network::Sandbox1), node(Some(result())))
        .await
        .unwrap();
    store
        .save_registration(app(Network::Forge1), node(Some(result())))
        .await
        .unwrap();
    store
        .save_health(vec![(node_id(), at(90)), (node_id(), at(80))])
        .await
        .unwrap();
    let before = store.load_live().await.unwrap();
    store.close().await;

    let after = Store::open(&path).unwrap().load_live().await.unwrap();
    assert_eq!(before, after);
    assert_eq!(after.apps, vec![app(Network::Forge1)]);
    let expected = NodeRow {
        last_health_at: Some(at(90)),
        ..node(Some(result()))
    };
    assert_eq!(after.nodes, vec![expected]);
}

#[tokio::test]
async fn what_was_answered_survives_a_crash() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let store = Store::open(&path).unwrap();
    store
        .save_registration(app(Network::Forge1), node(None))
        .await
        .unwrap();
    // A crash: the files as they lie on disk now, without the store's own closing.
    let crashed = dir.path().join("crashed.db");
    fs::copy(&path, &crashed).unwrap();
    fs::copy(
        dir.path().join("a.db-wal"),
        dir.path().join("crashed.db-wal"),
    )
    .unwrap();

    let after = Store::open(&crashed).unwrap().load_live().await.unwrap();
    assert_eq!(after.nodes, vec![node(None)]);
}

#[tokio::test]
async fn a_torn_log_loses_nothing_that_was_committed_before_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let store = Store::open(&path).unwrap();
    store
        .save_registration(app(Network::Forge1), node(None))
        .await
        .unwrap();
    let whole = fs::read(dir.path().join("a.db-wal")).unwrap();
    store.save_health(vec![(node_id(), at(99))]).await.unwrap();
    let longer = fs::read(dir.path().join("a.db-wal")).unwrap();
    assert!(longer.len() > whole.len());
    let crashed = dir.path().join("crashed.db");
    fs::copy(&path, &crashed).unwrap();
    fs::write(
        dir.path().join("crashed.db-wal"),
        &longer[..longer.len() - 100],
    )
    .unwrap();

    let after = Store::open(&crashed).unwrap().load_live().await.unwrap();
    assert_eq!(after.nodes, vec![node(None)]);
}

#[tokio::test]
async fn a_second_server_is_refused_and_told_why() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let store = Store::open(&path).unwrap();
    let refused = Store::open(&path).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }));
    assert!(
        refused.to_string().contains("another running server"),
        "{refused}"
    );
    store.close().await;
    assert!(Store::open(&path).is_ok());
}

#[test]
fn a_prototype_database_is_refused_untouched() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("control-plane.db");
    let prototype = rusqlite::Connection::open(&path).unwrap();
    prototype
        .execute_batch("CREATE TABLE apps (name TEXT); PRAGMA journal_mode = WAL")
        .unwrap();
    drop(prototype);
    let before = fs::read(&path).unwrap();

    let refused = Store::open(&path).unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert!(refused.to_string().contains("EE_DB_PATH"));
    assert_eq!(fs::read(&path).unwrap(), before);
    let beside: Vec<_> = names(dir.path());
    assert_eq!(beside, ["control-plane.db", "control-plane.db.lock"]);
}

#[test]
fn a_file_that_is_no_database_is_refused_untouched() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("notes.txt");
    fs::write(&path, "do not lose me").unwrap();
    assert!(matches!(Store::open(&path), Err(OpenError::Foreign { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"do not lose me");
}

/// SQLite's rollback journal of the first write to an empty database: its header, no page
/// (sqlite.org/fileformat2.html, section 3).
fn journal_of_the_first_write() -> Vec<u8> {
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    // No records, a nonce, no pages before the write, sectors of 512 bytes, pages of 4 096.
    for field in [0_u32, 7, 0, 512, 4_096] {
        journal.extend(field.to_be_bytes());
    }
    journal.resize(512, 0);
    journal
}

#[tokio::test]
async fn a_power_cut_while_the_database_is_made_leaves_nothing_in_the_way() {
    let dir = TempDir::new().unwrap();
    let whole = dir.path().join("whole.db");
    Store::open(&whole).unwrap().close().await;
    let first_page = fs::read(&whole).unwrap()[..4_096].to_vec();
    for (name, left) in [("blank", vec![0; 4_096]), ("header", first_page)] {
        let path = dir.path().join(name);
        fs::write(&path, left).unwrap();
        let journal = dir.path().join(format!("{name}-journal"));
        fs::write(&journal, journal_of_the_first_write()).unwrap();
        for start in 1..=2 {
            let store =
                Store::open(&path).unwrap_or_else(|error| panic!("{name} {start}: {error}"));
            store.close().await;
        }
    }
}

#[test]
fn a_blank_file_that_was_not_ours_is_refused_untouched() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk.img");
    fs::write(&path, [0; 8_192]).unwrap();
    let refused = Store::open(&path).unwrap_err();
    assert!(refused.to_string().contains("not a database"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), [0; 8_192]);
}

#[test]
fn an_unusable_directory_is_named() {
    let dir = TempDir::new().unwrap();
    let in_the_way = dir.path().join("file");
    fs::write(&in_the_way, "").unwrap();
    let refused = Store::open(&in_the_way.join("a.db")).unwrap_err();
    assert!(matches!(refused, OpenError::Directory { .. }), "{refused}");
    assert!(refused.to_string().contains(in_the_way.to_str().unwrap()));
}

#[tokio::test]
async fn what_is_created_is_private() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state/a.db");
    let _store = Store::open(&path).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("state")), 0o700);
    for file in ["a.db", "a.db-wal", "a.db.lock"] {
        assert_eq!(mode(&dir.path().join("state").join(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn many_writes_share_commits_and_all_are_answered() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(&dir.path().join("a.db")).unwrap();
    store
        .save_registration(app(Network::Forge1), node(None))
        .await
        .unwrap();
    let beats = (0..1000).map(|second| {
        let store = store.clone();
        async move { store.save_health(vec![(node_id(), at(second))]).await }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for beat in beats {
        tasks.spawn(beat);
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    let live = store.load_live().await.unwrap();
    assert_eq!(live.nodes[0].last_health_at, Some(at(999)));
}

#[tokio::test]
async fn removing_an_app_removes_its_nodes_and_their_results() {
    let store = Store::in_memory().unwrap();
    store
        .save_registration(app(Network::Forge1), node(Some(result())))
        .await
        .unwrap();
    store.remove_app(app(Network::Forge1).name).await.unwrap();
    assert_eq!(
        store.load_live().await.unwrap(),
        ee_store::LiveRows::default()
    );
    store.save_attestation(node_id(), result()).await.unwrap();
    store
        .save_registration(app(Network::Forge1), node(None))
        .await
        .unwrap();
    assert_eq!(store.load_live().await.unwrap().nodes, vec![node(None)]);
}

#[tokio::test]
async fn the_pin_seen_first_stands() {
    let store = Store::in_memory().unwrap();
    let first = store.pin_first_seen(pin(b"one")).await.unwrap();
    let second = store.pin_first_seen(pin(b"two")).await.unwrap();
    assert_eq!(first, second);

    let change = |content: &[u8], second| ChangedAsset {
        digest: ee_protocol::report_data::sha256(content),
        content: content.to_vec(),
        provenance: Provenance::Local,
        at: at(second),
    };
    store
        .pin_changed(first.key.clone(), change(b"two", 5))
        .await
        .unwrap();
    store
        .pin_changed(first.key.clone(), change(b"three", 6))
        .await
        .unwrap();
    let pins = store.pins().await.unwrap();
    assert_eq!(
        pins[0].changed,
        Some(ChangedAsset {
            at: at(5),
            ..change(b"three", 6)
        })
    );
    assert_eq!(pins[0].content, b"one");

    let seen = change(b"two", 5).digest;
    assert!(
        !store
            .pin_acknowledge(first.key.clone(), seen)
            .await
            .unwrap()
    );
    let seen = change(b"three", 5).digest;
    assert!(
        store
            .pin_acknowledge(first.key.clone(), seen)
            .await
            .unwrap()
    );
    let pins = store.pins().await.unwrap();
    assert_eq!(
        (
            pins[0].content.as_slice(),
            pins[0].provenance,
            pins[0].changed.clone()
        ),
        (&b"three"[..], Provenance::Local, None)
    );

    store
        .pin_changed(first.key.clone(), change(b"four", 7))
        .await
        .unwrap();
    let seen = change(b"four", 7).digest;
    let keep = |seen| store.pin_keep(first.key.clone(), seen);
    assert_eq!(keep([0; 32]).await, Ok(false));
    assert_eq!(keep(seen).await, Ok(true));
    assert_eq!(keep(seen).await, Ok(false), "the alarm is over");
    let pins = store.pins().await.unwrap();
    assert_eq!(
        (pins[0].content.as_slice(), &pins[0].changed),
        (&b"three"[..], &None)
    );
}

#[tokio::test]
async fn marks_never_go_down() {
    let store = Store::in_memory().unwrap();
    let mark = |number, second| CollateralMark {
        item: "qe-identity".to_owned(),
        number,
        issued_at: at(second),
    };
    for given in [mark(20, 100), mark(19, 200), mark(u64::MAX, 50)] {
        store.raise_collateral_mark(given).await.unwrap();
    }
    let kept = store.collateral_marks().await.unwrap();
    assert_eq!(kept, vec![mark(i64::MAX.unsigned_abs(), 200)]);

    for second in [100, 50] {
        store.raise_clock_mark(at(second)).await.unwrap();
    }
    assert_eq!(store.clock_mark().await.unwrap(), Some(at(100)));

    let seen = |second| store.tcb_first_seen([1; 6], "level".to_owned(), at(second));
    assert_eq!(seen(100).await.unwrap(), at(100));
    assert_eq!(seen(200).await.unwrap(), at(100));
}

#[tokio::test]
async fn the_bootstrap_token_is_spent_once() {
    let store = Store::in_memory().unwrap();
    store.set_bootstrap([1; 32]).await.unwrap();
    assert!(
        !store
            .spend_bootstrap([9; 32], [2; 32], at(1))
            .await
            .unwrap()
    );
    assert!(
        store
            .spend_bootstrap([1; 32], [2; 32], at(1))
            .await
            .unwrap()
    );
    assert!(
        !store
            .spend_bootstrap([1; 32], [3; 32], at(2))
            .await
            .unwrap()
    );
    let auth = store.auth().await.unwrap();
    assert_eq!(
        (auth.admin_hash, auth.bootstrap_used_at),
        (Some([2; 32]), Some(at(1)))
    );
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_seconds(second)
}

fn node_id() -> NodeId {
    NodeId::parse("node-1").unwrap()
}

fn app(network: Network) -> AppRow {
    AppRow {
        name: AppName::parse("hello").unwrap(),
        repo: Repo::parse("Org/repo").unwrap(),
        network,
        bound_at: at(10),
    }
}

fn node(attestation: Option<AttestationResult>) -> NodeRow {
    NodeRow {
        node_id: node_id(),
        app: AppName::parse("hello").unwrap(),
        agent_id: AgentId::parse("agent-1").unwrap(),
        release_tag: ReleaseTag::parse("v0.1.3").unwrap(),
        network: Network::Forge1,
        registered_at: at(10),
        expires_at: at(1000),
        last_health_at: None,
        attestation,
    }
}

fn result() -> AttestationResult {
    AttestationResult {
        at: at(20),
        trust_root: "simulated".to_owned(),
        sealed: true,
        binding: BindingStrength::Channel,
        pinning: Pinning::Full,
        provenance: Provenance::ReleaseImmutable,
        allowlist_digest: [7; 32],
        allowlist_entry: "sealed-8c".to_owned(),
        tcb_status: TcbStatus::TDRelaunchAdvised,
        tcb_date: at(5),
        advisories: vec!["INTEL-SA-00837".to_owned(), "INTEL-SA-00960".to_owned()],
        flagged: true,
        tcb_eval_data_number: 19,
        evidence_digest: [8; 32],
        collateral_expires_at: at(900),
        platform: None,
    }
}

fn pin(content: &[u8]) -> PinRow {
    PinRow {
        key: PinKey {
            repo_key: "org/repo".to_owned(),
            tag: "v0.1.3".to_owned(),
        },
        digest: ee_protocol::report_data::sha256(content),
        content: content.to_vec(),
        provenance: Provenance::Release,
        digest_published: true,
        first_seen: at(1),
        changed: None,
        revoked: false,
    }
}
