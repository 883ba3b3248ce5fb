//! Agents that offer no HTTP/2, behind a whole control plane: requests and answers in text.

#![expect(
    clippy::disallowed_methods,
    reason = "clients and agents of these tests are tasks of their own"
)]

#[expect(dead_code, reason = "shared with the attacks, which need more of it")]
#[path = "attacks/peer.rs"]
mod peer;
#[expect(dead_code, reason = "shared with the attacks, which need more of it")]
#[path = "attacks/world.rs"]
mod world;

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use ee_protocol::report_data::ReportData;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};

use crate::peer::{A_WHILE, Peer, Prover, Registration};
use crate::world::{Answer, World};

const APP: &str = "plain";
const MIB: usize = 1024 * 1024;

fn registration() -> Registration {
    Registration::new(APP, "plain-agent").with(|named| {
        named.network = "sandbox-1".to_owned();
        named.instance = None;
        named.capabilities = Vec::new();
    })
}

/// The seed's `register`, word for word.
fn seed_register() -> Value {
    let mut message = registration().message();
    let members = message.as_object_mut().expect("an object");
    members.remove("tunnel_version");
    members.remove("capabilities");
    assert_eq!(members.len(), 6, "the seed's members");
    message
}

/// An agent that is attested and serves nothing yet.
async fn joined(world: &World) -> Peer {
    let mut peer = world.peer().await;
    peer.send(&seed_register());
    let request = peer.hear().await.expect("a challenge");
    assert!(request.get("tunnel").is_none(), "no terms: {request}");
    let challenge = peer.taken(&request).await;
    peer.send(&Prover::good().answer(&challenge, &registration()));
    let status = peer.status().await;
    assert_eq!(status["reason"], "attested", "{status}");
    peer
}

/// The next request, as the agent sees it.
async fn asked(peer: &mut Peer) -> Value {
    let request = peer.hear().await.expect("a request");
    assert_eq!(request["type"], "proxy_request", "{request}");
    request
}

fn said(peer: &mut Peer, request: &Value, members: &str) {
    let id = &request["request_id"];
    let text = format!(r#"{{"type":"proxy_response","request_id":{id},{members}}}"#);
    peer.tunnel.send_text(text);
}

/// Sends a request to the proxy listener in the background.
fn ask(world: &World, request: String) -> JoinHandle<Answer> {
    let address = world.server.proxy_addr;
    tokio::spawn(async move { world::ask(address, request.as_bytes()).await })
}

/// What the client got; meanwhile the agent's socket is driven and nothing else may come.
async fn got(peer: &mut Peer, asking: JoinHandle<Answer>) -> Answer {
    tokio::select! {
        answer = asking => answer.expect("the client does not panic"),
        text = peer.hear() => panic!("{text:?}"),
    }
}

/// Status and code of a refusal.
fn refusal(answer: &Answer) -> (u16, String) {
    let code = answer.json()["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status, code)
}

fn get(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {APP}.localhost\r\nConnection: close\r\n\
         Cookie: a=1\r\nCookie: b=2\r\nAccept-Encoding: br\r\n\r\n"
    )
}

#[tokio::test]
async fn agent_with_the_seeds_messages_alone_serves() {
    let world = World::start().await;
    let mut peer = joined(&world).await;
    let asking = ask(&world, get("/http://169.254.169.254/?x=%20"));
    let request = asked(&mut peer).await;
    let answer = r#""status":"201","headers":{"Content-Type":"text/plain","Content-Length":"9",
        "Connection":"x-gone","X-Gone":"1","Content-Encoding":"gzip"},"body_b64":"cG9uZw==""#;
    said(&mut peer, &request, answer);
    let answer = got(&mut peer, asking).await;

    assert_eq!(request["request_id"], "0".repeat(24));
    assert_eq!(request["path"], "/./http://169.254.169.254/?x=%20");
    assert_eq!(
        (&request["method"], &request["body_b64"]),
        (&json!("GET"), &json!(""))
    );
    let fields = &request["headers"];
    assert_eq!(fields["cookie"], "a=1; b=2");
    assert_eq!(fields["accept-encoding"], "identity");
    assert_eq!(
        (&fields["x-ee-app"], &fields["host"]),
        (&json!(APP), &Value::Null)
    );

    assert_eq!((answer.status, answer.body.as_str()), (201, "pong"));
    assert_eq!(answer.fields("content-length"), ["4"]);
    assert_eq!(answer.fields("x-ee-origin"), ["app"]);
    assert_eq!(answer.fields("x-ee-node"), ["plain-agent"]);
    for gone in ["x-gone", "content-encoding"] {
        assert!(answer.fields(gone).is_empty(), "{gone}: {}", answer.head);
    }
    world.stands().await;
}

