//! Attacks from the public side: request targets, header fields, framing, payloads; and an app
//! that speaks in our name.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    peer::{Prover, Registration, Serving},
    world::{Answer, BYSTANDER, World},
};

const APP: &str = "target";

async fn world() -> (World, Serving) {
    let world = World::start().await;
    let registration = Registration::new(APP, "honest");
    let serving = world
        .peer()
        .await
        .join(&registration, &Prover::good())
        .await
        .serve(APP);
    (world, serving)
}

/// One request of these lines, closed after its answer.
async fn request(world: &World, lines: &str) -> Answer {
    world
        .ask_proxy(&format!("{lines}\r\nConnection: close\r\n\r\n"))
        .await
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{answer:?}");
    let says = |member: &str| {
        problem[member]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    };
    assert!(
        says("hint") || says("detail"),
        "nothing to act on: {problem}"
    );
    assert!(says("request_id"), "{problem}");
}

/// The path that the app sees, and the authority beside it.
fn seen(answer: &Answer) -> String {
    answer.json()["uri"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer:?}"))
        .to_owned()
}

/// A target that names another host, as the line itself or inside the path.
#[tokio::test]
async fn absolute_path_is_defused() {
    let (world, serving) = world().await;
    let absolute = "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: target.localhost";
    is_problem(&request(&world, absolute).await, 400, "invalid_request");
    for path in [
        "/http://169.254.169.254/latest",
        "//169.254.169.254/latest",
        "/..//x",
        "/%2e%2e",
    ] {
        let lines = format!("GET {path} HTTP/1.1\r\nHost: target.localhost");
        let uri = seen(&request(&world, &lines).await);
        assert_eq!(
            uri,
            format!("http://target.localhost{path}"),
            "byte for byte, same host"
        );
    }
    for path in [
        "http://169.254.169.254/latest",
        "",
        "latest",
        "/a b",
        "/\u{e9}",
    ] {
        let payload = json!({ "path": path }).to_string();
        let answer = world.post_proxy(APP, &payload).await;
        if path.is_empty() && answer.status == 200 {
            continue;
        }
        is_problem(&answer, 400, "invalid_proxy_payload");
    }
    drop(serving);
    world.stands().await;
}

#[tokio::test]
async fn path_with_tab_is_refused() {
    let (world, serving) = world().await;
    for path in [
        "/a\tb",
        "\t/a",
        " /a",
        "/a\r\nX-Injected: 1",
        "/a\nb",
        "/a\0b",
    ] {
        let payload = json!({ "path": path }).to_string();
        is_problem(
            &world.post_proxy(APP, &payload).await,
            400,
            "invalid_proxy_payload",
        );
    }
    let lines = "GET /a\tb HTTP/1.1\r\nHost: target.localhost";
    assert_eq!(request(&world, lines).await.status, 400);
    drop(serving);
    world.stands().await;
}

/// Line breaks in names and values, by JSON and on the wire.
#[tokio::test]
async fn injected_header_lines_are_refused() {
    let (world, serving) = world().await;
    for headers in [
        json!({ "x": "1\r\nx-ee-app: other" }),
        json!({ "x": "1\nset-cookie: a=b" }),
        json!({ "x\r\ny": "1" }),
        json!({ "x y": "1" }),
        json!({ "": "1" }),
        json!({ "x": 7 }),
        json!(["x"]),
    ] {
        let payload = json!({ "path": "/head", "headers": headers }).to_string();
        is_problem(
            &world.post_proxy(APP, &payload).await,
            400,
            "invalid_proxy_payload",
        );
    }
    for line in [
        "X-A: 1\r\n folded: 2",
        "X A: 1",
        "X-A : 1",
        ": 1",
        "X-A: a\0b",
        "X-A: a\rb",
    ] {
        let lines = format!("GET /head HTTP/1.1\r\nHost: target.localhost\r\n{line}");
        let answer = request(&world, &lines).await;
        assert_eq!(answer.status, 400, "{line:?}: {answer:?}");
    }
    drop(serving);
    world.stands().await;
}

