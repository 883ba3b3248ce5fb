//! Behind programs of others: nginx, Caddy and Traefik that ask before they forward; wrk as an
//! independent client.
//!
//! Each test runs with every proxy that is installed, so the name of the proxy is in each message.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, mpsc},
};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{client_async, tungstenite::Message};

use crate::{
    fronts::{APP_DOMAIN, CONTROL_HOST, Front, World},
    rig::raw_backend,
    support::{ControlPlane, PATIENCE, installed, start_agent, start_backend, wait_until},
};

fn host(app: &str) -> String {
    format!("{app}.{APP_DOMAIN}")
}

/// The header fields that the app saw, of an answer of the demo backend's `/headers`.
fn fields_seen(body: &str) -> Vec<(String, String)> {
    let answer: serde_json::Value = serde_json::from_str(body).expect("JSON of the backend");
    serde_json::from_value(answer["headers"].clone()).expect("names and values")
}

#[test]
fn each_proxy_routes_to_the_app_and_keeps_the_request() {
    let world = World::start();
    for front in world.fronts() {
        let name = front.name;
        let served = front.curl(&host("hello"), "/", &[]);
        assert_eq!(
            (served.status, served.header("x-ee-node")),
            (200, Some("one")),
            "{name}: {served:?}"
        );
        assert_eq!(served.body, "hello from a simulated enclave\n", "{name}");

        let path = "/headers/a%2Fb//c/../d;e?x=%20&app=other";
        let seen = front.curl(&host("hello"), path, &["-H", "Cookie: session=1"]);
        assert!(
            seen.body.contains(&format!("\"{path}\"")),
            "{name}: {}",
            seen.body
        );
        let cookie = ("cookie".to_owned(), "session=1".to_owned());
        assert!(
            fields_seen(&seen.body).contains(&cookie),
            "{name}: {}",
            seen.body
        );

        let posted = front.curl(&host("hello"), "/echo", &["-d", "ping"]);
        assert_eq!((posted.status, &*posted.body), (200, "ping"), "{name}");
        let failed = front.curl(&host("hello"), "/status/418", &[]);
        assert_eq!(
            (failed.status, failed.header("x-ee-origin")),
            (418, Some("app")),
            "{name}"
        );
        uploads_and_downloads(&front);
    }
}

/// Far more than any buffer on the way, without a length in advance, and back.
fn uploads_and_downloads(front: &Front) {
    let name = front.name;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("upload");
    std::fs::write(&file, vec![b'u'; 8 << 20]).expect("disk space");
    let body = format!("@{}", file.display());
    for framing in ["Transfer-Encoding: chunked", "X-Framing: length"] {
        let more = ["--data-binary", &body, "-H", framing, "-H", "Expect:"];
        let answer = front.curl(&host("hello"), "/upload", &more);
        let said = answer.body.contains("\"bytes\":8388608");
        assert!(said, "{name}, {framing}: {answer:?}");
    }
    let answer = front.curl(&host("hello"), "/bytes/8388608", &[]);
    assert_eq!((answer.status, answer.body.len()), (200, 8 << 20), "{name}");
}

#[test]
fn refused_app_is_403_with_its_reason() {
    let world = World::start();
    world.add_app_without_tunnel("gone");
    for front in world.fronts() {
        let refused = front.curl(&host("gone"), "/", &["-d", "a body that nobody reads"]);
        assert_eq!(
            (refused.status, refused.header("x-ee-reason")),
            (403, Some("no_tunnel")),
            "{}: {refused:?}",
            front.name
        );
        assert!(
            refused.body.contains("\"no_tunnel\""),
            "{}: {refused:?}",
            front.name
        );
        let served = front.curl(&host("hello"), "/", &[]);
        assert_eq!(
            served.status, 200,
            "{}: another app still serves",
            front.name
        );
    }
}

/// What is wrong with a request is said by who reads it for the app, not by the question before.
#[test]
fn too_many_fields_are_431_and_never_500() {
    let world = World::start();
    let fields: Vec<String> = (0..140).map(|number| format!("X-{number}: 1")).collect();
    let many: Vec<&str> = fields.iter().flat_map(|field| ["-H", field]).collect();
    for front in world.fronts() {
        let answer = front.curl(&host("hello"), "/", &many);
        assert_eq!(answer.status, 431, "{}: {answer:?}", front.name);
        let served = front.curl(&host("hello"), "/", &[]);
        assert_eq!(served.status, 200, "{}", front.name);
    }
}

#[test]
fn query_never_chooses_the_app() {
    let world = World::start();
    world.add_app_without_tunnel("gone");
    let claims = [
        "X-EE-App: hello",
        "X-EE-Node: one",
        "X-Forwarded-Host: hello.apps.test",
        "X-Original-Host: hello.apps.test",
        "Forwarded: host=hello.apps.test",
    ];
    let claims = claims.map(|claim| ["-H", claim]).concat();
    for front in world.fronts() {
        for path in [
            "/?app=hello",
            "/?domain=hello.apps.test",
            "/v1/authz/hello?app=hello",
        ] {
            let spoofed = front.curl(&host("gone"), path, &claims);
            assert_eq!(
                (spoofed.status, spoofed.header("x-ee-reason")),
                (403, Some("no_tunnel")),
                "{} {path}: {spoofed:?}",
                front.name
            );
        }
        let served = front.curl(&host("hello"), "/?app=gone", &["-H", "X-EE-App: gone"]);
        assert_eq!(served.status, 200, "{}: {served:?}", front.name);
    }
}

