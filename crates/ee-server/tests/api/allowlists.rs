//! Alarms about changed allowlists, from the release source to the admin's word.

use ee_control::ports::ReleaseKey;
use ee_core::attestation::Provenance;
use ee_store::{ChangedAsset, PinKey, PinRow, Store};
use ee_testbed::{DEFAULT_SEED, DemoImage};
use reqwest::Method;
use serde_json::{Value, json};

use super::running::{ADMIN, LAUNCHER, Running, answer};

/// A store that holds a pin and an alarm about it, as an earlier run would have left it.
async fn alarmed(path: &std::path::Path, changed: &[u8]) {
    let image = DemoImage::new(DEFAULT_SEED);
    let release = ReleaseKey {
        repo: DemoImage::REPO.parse().expect("a repository"),
        tag: DemoImage::TAG.parse().expect("a tag"),
    };
    let (repo_key, tag) = release.identity();
    let key = PinKey { repo_key, tag };
    let store = Store::open(path).expect("opened");
    let at = ee_protocol::time::Timestamp::from_unix_seconds(1_768_435_200);
    let pinned = PinRow {
        key: key.clone(),
        digest: [1; 32],
        content: image.allowlist_json().into_bytes(),
        provenance: Provenance::Release,
        digest_published: true,
        first_seen: at,
        changed: None,
        revoked: false,
    };
    store.pin_first_seen(pinned).await.expect("pinned");
    let other = ChangedAsset {
        digest: [2; 32],
        content: changed.to_vec(),
        provenance: Provenance::Release,
        at,
    };
    store.pin_changed(key, other).await.expect("alarmed");
    store.close().await;
}

async fn with_alarm(changed: &[u8]) -> Running {
    let dir = std::sync::Arc::new(tempfile::tempdir().expect("temporary directory"));
    alarmed(&dir.path().join("control-plane.db"), changed).await;
    let tokens = [("EE_ADMIN_TOKEN", ADMIN), ("EE_LAUNCHER_TOKEN", LAUNCHER)];
    Running::start_in(&dir, &tokens).await.expect("started")
}

async fn acknowledge(running: &Running, token: &str, digest: &str) -> (u16, Value) {
    let body = json!({
        "repo": DemoImage::REPO,
        "release_tag": DemoImage::TAG,
        "digest": digest,
    });
    let request = running.request(Method::POST, "/v1/allowlists/acknowledge");
    let request = request.bearer_auth(token).body(body.to_string());
    answer(request.send().await.expect("answered")).await
}

fn digest(byte: &str) -> String {
    format!("sha256:{}", byte.repeat(32))
}

#[tokio::test]
async fn an_admin_settles_an_alarm_and_nobody_else_does() {
    let changed = DemoImage::new(DEFAULT_SEED).allowlist_json();
    let running = with_alarm(changed.as_bytes()).await;
    let (status, body) = running.get_as(LAUNCHER, "/v1/allowlists").await;
    assert_eq!(status, 200);
    let alarm = json!({
        "repo": DemoImage::REPO,
        "release_tag": DemoImage::TAG,
        "pinned": digest("01"),
        "published": digest("02"),
        "since": "2026-01-15T00:00:00Z",
    });
    assert_eq!(body, json!({"alarms": [alarm]}));

    let (status, body) = acknowledge(&running, LAUNCHER, &digest("02")).await;
    assert_eq!(
        (status, body["code"].as_str()),
        (403, Some("scope_missing"))
    );
    let (status, body) = acknowledge(&running, ADMIN, &digest("03")).await;
    assert_eq!(
        (status, body["code"].as_str()),
        (404, Some("alarm_not_found"))
    );
    let (status, body) = acknowledge(&running, ADMIN, &digest("02")).await;
    assert_eq!(
        (status, body),
        (200, json!({"outcome": "replaced", "digest": digest("02")}))
    );
    let (_, body) = running.get_as(ADMIN, "/v1/allowlists").await;
    assert_eq!(body, json!({"alarms": []}));
    let (status, _) = acknowledge(&running, ADMIN, &digest("02")).await;
    assert_eq!(status, 404);
    running.stop().await;
}

#[tokio::test]
async fn a_broken_change_cannot_be_accepted_but_dismissed() {
    let running = with_alarm(b"{").await;
    let (status, body) = acknowledge(&running, ADMIN, &digest("02")).await;
    assert_eq!(
        (status, body["code"].as_str()),
        (409, Some("allowlist_unusable"))
    );
    let (status, body) = acknowledge(&running, ADMIN, &digest("01")).await;
    assert_eq!(
        (status, body),
        (200, json!({"outcome": "kept", "digest": digest("01")}))
    );
    let (_, body) = running.get_as(ADMIN, "/v1/allowlists").await;
    assert_eq!(body, json!({"alarms": []}));
    running.stop().await;
}