/// What a client writes in our name does not reach the app as ours.
#[tokio::test]
async fn hop_by_hop_never_crosses() {
    let (world, serving) = world().await;
    let lines = "GET /head HTTP/1.1\r\nHost: target.localhost\r\nEE-App: other\r\n\
        X-EE-Node: forged\r\nX-EE-Anything: forged\r\nKeep-Alive: timeout=9\r\n\
        Proxy-Authorization: forged\r\nTE: gzip\r\nTrailer: Host, EE-App\r\nX-Nominated: forged\r\n\
        Cookie: kept=1\r\nAuthorization: kept\r\n\
        Connection: X-Nominated, Cookie, Authorization, X-Forwarded-For, EE-App";
    let answer = world.ask_proxy(&format!("{lines}, close\r\n\r\n")).await;
    let fields = answer.json()["fields"].to_string();
    assert!(
        !fields.contains("forged") && !fields.contains("other"),
        "{fields}"
    );
    assert!(
        !fields.contains("timeout=9") && !fields.contains("trailer"),
        "{fields}"
    );
    for kept in [
        "cookie: kept=1",
        "authorization: kept",
        "ee-app: target",
        "x-forwarded-for: ",
    ] {
        assert!(fields.contains(kept), "{kept}: {fields}");
    }
    drop(serving);
    world.stands().await;
}

/// Which app a request is for cannot be said twice.
#[tokio::test]
async fn contradicting_hosts_are_refused() {
    let (world, serving) = world().await;
    let two = "GET / HTTP/1.1\r\nHost: target.localhost\r\nHost: bystander.localhost";
    is_problem(&request(&world, two).await, 400, "invalid_request");
    let absolute = "GET http://bystander.localhost/ HTTP/1.1\r\nHost: target.localhost";
    is_problem(&request(&world, absolute).await, 400, "invalid_request");
    let mismatch = "GET / HTTP/1.1\r\nHost: target.localhost\r\nX-EE-App: bystander";
    is_problem(&request(&world, mismatch).await, 421, "app_host_mismatch");
    for (host, status, code) in [
        ("localhost", 421, "host_unknown"),
        ("a.target.localhost", 421, "host_unknown"),
        ("target.example.com", 421, "host_unknown"),
        ("127.0.0.1", 400, "missing_app"),
        ("nobody.localhost", 404, "unknown_app"),
    ] {
        let answer = request(&world, &format!("GET / HTTP/1.1\r\nHost: {host}")).await;
        is_problem(&answer, status, code);
    }
    drop(serving);
    world.stands().await;
}

#[tokio::test]
async fn strangers_cannot_name_another_app() {
    let world = World::with(&[("EE_TRUSTED_PROXIES", "10.0.0.0/8")]).await;
    let registration = Registration::new(APP, "honest");
    let serving = world
        .peer()
        .await
        .join(&registration, &Prover::good())
        .await
        .serve(APP);
    let lines = "GET / HTTP/1.1\r\nHost: bystander.localhost\r\nX-EE-App: target\r\n\
        X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6";
    assert_eq!(request(&world, lines).await.body, BYSTANDER);
    let lines = lines
        .replace("GET /", "GET /head")
        .replace("bystander", "target");
    let fields = request(&world, &lines).await.json()["fields"].to_string();
    assert!(!fields.contains("6.6.6.6"), "{fields}");
    drop(serving);
    world.stands().await;
}

#[tokio::test]
async fn host_case_is_ignored() {
    let (world, serving) = world().await;
    for host in [
        "TARGET.localhost",
        "Target.LOCALHOST:9090",
        "target.localhost.",
    ] {
        let answer = request(&world, &format!("GET / HTTP/1.1\r\nHost: {host}")).await;
        assert!(
            answer.body == APP || host.ends_with('.'),
            "{host}: {answer:?}"
        );
    }
    drop(serving);
    world.stands().await;
}

#[tokio::test]
async fn upgrade_is_not_a_plain_get() {
    let (world, serving) = world().await;
    let lines = "GET /head HTTP/1.1\r\nHost: target.localhost\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
        Connection: Upgrade, close\r\n\r\n";
    // This app speaks no WebSocket: what it must not see is a GET of the same path.
    let answer = world.ask_proxy(lines).await;
    assert!(answer.status >= 400, "{answer:?}");
    assert!(!answer.body.contains("\"method\":\"GET\""), "{answer:?}");
    let connect = request(
        &world,
        "CONNECT target.localhost:443 HTTP/1.1\r\nHost: target.localhost",
    );
    is_problem(&connect.await, 405, "method_not_allowed");
    drop(serving);
    world.stands().await;
}