#[test]
fn claims_of_clients_never_reach_the_app() {
    let world = World::start();
    let claims = [
        "X-EE-App: gone",
        "X-EE-Node: rogue",
        "x-ee-sealed: yes",
        "X-EE-Anything: 1",
        "X_EE_Node: rogue",
        "X-EE_Node: rogue",
        "X.EE.Node: rogue",
        "X_EE_Anything: 1",
        "Forwarded: for=203.0.113.9;host=evil.example;proto=gopher",
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: gopher",
        "X-Real-IP: 203.0.113.9",
    ];
    let claims = claims.map(|claim| ["-H", claim]).concat();
    for front in world.fronts() {
        let answer = front.curl(&host("hello"), "/headers", &claims);
        assert_eq!(answer.header("x-ee-node"), Some("one"), "{}", front.name);
        let ours: Vec<_> = fields_seen(&answer.body)
            .into_iter()
            .filter(|(name, _)| name.replace(['_', '.'], "-").starts_with("x-ee"))
            .collect();
        let expected = [("x-ee-app".to_owned(), "hello".to_owned())];
        assert_eq!(ours, expected, "{}", front.name);
        for lie in ["203.0.113.9", "evil.example", "gopher"] {
            let seen = answer.body.contains(lie);
            assert!(!seen, "{}: {lie} in {}", front.name, answer.body);
        }
    }
}

#[test]
fn names_that_nobody_registered_end_at_the_proxy() {
    let world = World::start();
    for (front, status) in [(world.nginx(), 421), (world.traefik(), 404)] {
        let Some(front) = front else { continue };
        let unknown = front.curl(&host("nobody"), "/", &[]);
        assert_eq!(
            (unknown.status, unknown.header("x-ee-reason")),
            (403, Some("unknown_app")),
            "{}: {unknown:?}",
            front.name
        );
        for other in [
            "hello.example.com",
            "a.hello.apps.test",
            "apps.test",
            "hello.appsxtest",
        ] {
            let answer = front.curl(other, "/", &["-H", "X-EE-App: hello"]);
            assert_eq!(answer.status, status, "{} {other}: {answer:?}", front.name);
        }
    }
}

