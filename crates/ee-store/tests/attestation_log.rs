//! The attestation log only grows, and shows when a hand went round its triggers.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set its scene fails by panicking"
)]

use ee_protocol::time::Timestamp;
use ee_store::{LogRecord, Store};
use rusqlite::Connection;
use tempfile::TempDir;

#[tokio::test]
async fn records_form_a_chain_across_restarts() {
    let (dir, _) = filled(3).await;
    let store = Store::open(&dir.path().join("a.db")).unwrap();
    let head = store.append_log(record("fourth")).await.unwrap();
    assert_eq!(head.seq, 4);
    assert_eq!(store.verify_log().await.unwrap(), Ok(head));
    let entries = store.log_entries(2, 10).await.unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].record, record("fourth"));
}

#[tokio::test]
async fn the_database_refuses_update_and_delete() {
    let (dir, db) = filled(1).await;
    for change in [
        "UPDATE attestation_log SET code = ''",
        "DELETE FROM attestation_log",
    ] {
        let refused = db.execute(change, []).unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{refused}");
    }
    drop((dir, db));
}

#[tokio::test]
async fn a_changed_record_is_found() {
    tampered(
        "UPDATE attestation_log SET verdict = 'pass' WHERE seq = 2",
        2,
    )
    .await;
}

#[tokio::test]
async fn a_missing_record_is_found() {
    tampered("DELETE FROM attestation_log WHERE seq = 2", 2).await;
}

#[tokio::test]
async fn a_cut_end_is_found() {
    tampered("DELETE FROM attestation_log WHERE seq = 3", 3).await;
}

#[tokio::test]
async fn text_moved_between_fields_is_found() {
    let change = "UPDATE attestation_log SET agent_id = 'age', node_id = 'nt' || node_id";
    tampered(change, 1).await;
}

async fn tampered(change: &str, at: u64) {
    let (dir, db) = filled(3).await;
    db.execute_batch(
        "DROP TRIGGER attestation_log_keeps_rows; DROP TRIGGER attestation_log_keeps_values",
    )
    .unwrap();
    db.execute(change, []).unwrap();
    drop(db);
    let store = Store::open(&dir.path().join("a.db")).unwrap();
    let broken = store.verify_log().await.unwrap().unwrap_err();
    assert_eq!(broken.seq, at, "{broken}");
}

async fn filled(count: usize) -> (TempDir, Connection) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let store = Store::open(&path).unwrap();
    for _ in 0..count {
        store.append_log(record("some")).await.unwrap();
    }
    store.close().await;
    let db = Connection::open(&path).unwrap();
    (dir, db)
}

fn record(entry: &str) -> LogRecord {
    LogRecord {
        at: Timestamp::from_unix_seconds(1),
        agent_id: "agent".to_owned(),
        node_id: "node".to_owned(),
        app: "hello".to_owned(),
        network: "forge-1".to_owned(),
        session: "s".to_owned(),
        nonce: "00".to_owned(),
        body_digest: "11".to_owned(),
        evidence_digest: "22".to_owned(),
        allowlist_digest: "33".to_owned(),
        entry: entry.to_owned(),
        generation: "44".to_owned(),
        policy: "55".to_owned(),
        verdict: "fail".to_owned(),
        code: "td_debug".to_owned(),
    }
}