#[tokio::test]
async fn one_request_at_a_time_and_answers_by_id() {
    let world = World::start().await;
    let mut peer = joined(&world).await;
    let mut asking = vec![
        ("/1", ask(&world, get("/1"))),
        ("/2", ask(&world, get("/2"))),
    ];
    let first = asked(&mut peer).await;
    let early = timeout(A_WHILE, peer.hear()).await;
    assert!(early.is_err(), "a second request before the first answer");
    let stranger = json!({ "request_id": "f".repeat(24) });
    said(&mut peer, &stranger, r#""status":200"#);
    said(&mut peer, &first, &body_of(&first["path"]));
    let second = asked(&mut peer).await;
    assert_ne!(first["request_id"], second["request_id"]);
    said(&mut peer, &second, &body_of(&second["path"]));
    for (path, asking) in asking.drain(..) {
        assert_eq!(got(&mut peer, asking).await.body, path);
    }
    world.stands().await;
}

fn body_of(path: &Value) -> String {
    let text = STANDARD.encode(path.as_str().expect("a path"));
    format!(r#""status":200,"headers":{{}},"body_b64":"{text}""#)
}

#[tokio::test]
async fn bodies_cross_whole_both_ways() {
    let world = World::start().await;
    let mut peer = joined(&world).await;
    let body = "b".repeat(2 * MIB);
    let head = format!("POST /up HTTP/1.1\r\nHost: {APP}.localhost\r\nConnection: close\r\n");
    let asking = ask(
        &world,
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
    );
    peer.tunnel.set_text_limit(4 * MIB);
    let request = asked(&mut peer).await;
    assert_eq!(request["body_b64"], STANDARD.encode(&body));
    let echo = format!(r#""status":200,"body_b64":{}"#, request["body_b64"]);
    said(&mut peer, &request, &echo);
    let answer = got(&mut peer, asking).await;
    assert!(
        answer.status == 200 && answer.body == body,
        "{}",
        answer.head
    );
    world.stands().await;
}

#[tokio::test]
async fn answers_that_are_none_fail_their_request_only() {
    let world = World::start().await;
    let mut peer = joined(&world).await;
    let long = format!(r#""status":200,"body_b64":"{}""#, "A".repeat(8 * MIB));
    for (members, code) in [
        (r#""status":99"#, "bad_agent_response"),
        (r#""status":101"#, "bad_agent_response"),
        (r#""status":200,"headers":{"a":5}"#, "bad_agent_response"),
        (
            r#""status":200,"headers":{"a":"b\r\nc: d"}"#,
            "bad_agent_response",
        ),
        (r#""status":200,"body_b64":"%""#, "bad_agent_response"),
        (long.as_str(), "response_too_large"),
    ] {
        let asking = ask(&world, get("/"));
        let request = asked(&mut peer).await;
        said(&mut peer, &request, members);
        let answer = got(&mut peer, asking).await;
        let shown = &members[..members.len().min(60)];
        assert_eq!(refusal(&answer), (502, code.to_owned()), "{shown}");
    }
    let asking = ask(&world, get("/"));
    let request = asked(&mut peer).await;
    said(&mut peer, &request, r#""headers":null"#);
    let answer = got(&mut peer, asking).await;
    assert_eq!(answer.status, 502, "no status counts as 502");
    assert_eq!(answer.fields("x-ee-origin"), ["app"]);
    world.stands().await;
}

#[tokio::test]
async fn answer_above_16_mib_ends_the_tunnel_with_1009() {
    let world = World::start().await;
    let mut peer = joined(&world).await;
    let asking = ask(&world, get("/"));
    let request = asked(&mut peer).await;
    let members = format!(r#""status":200,"body_b64":"{}""#, "A".repeat(16 * MIB));
    said(&mut peer, &request, &members);
    let closed = peer.hear().await.expect_err("closed");
    // Unread bytes may turn the end into a reset before the close frame is seen.
    assert!(closed.code.is_none_or(|code| code == 1009), "{closed:?}");
    let answer = asking.await.expect("the client does not panic");
    assert_eq!(refusal(&answer), (502, "agent_disconnected".to_owned()));
    world.stands().await;
}

#[tokio::test]
async fn what_messages_cannot_carry_is_refused() {
    let world = World::start().await;
    let mut peer = joined(&world).await;
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: {APP}.localhost\r\nConnection: Upgrade, close\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let long = format!(
        "POST / HTTP/1.1\r\nHost: {APP}.localhost\r\nConnection: close\r\n\
         Content-Length: 3040871\r\n\r\n"
    );
    for (request, status, code) in [
        (upgrade, 501, "upgrade_unsupported"),
        (long, 413, "body_too_large"),
    ] {
        let asking = ask(&world, request);
        let answer = got(&mut peer, asking).await;
        assert_eq!(refusal(&answer), (status, code.to_owned()));
    }
    world.stands().await;
}

#[tokio::test]
async fn tunnel_loss_fails_at_once() {
    let world = World::start().await;
    let mut peer = joined(&world).await;
    let head = format!("POST / HTTP/1.1\r\nHost: {APP}.localhost\r\nConnection: close\r\n");
    let asking = ask(&world, format!("{head}Content-Length: 0\r\n\r\n"));
    asked(&mut peer).await;
    drop(peer);
    let answer = timeout(Duration::from_secs(5), asking)
        .await
        .expect("at once");
    let answer = answer.expect("the client does not panic");
    assert_eq!(refusal(&answer), (502, "agent_disconnected".to_owned()));
    world.stands().await;
}

#[tokio::test]
async fn unbound_quotes_are_refused_by_default() {
    let world = World::start().await;
    let registration = registration();
    let refused = world.peer().await.attempt(&registration, |challenge| {
        let prover = Prover::good();
        let unbound = ReportData::new(&prover.claims.digest(), &[0; 32]);
        prover.answer_with(challenge, &unbound)
    });
    refused.await.says("binding_required");
    world.stands().await;
}

#[tokio::test]
async fn idle_agent_is_closed_with_1012_when_the_server_drains() {
    let world = World::with(&[("EE_DRAIN_SEC", "15")]).await;
    let mut peer = joined(&world).await;
    world.server.shutdown();
    let stopping = tokio::spawn(world.server.join());
    let closed = timeout(Duration::from_secs(10), peer.hear()).await;
    let closed = closed
        .expect("at once")
        .expect_err("no word it would not know");
    assert_eq!(closed.code, Some(1012));
    stopping.abort();
}