#[test]
fn tls_check_refuses_unregistered_hosts() {
    let world = World::start();
    let Some(caddy) = world.caddy() else { return };
    assert_eq!(caddy.curl(&host("hello"), "/", &[]).status, 200);
    assert_eq!(caddy.curl(CONTROL_HOST, "/health", &[]).status, 200);
    // A handshake for one name, a request for another.
    for other in ["nobody.apps.test", "hello.example.com"] {
        let field = format!("Host: {other}");
        let answer = caddy.curl(&host("hello"), "/", &["-H", &field]);
        assert!([403, 421].contains(&answer.status), "{other}: {answer:?}");
    }
    for stranger in ["nobody.apps.test", "a.hello.apps.test", "hello.example.com"] {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "30"])
            .args(caddy.arguments(stranger, "/?domain=hello.apps.test"))
            .output()
            .expect("curl is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(35),
            "{stranger}: no certificate, but {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_pass_each_proxy() {
    let world = World::start();
    for front in world.fronts() {
        let name = front.name;
        let stream = front.connect(&host("hello")).await;
        let url = format!("ws://{}/ws", host("hello"));
        let (mut socket, response) = client_async(url, stream).await.expect(name);
        assert_eq!(response.headers()["x-ee-node"], "one", "{name}");
        let big = vec![7_u8; 1_000_000];
        for message in [
            Message::text("hello"),
            Message::binary(big),
            Message::text(""),
        ] {
            socket.send(message.clone()).await.expect(name);
            let back = socket.next().await.expect(name).expect(name);
            assert!(
                back == message,
                "{name}: the echo of {} bytes differs",
                message.len()
            );
        }
        socket.close(None).await.expect(name);
        let close = socket.next().await.expect(name).expect(name);
        assert!(close.is_close(), "{name}: {close:?}");
        assert!(
            socket.next().await.is_none(),
            "{name}: the connection ends after it"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_websocket_is_a_plain_answer_of_each_proxy() {
    let world = World::start();
    world.add_app_without_tunnel("gone");
    for front in world.fronts() {
        let stream = front.connect(&host("gone")).await;
        let url = format!("ws://{}/ws", host("gone"));
        let refused = client_async(url, stream).await.expect_err(front.name);
        let tokio_tungstenite::tungstenite::Error::Http(response) = refused else {
            panic!("{}: {refused}", front.name);
        };
        assert_eq!(response.status(), 403, "{}", front.name);
        assert_eq!(
            response.headers()["x-ee-reason"],
            "no_tunnel",
            "{}",
            front.name
        );
    }
}

/// Writes five ticks; each leaves only when the client has read the one before. `/length` says
/// in advance how long all of them are, other paths send chunks.
fn gated_ticks() -> (String, mpsc::Sender<()>) {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let backend = raw_backend(move |mut socket, head| {
        let kind = match head.starts_with("GET /sse") {
            true => "text/event-stream",
            false => "application/octet-stream",
        };
        let (framing, chunk, end) = match head.starts_with("GET /length") {
            true => ("Content-Length: 70", ("", ""), ""),
            false => ("Transfer-Encoding: chunked", ("E\r\n", "\r\n"), "0\r\n\r\n"),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n");
        socket.write_all(head.as_bytes()).expect("open");
        for tick in 0..5 {
            let event = format!("{}data: tick {tick}\n\n{}", chunk.0, chunk.1);
            socket.write_all(event.as_bytes()).expect("open");
            gate.lock()
                .expect("one at a time")
                .recv_timeout(PATIENCE)
                .expect("the client read");
        }
        socket.write_all(end.as_bytes()).expect("open");
    });
    (backend, go)
}

/// curl reads five gated ticks.
fn curl_reads_ticks(what: &str, arguments: &[String], go: &mpsc::Sender<()>) {
    let mut child = Command::new("curl")
        .args(["-sS", "-N", "--max-time", "60"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let mut body = child.stdout.take().expect("piped");
    for tick in 0..5 {
        let mut event = [0; 14];
        body.read_exact(&mut event)
            .unwrap_or_else(|error| panic!("{what}, tick {tick}: {error}"));
        let expected = format!("data: tick {tick}\n\n");
        assert_eq!(String::from_utf8_lossy(&event), expected, "{what}");
        go.send(()).expect("the backend waits");
    }
    let mut rest = Vec::new();
    body.read_to_end(&mut rest).expect("an end");
    assert!(rest.is_empty(), "{what}");
    assert!(child.wait().expect("our child").success(), "{what}");
}

#[test]
fn streams_pass_each_proxy_piece_by_piece() {
    let mut world = World::start();
    let (backend, go) = gated_ticks();
    world.add_app("ticks", &backend);
    for front in world.fronts() {
        for path in ["/sse", "/chunks", "/length"] {
            for version in front.versions() {
                let mut arguments = front.arguments(&host("ticks"), path);
                arguments.push((*version).to_owned());
                curl_reads_ticks(&format!("{} {version} {path}", front.name), &arguments, &go);
            }
        }
    }
}

/// The same without a proxy between: server-sent events as curl sees them, over HTTP/1.1 and 2.
#[test]
fn curl_gets_server_sent_events_as_they_happen() {
    let mut world = World::start();
    let (backend, go) = gated_ticks();
    world.add_app("ticks", &backend);
    let url = format!("{}/sse", world.control.proxy);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let field = format!("Host: {}", host("ticks"));
        let arguments = [version, "-H", &field, &url].map(str::to_owned);
        curl_reads_ticks(version, &arguments, &go);
    }
}

#[test]
fn agents_connect_through_each_proxy() {
    let world = World::start();
    let fronts = world.fronts();
    let mut agents = Vec::new();
    for front in &fronts {
        let settings = front.agents_way();
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, text)| (*name, &**text))
            .collect();
        agents.push(start_agent(
            &world.control,
            front.name,
            &world.backend,
            &settings,
        ));
        wait_until(&format!("the agent behind {} serves", front.name), || {
            let answer = front.curl(&host("hello"), "/", &[]);
            assert_eq!(answer.status, 200, "{}: {answer:?}", front.name);
            answer.header("x-ee-node") == Some(front.name)
        });
    }
}

/// wrk loads `url` with the app's host for two seconds; every request must succeed.
fn wrk(program: &Path, host: &str, url: &str) {
    let output = Command::new(program)
        .args(["-t", "1", "-c", "16", "-d", "2s", "-H"])
        .arg(format!("Host: {host}"))
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .expect("installed");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{url}: {report}");
    assert!(report.contains("requests in"), "{url}: {report}");
    for failure in ["Non-2xx", "Socket errors"] {
        assert!(!report.contains(failure), "{url}: {report}");
    }
}

#[test]
fn wrk_sees_no_failed_request() {
    let Some(program) = installed("wrk") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let control = ControlPlane::start(dir.path(), &[]);
    let (_backend, backend) = start_backend();
    let _agents = ["one", "two"].map(|id| start_agent(&control, id, &backend, &[]));
    control.wait_until_eligible("hello", 2);
    let url = format!("{}/bytes/100", control.proxy);
    wrk(&program, "hello.localhost", &url);
}

#[test]
fn wrk_sees_no_failed_request_through_any_proxy() {
    let Some(program) = installed("wrk") else {
        return;
    };
    let world = World::start();
    for front in world.fronts() {
        let url = front.url(CONTROL_HOST, "/bytes/100");
        wrk(&program, &host("hello"), &url);
    }
}
