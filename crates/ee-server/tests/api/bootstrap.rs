//! The one-time bootstrap token.

use ee_server::StartError;
use reqwest::Method;
use serde_json::Value;

use super::running::{Running, answer};

async fn spend(running: &Running, token: &str) -> (u16, Value) {
    let request = running
        .request(Method::POST, "/v1/auth/bootstrap")
        .bearer_auth(token);
    answer(request.send().await.expect("answered")).await
}

#[tokio::test]
async fn bootstrap_token_works_once_and_its_admin_token_survives_a_restart() {
    let running = Running::start(&[]).await;
    let token = running.bootstrap_token();
    assert!(token.starts_with("ee_boot_"));
    let (status, body) = running.get_as(&token, "/v1/apps").await;
    assert_eq!(
        (status, body["code"].as_str()),
        (403, Some("role_not_configured"))
    );

    let (status, body) = spend(&running, &token).await;
    assert_eq!(status, 201, "{body}");
    let admin = body["token"].as_str().expect("token").to_owned();
    assert!(admin.starts_with("ee_admin_"));
    assert!(
        !running.dir.path().join("bootstrap-token").exists(),
        "the file is gone"
    );
    assert_eq!(running.get_as(&admin, "/v1/apps").await.0, 200);

    let (status, body) = spend(&running, &token).await;
    assert_eq!(
        (status, body["code"].as_str()),
        (403, Some("bootstrap_closed"))
    );

    let dir = running.stop().await;
    let again = Running::start_in(&dir, &[]).await.expect("started");
    assert!(
        !dir.path().join("bootstrap-token").exists(),
        "no new one is made"
    );
    assert_eq!(again.get_as(&admin, "/v1/apps").await.0, 200);
    again.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_bootstrap_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let running = Running::start(&[]).await;
    let path = running.dir.path().join("bootstrap-token");
    let mode = std::fs::metadata(path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    running.stop().await;
}

#[tokio::test]
async fn auth_can_be_required_at_start() {
    let dir = std::sync::Arc::new(tempfile::tempdir().expect("temporary directory"));
    let pairs = [("EE_REQUIRE_AUTH_CONFIGURED", "true")];
    let Err(StartError::Config(problem)) = Running::start_in(&dir, &pairs).await else {
        panic!("refused as a configuration problem")
    };
    assert_eq!(problem.name, "EE_ADMIN_TOKEN");
    assert!(!dir.path().join("bootstrap-token").exists());
}
