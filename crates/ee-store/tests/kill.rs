//! A real process killed while it writes: what it was answered is there afterwards.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use ee_protocol::time::Timestamp;
use ee_store::{LogRecord, Store};
use tempfile::TempDir;

const DATABASE: &str = "killed.db";
/// Tells the child that it is one, in its working directory.
const ORDER: &str = "write-until-killed";
/// Enough commits for the kill to fall into the middle of one now and then.
const ANSWERED: usize = 150;

#[tokio::test]
async fn kill_9_loses_nothing_that_was_answered() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(ORDER), "").unwrap();
    let mut seen = 0;
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_writes_until_killed",
                "--nocapture",
                "--ignored",
            ])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let answers = lines.filter_map(|line| line.unwrap().strip_prefix("seq ")?.parse().ok());
        seen = answers.take(ANSWERED).last().unwrap_or(seen);
        child.kill().unwrap();
        child.wait().unwrap();

        let store = Store::open(&dir.path().join(DATABASE)).unwrap();
        let head = store.verify_log().await.unwrap().unwrap();
        assert!(seen > 0 && head.seq >= seen, "{} of {seen}", head.seq);
        store.close().await;
    }
}

#[tokio::test]
#[ignore = "the child of kill_9_loses_nothing_that_was_answered"]
async fn child_writes_until_killed() {
    if !Path::new(ORDER).exists() {
        return;
    }
    let store = Store::open(Path::new(DATABASE)).unwrap();
    loop {
        let head = store.append_log(record()).await.unwrap();
        println!("\nseq {}", head.seq);
    }
}

fn record() -> LogRecord {
    LogRecord {
        at: Timestamp::from_unix_seconds(1),
        agent_id: "agent".to_owned(),
        node_id: "node".to_owned(),
        app: "hello".to_owned(),
        network: "forge-1".to_owned(),
        session: String::new(),
        nonce: "00".to_owned(),
        body_digest: "11".to_owned(),
        evidence_digest: "22".to_owned(),
        allowlist_digest: "33".to_owned(),
        entry: String::new(),
        generation: "44".to_owned(),
        policy: "55".to_owned(),
        verdict: "pass".to_owned(),
        code: String::new(),
    }
}
