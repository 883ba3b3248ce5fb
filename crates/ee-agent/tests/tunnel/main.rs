//! The whole agent against a control plane and a backend on loopback.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot be set up has failed, and its tasks end with its runtime"
)]

mod harness;
mod lanes;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use ee_agent::AgentState;
use ee_protocol::tunnel::{AgentMessage, ControlMessage, Drain};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use self::harness::{FakeControl, PATIENCE, agent, start_agent};

#[tokio::test]
async fn requests_reach_the_backend_and_answers_come_back() {
    let (backend, connections) = start_backend().await;
    let (control, url) = (FakeControl::start().await, url(backend));
    let _agent = start_agent(control.addr(), &[("EE_BACKEND_URL", &url)]);
    let served = control.attest().await;
    for _ in 0..20 {
        let (status, origin, body) = served.get("/path/..%2f?q=%20", &[]).await;
        assert_eq!((status, origin.as_str()), (200, "app"));
        assert_eq!(&body[..], b"GET /path/..%2f?q=%20 host=hello.localhost");
    }
    // The probe of the backend's health is a connection, too.
    assert!(
        connections.load(Ordering::Relaxed) <= 2,
        "connections are kept alive"
    );
    let big = Bytes::from(vec![7; 3 * 1024 * 1024]);
    let (status, _, echoed) = served.post("/echo", big.clone()).await;
    assert_eq!((status, echoed), (200, big));
    let (status, _, _) = served.get("/after", &[]).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn backend_down_keeps_tunnel() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = reserved.local_addr().unwrap();
    drop(reserved);
    let (control, url) = (FakeControl::start().await, url(addr));
    let _agent = start_agent(control.addr(), &[("EE_BACKEND_URL", &url)]);
    let served = control.attest().await;
    for _ in 0..3 {
        let (status, origin, body) = served.get("/", &[]).await;
        assert_eq!((status, origin.as_str()), (502, "agent"));
        assert_eq!(&body[..], br#"{"error":"backend_unavailable"}"#);
    }
    assert!(served.handle.is_open());
    serve_on(TcpListener::bind(addr).await.unwrap(), Arc::default());
    assert_eq!(served.get("/", &[]).await.0, 200);
}

#[tokio::test]
async fn a_slow_backend_and_another_apps_request_are_answered_by_the_agent() {
    let (backend, _) = start_backend().await;
    let (control, url) = (FakeControl::start().await, url(backend));
    let _agent = start_agent(control.addr(), &[("EE_BACKEND_URL", &url)]);
    let served = control.attest().await;
    let (status, origin, body) = served.get("/never", &[("ee-deadline-ms", "50")]).await;
    assert_eq!((status, origin.as_str()), (504, "agent"));
    assert_eq!(&body[..], br#"{"error":"backend_timeout"}"#);

    let request = Request::get("http://other.localhost/").header("ee-app", "other");
    let response = served
        .handle
        .request(request.body(Full::new(Bytes::new())).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 421);
    assert_eq!(response.headers()["ee-origin"], "agent");
}

#[tokio::test]
async fn a_cancelled_request_is_dropped_at_the_backend() {
    let gone = Arc::new(Notify::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url(listener.local_addr().unwrap());
    let seen = Arc::clone(&gone);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut sink = Vec::new();
                let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut sink).await;
                if !sink.is_empty() {
                    drop(read);
                    seen.notify_one();
                }
            });
        }
    });
    let control = FakeControl::start().await;
    let _agent = start_agent(control.addr(), &[("EE_BACKEND_URL", &url)]);
    let served = control.attest().await;
    let impatient = tokio::time::timeout(Duration::from_millis(100), served.get("/hang", &[]));
    assert!(impatient.await.is_err());
    tokio::time::timeout(PATIENCE, gone.notified())
        .await
        .expect("the backend sees it");
    assert!(served.handle.is_open());
}

#[tokio::test]
async fn health_follows_the_backend() {
    let (backend, _) = start_backend().await;
    let (control, url) = (FakeControl::start().await, url(backend));
    let _agent = start_agent(control.addr(), &[("EE_BACKEND_URL", &url)]);
    let mut served = control.attest().await;
    let AgentMessage::Health(health) = served.message().await else {
        panic!("health comes first");
    };
    assert!(health.passes());
}

#[tokio::test]
async fn a_health_url_counts_by_its_status() {
    let (backend, _) = start_backend().await;
    for (path, passes) in [("/redirect", true), ("/broken", false)] {
        let control = FakeControl::start().await;
        let health_url = format!("http://{backend}{path}");
        let extra = [("EE_HEALTH_URL", health_url.as_str())];
        let agent = start_agent(control.addr(), &extra);
        let mut served = control.attest().await;
        let first = tokio::time::timeout(Duration::from_millis(500), served.messages.recv()).await;
        let said_pass = matches!(first, Ok(Some(AgentMessage::Health(h))) if h.passes());
        assert_eq!(said_pass, passes, "{path}");
        agent.shutdown.cancel();
    }
}

#[tokio::test]
async fn a_pinned_control_key_ends_the_tunnel_before_a_quote() {
    let control = FakeControl::start().await;
    let other = "99".repeat(32);
    let _agent = start_agent(control.addr(), &[("EE_CONTROL_KEY", &other)]);
    let mut tunnel = control.accept().await;
    tunnel.challenge(&"11".repeat(32)).await;
    assert_eq!(tunnel.close_reason().await, "control_key_refused");
}

