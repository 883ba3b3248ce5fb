//! Start, shutdown, and what keeps a server from starting.

use std::time::Duration;

use ee_server::StartError;

use super::running::{ADMIN, Running};

#[tokio::test]
async fn shutdown_ends_every_task_and_frees_the_ports() {
    let running = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let address = running.server.api_addr;
    assert_eq!(running.get("/readyz").await.status().as_u16(), 200);
    tokio::time::timeout(Duration::from_secs(10), running.stop())
        .await
        .expect("in time");
    std::net::TcpListener::bind(address).expect("the port is free");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let port = first.server.api_addr.port().to_string();
    let dir = std::sync::Arc::new(tempfile::tempdir().expect("temporary directory"));
    let pairs = [
        ("EE_ADMIN_TOKEN", ADMIN),
        ("EE_CONTROL_PORT", port.as_str()),
    ];
    let Err(StartError::Failed(error)) = Running::start_in(&dir, &pairs).await else {
        panic!("refused")
    };
    assert!(
        format!("{error:#}").starts_with("EE_CONTROL_PORT: cannot listen on"),
        "{error:#}"
    );
    first.stop().await;
}

#[tokio::test]
async fn second_process_is_refused() {
    let first = Running::start(&[("EE_ADMIN_TOKEN", ADMIN)]).await;
    let second = Running::start_in(&first.dir, &[("EE_ADMIN_TOKEN", ADMIN)]).await;
    assert!(matches!(second, Err(StartError::Failed(_))));
    first.stop().await;
}
