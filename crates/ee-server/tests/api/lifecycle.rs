//! Start, shutdown, and what keeps a server from starting.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ee_control::ports::Clock;
use ee_protocol::time::Timestamp;
use ee_server::{StartError, clock::SystemClock};
use reqwest::Method;
use serde_json::json;

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

/// The machine's clock, set ahead by some seconds while the boot clock goes on as before.
#[derive(Debug, Default)]
struct Ahead(AtomicU64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        let ahead = Duration::from_secs(self.0.load(Ordering::SeqCst));
        SystemClock.now().after(ahead)
    }

    fn running(&self) -> Option<Duration> {
        SystemClock.running()
    }
}

#[tokio::test]
async fn a_clock_that_jumped_ahead_is_an_alarm_until_it_is_confirmed() {
    let clock = Arc::new(Ahead::default());
    let dir = Arc::new(tempfile::tempdir().expect("temporary directory"));
    let port: Arc<dyn Clock> = Arc::<Ahead>::clone(&clock);
    let pairs = [("EE_ADMIN_TOKEN", ADMIN)];
    let running = Running::start_at(&dir, &pairs, port)
        .await
        .expect("started");
    let alarms = async || {
        let (status, ready) = running.get_as(ADMIN, "/readyz").await;
        (status, ready["alarms"].clone())
    };
    assert_eq!(alarms().await, (200, json!([])));
    clock.0.store(600, Ordering::SeqCst);
    assert_eq!(alarms().await, (200, json!(["clock_untrusted"])));
    let now = json!({"now": clock.now().rfc3339_seconds()});
    let told = running
        .request(Method::POST, "/v1/ledger/clock")
        .bearer_auth(ADMIN);
    let told = told.header("content-type", "application/json");
    let told = told.body(now.to_string()).send().await.expect("answered");
    assert_eq!(told.status().as_u16(), 200);
    assert_eq!(alarms().await, (200, json!([])));
    running.stop().await;
}