#[tokio::test]
async fn shutdown_finishes_the_requests_in_flight() {
    let (backend, _) = start_backend().await;
    let (control, url) = (FakeControl::start().await, url(backend));
    let agent = start_agent(control.addr(), &[("EE_BACKEND_URL", &url)]);
    let mut served = control.attest().await;
    let slow = served.get("/slow", &[]);
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        agent.shutdown.cancel();
    };
    let ((status, origin, _), ()) = tokio::join!(slow, stop);
    assert_eq!((status, origin.as_str()), (200, "app"));
    tokio::time::timeout(PATIENCE, agent.task)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(served.closed.lock().unwrap().as_deref(), Some("shutdown"));
    let mut said_drain = false;
    while let Some(message) = served.messages.recv().await {
        said_drain |= matches!(message, AgentMessage::Drain(_));
    }
    assert!(said_drain);
}

#[tokio::test]
async fn a_drain_is_answered_with_another_tunnel_before_the_old_one_goes() {
    let (backend, _) = start_backend().await;
    let (control, url) = (FakeControl::start().await, url(backend));
    let _agent = start_agent(control.addr(), &[("EE_BACKEND_URL", &url)]);
    let old = control.attest().await;
    let drain = Drain {
        reason: "registration".to_owned(),
        reconnect_after_ms: Some([0, 50]),
    };
    let slow = old.get("/slow", &[]);
    let replace = async {
        old.say.send(ControlMessage::Drain(drain)).unwrap();
        let new = control.attest().await;
        assert!(
            old.closed.lock().unwrap().is_none(),
            "the old tunnel is still there"
        );
        new
    };
    let ((status, _, _), new) = tokio::join!(slow, replace);
    assert_eq!(status, 200, "the request on the old tunnel is finished");
    assert_eq!(new.get("/", &[]).await.0, 200);
    tokio::time::timeout(PATIENCE, old.task)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(old.closed.lock().unwrap().as_deref(), Some("replaced"));
}

#[tokio::test]
async fn a_lost_tunnel_comes_back() {
    let control = FakeControl::start().await;
    let _agent = start_agent(control.addr(), &[]);
    let served = control.attest().await;
    served.task.abort();
    drop(served);
    let again = control.attest().await;
    assert!(again.handle.is_open());
}

#[tokio::test]
async fn an_agents_id_is_kept_in_its_data_folder() {
    let (folder, nowhere) = (tempfile::tempdir().unwrap(), "127.0.0.1:9".parse().unwrap());
    let data = folder.path().join("data").display().to_string();
    let id = |extra: &[(&str, &str)]| agent(nowhere, extra).identity().agent_id.clone();
    let kept = [("EE_AGENT_ID", ""), ("EE_DATA_DIR", data.as_str())];
    assert_eq!(id(&kept), id(&kept));
    assert_ne!(
        id(&kept),
        id(&[("EE_AGENT_ID", "")]),
        "without a folder it is new each time"
    );
    assert_eq!(id(&[]).as_str(), "agent-1");
}

/// Ten virtual minutes against a port that nobody listens on.
#[tokio::test(start_paused = true)]
async fn reconnects_back_off_with_full_jitter_up_to_a_minute() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let agent = agent(closed, &[]);
    let mut states = agent.states();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(agent.run(shutdown.clone()));
    let begin = Instant::now();
    let mut last = begin;
    let mut waits = Vec::new();
    while begin.elapsed() < Duration::from_secs(600) {
        states.changed().await.unwrap();
        if let AgentState::Connecting { attempt } = *states.borrow_and_update() {
            if attempt > 1 {
                let window =
                    Duration::from_secs(60).min(Duration::from_secs(1 << (attempt - 2).min(6)));
                let wait = last.elapsed();
                assert!(
                    wait <= window + Duration::from_millis(50),
                    "attempt {attempt}: {wait:?}"
                );
                waits.push(wait);
            }
            last = Instant::now();
        }
    }
    assert!(
        (12..80).contains(&waits.len()),
        "{} attempts in 10 minutes",
        waits.len()
    );
    shutdown.cancel();
    running.await.unwrap();
}

async fn start_backend() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    serve_on(listener, Arc::clone(&connections));
    (addr, connections)
}

fn serve_on(listener: TcpListener, connections: Arc<AtomicUsize>) {
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer)),
            );
        }
    });
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = format!(
        "{} {} host={}",
        request.method(),
        request.uri(),
        request.headers()["host"].to_str().unwrap()
    );
    let status = match request.uri().path() {
        "/redirect" => 302,
        "/broken" => 500,
        _ => 200,
    };
    let body = match request.uri().path() {
        "/never" => std::future::pending().await,
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(600)).await;
            Bytes::from(text)
        }
        "/echo" => request.into_body().collect().await.unwrap().to_bytes(),
        _ => Bytes::from(text),
    };
    Ok(Response::builder()
        .status(status)
        .body(Full::new(body))
        .unwrap())
}

fn url(addr: SocketAddr) -> String {
    format!("http://{addr}")
}