#[tokio::test]
async fn wrong_proxy_payloads_are_answered() {
    let (world, serving) = world().await;
    for payload in [
        "[]",
        "[1]",
        "7",
        "null",
        "",
        "{",
        "{\"body_b64\":\"%%\"}",
        "{\"method\":7}",
    ] {
        is_problem(
            &world.post_proxy(APP, payload).await,
            400,
            "invalid_proxy_payload",
        );
    }
    let connect = world.post_proxy(APP, "{\"method\":\"CONNECT\"}").await;
    is_problem(&connect, 400, "invalid_proxy_payload");
    let large = json!({ "body_b64": "A".repeat(1024 * 1024) }).to_string();
    let answer = world.post_proxy(APP, &large).await;
    // The answer may be lost when the connection is reset with the payload unread.
    assert!([413, 0].contains(&answer.status), "{answer:?}");
    let unknown = world.post_proxy("nobody", "{}").await;
    assert_eq!(
        (unknown.status, &unknown.json()["allowed"]),
        (404, &Value::Bool(false))
    );
    drop(serving);
    world.stands().await;
}

/// The app's own page through `POST /v1/proxy`, on the origin of the control plane.
#[tokio::test]
async fn app_html_cannot_act_on_the_control_origin() {
    let (world, serving) = world().await;
    let answer = world.post_proxy(APP, "{\"path\":\"/forge\"}").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "<script>steal()</script>")
    );
    assert!(
        answer
            .fields("content-security-policy")
            .contains(&"sandbox"),
        "{answer:?}"
    );
    assert_eq!(answer.fields("x-content-type-options"), ["nosniff"]);
    for name in [
        "set-cookie",
        "clear-site-data",
        "service-worker-allowed",
        "strict-transport-security",
    ] {
        assert_eq!(answer.fields(name), [""; 0], "{name}: {answer:?}");
    }
    drop(serving);
    world.stands().await;
}

/// An app cannot say which node served, who answered, or where else to connect.
#[tokio::test]
async fn app_cannot_speak_in_our_name() {
    let (world, serving) = world().await;
    let lines = "GET /forge HTTP/1.1\r\nHost: target.localhost\r\nX-Request-Id: mine";
    let answer = request(&world, lines).await;
    assert_eq!(answer.fields("x-ee-node"), ["honest"]);
    assert_eq!(answer.fields("x-ee-origin"), ["app"]);
    assert_eq!(answer.fields("x-request-id"), ["mine"]);
    for name in ["server", "alt-svc", "ee-origin"] {
        assert_eq!(answer.fields(name), [""; 0], "{name}: {answer:?}");
    }
    drop(serving);
    world.stands().await;
}

/// Heads that are too long, too many, or no HTTP at all.
#[tokio::test]
async fn oversized_heads_are_refused() {
    let (world, serving) = world().await;
    let long_target = format!(
        "GET /{} HTTP/1.1\r\nHost: target.localhost",
        "a".repeat(17 * 1024)
    );
    assert_eq!(request(&world, &long_target).await.status, 414);
    let many: String = (0..200)
        .map(|number| format!("\r\nX-{number}: 1"))
        .collect();
    let answer = request(
        &world,
        &format!("GET / HTTP/1.1\r\nHost: target.localhost{many}"),
    )
    .await;
    assert_eq!(answer.status, 431, "{answer:?}");
    let long = format!(
        "GET / HTTP/1.1\r\nHost: target.localhost\r\nX: {}",
        "a".repeat(70 * 1024)
    );
    let answer = request(&world, &long).await;
    assert!([431, 0].contains(&answer.status), "{answer:?}");
    assert_eq!(
        world.ask_proxy("\u{16}\u{3}\u{1}\0\r\n\r\n").await.status,
        400
    );
    drop(serving);
    world.stands().await;
}

/// A connection that waits for its next request is kept for 75 s, and no longer.
#[tokio::test]
async fn idle_connections_are_kept_a_while() {
    let (world, serving) = world().await;
    let mut stream = TcpStream::connect(world.server.proxy_addr)
        .await
        .expect("connected");
    let get = b"GET / HTTP/1.1\r\nHost: target.localhost\r\n\r\n";
    let mut answer = [0; 12];
    for _ in 0..2 {
        stream.write_all(get).await.expect("open");
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        let mut rest = [0; 1024];
        let body = stream.read(&mut rest).await.expect("the rest");
        assert!(rest[..body].ends_with(APP.as_bytes()));
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(70)).await;
        tokio::time::resume();
    }
    tokio::time::pause();
    let ended = timeout(Duration::from_secs(10), stream.read(&mut answer)).await;
    assert_eq!(ended.expect("closed after 75 s").expect("cleanly"), 0);
    tokio::time::resume();
    drop(serving);
    world.stands().await;
}
