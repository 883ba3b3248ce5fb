//! Attacks below the messages: frames, binary data, sizes, the upgrade, and texts that somebody
//! writes into a tunnel whose outer TLS he ends.

use std::{net::SocketAddr, time::Duration};

use ee_tunnel::TunnelKey;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    peer::{A_WHILE, Peer, Prover, Registration},
    raw::{BINARY, Frame, PING, RawSocket, TEXT, masked, unmasked},
    world::World,
};

fn registration() -> Registration {
    Registration::new("framed", "framer")
}

#[tokio::test]
async fn two_mib_of_text_before_any_challenge_is_too_big() {
    let world = World::start().await;
    let mut socket = RawSocket::open(world.server.api_addr).await;
    socket.send(TEXT, &vec![b'x'; 2 * 1024 * 1024]).await;
    let (_, code, reason) = socket.end().await;
    // The reset of a connection with unread bytes may overtake the close frame.
    assert!(
        code == Some(1009) || (code.is_none() && reason == "gone"),
        "{code:?} {reason}"
    );
    // Little enough that all of it was read before the refusal: the close frame must arrive.
    let mut socket = RawSocket::open(world.server.api_addr).await;
    socket.send(TEXT, &vec![b'x'; 16 * 1024 + 1]).await;
    assert_eq!(socket.end().await.1, Some(1009));
    world.stands().await;
}

/// The limit is higher while a challenge is open, and still a limit.
#[tokio::test]
async fn text_beyond_2_mib_in_a_challenge_is_too_big() {
    let world = World::start().await;
    let mut peer = world.peer().await;
    let challenge = peer.challenge(&registration()).await;
    let mut answer = Prover::good().answer(&challenge, &registration());
    answer["event_log"] = json!("x".repeat(2 * 1024 * 1024));
    peer.send(&answer);
    let closed = loop {
        if let Err(closed) = peer.hear().await {
            break closed;
        }
    };
    assert!(closed.code.is_none_or(|code| code == 1009), "{closed:?}");
    world.stands().await;
}

#[tokio::test]
async fn binary_before_register_is_refused() {
    let world = World::start().await;
    let mut socket = RawSocket::open(world.server.api_addr).await;
    socket
        .send(BINARY, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await;
    let (said, code, reason) = socket.end().await;
    assert_eq!((code, reason.as_str()), (Some(1008), "binary_not_allowed"));
    assert_eq!(said.as_deref(), Some("binary_not_allowed"));
    world.stands().await;
}

/// Between challenge and `attested` binary may only be the inner TLS handshake.
#[tokio::test]
async fn binary_before_attested_is_refused() {
    let world = World::start().await;
    let mut socket = RawSocket::open(world.server.api_addr).await;
    socket
        .send(TEXT, registration().message().to_string().as_bytes())
        .await;
    let Frame::Text(challenge) = socket.hear().await else {
        panic!("no challenge")
    };
    assert_eq!(challenge["type"], "attest_request");
    socket
        .send(BINARY, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await;
    let (said, code, _) = socket.end().await;
    assert_eq!(
        (said.as_deref(), code),
        (Some("inner_tls_failed"), Some(1008))
    );
    world.stands().await;
}

/// A handshake that grows beyond its bound.
#[tokio::test]
async fn endless_handshake_is_refused() {
    let world = World::start().await;
    let mut socket = RawSocket::open(world.server.api_addr).await;
    socket
        .send(TEXT, registration().message().to_string().as_bytes())
        .await;
    assert!(matches!(socket.hear().await, Frame::Text(_)));
    // A handshake record that announces more than it brings, so that nothing can be parsed yet.
    let mut record = vec![0x16, 0x03, 0x03, 0x3f, 0xff, 0x02, 0x00, 0xff, 0xff];
    record.resize(16 * 1024, 0);
    for _ in 0..4 {
        socket.send(BINARY, &record).await;
    }
    let (said, code, reason) = socket.end().await;
    assert_eq!(code, Some(1008), "{reason}");
    let words = ["inner_tls_failed", "binary_not_allowed"];
    assert!(said.is_some_and(|said| words.contains(&said.as_str())));
    world.stands().await;
}

/// Each fault of the framing is closed with its code of RFC 6455.
#[tokio::test]
async fn broken_frames_are_closed_with_their_codes() {
    let world = World::start().await;
    let text = registration().message().to_string();
    let faults = [
        ("unmasked", unmasked(TEXT, text.as_bytes()), 1002),
        ("reserved bit", masked(TEXT | 0x40, text.as_bytes()), 1002),
        ("unknown opcode", masked(0x83, b""), 1002),
        ("long ping", masked(PING, &[0; 126]), 1002),
        ("continuation of nothing", masked(0x80, b"x"), 1002),
        ("bad UTF-8", masked(TEXT, &[0xff, 0xfe]), 1007),
    ];
    for (name, bytes, expected) in faults {
        let mut socket = RawSocket::open(world.server.api_addr).await;
        socket.send_bytes(&bytes).await;
        let (_, code, reason) = socket.end().await;
        assert_eq!(code, Some(expected), "{name}: {reason}");
    }
    world.stands().await;
}

#[tokio::test]
async fn ping_flood_is_refused() {
    let world = World::start().await;
    let mut socket = RawSocket::open(world.server.api_addr).await;
    for _ in 0..40 {
        socket.send(PING, b"").await;
    }
    let (_, code, _) = socket.end().await;
    assert_eq!(code, Some(1008));
    world.stands().await;
}

/// Whoever says nothing is let go after ten seconds.
#[tokio::test]
async fn silent_stranger_is_closed() {
    let world = World::start().await;
    let mut peer = world.peer().await;
    let refused = peer.refused().await;
    assert_eq!(refused.closed.code, Some(1008), "{refused:?}");
    world.stands().await;
}

#[tokio::test]
async fn plain_get_of_the_tunnel_is_told_to_upgrade() {
    let world = World::start().await;
    let host = "GET /v1/tunnel HTTP/1.1\r\nHost: control.localhost\r\nConnection: close\r\n";
    for more in ["", "Upgrade: h2c\r\n", "Upgrade: websocket\r\n"] {
        let answer = world.ask_api(&format!("{host}{more}\r\n")).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.json()["code"], "upgrade_required", "{answer:?}");
    }
    world.stands().await;
}

/// A relay between agent and control plane, as a CDN that ends the outer TLS is one: it can write
/// whole frames into the stream while nothing else is on the way.
struct Cdn {
    address: SocketAddr,
    inject: mpsc::UnboundedSender<Vec<u8>>,
}

impl Cdn {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let (inject, mut injected) = mpsc::unbounded_channel::<Vec<u8>>();
        tokio::spawn(async move {
            let (agent, _) = listener.accept().await.expect("the agent");
            let control = TcpStream::connect(target).await.expect("the control plane");
            let (mut from_agent, mut to_agent) = agent.into_split();
            let (mut from_control, mut to_control) = control.into_split();
            tokio::spawn(async move {
                tokio::io::copy(&mut from_control, &mut to_agent).await.ok();
                to_agent.shutdown().await.ok();
            });
            let mut buffer = vec![0; 64 * 1024];
            loop {
                tokio::select! {
                    read = from_agent.read(&mut buffer) => match read {
                        Ok(len @ 1..) => to_control.write_all(&buffer[..len]).await.expect("sent"),
                        Ok(0) | Err(_) => break,
                    },
                    Some(frame) = injected.recv() => {
                        to_control.write_all(&frame).await.expect("sent");
                    }
                }
            }
        });
        Self { address, inject }
    }

    fn say(&self, text: &str) {
        self.inject
            .send(masked(TEXT, text.as_bytes()))
            .expect("the relay runs");
    }
}

/// Words that somebody outside the inner TLS puts into the agent's mouth.
#[tokio::test]
async fn forged_control_message_is_refused() {
    let world = World::start().await;
    let forgeries = [
        r#"{"type":"health","status":"fail"}"#.to_owned(),
        r#"{"type":"health","status":"pass","seq":0}"#.to_owned(),
        format!(
            r#"{{"type":"health","status":"fail","seq":0,"mac":"{}"}}"#,
            "0".repeat(64)
        ),
        r#"{"type":"drain","reason":"shutdown"}"#.to_owned(),
        "garbage".to_owned(),
    ];
    for (number, forgery) in forgeries.iter().enumerate() {
        let app = format!("relayed-{number}");
        let cdn = Cdn::start(world.server.api_addr).await;
        let registration = Registration::new(&app, &app);
        let peer = Peer::connect_with(cdn.address, &TunnelKey::generate()).await;
        let serving = peer
            .join(&registration, &Prover::good())
            .await
            .serve("relayed");
        assert_eq!(world.get(&app).await.body, "relayed");
        tokio::time::sleep(A_WHILE / 3).await;
        cdn.say(forgery);
        let closed = serving.closed().await;
        assert_eq!(
            (closed.code, closed.reason.as_str()),
            (Some(1008), "control_mac_invalid"),
            "{forgery}"
        );
        let (status, word) = world.resolve(&app).await;
        assert_eq!(
            (status, &word["reason"]),
            (403, &json!("no_tunnel")),
            "{forgery}"
        );
        assert_eq!(
            word["health_status"], "pass",
            "a forged word changes nothing: {word}"
        );
    }
    world.stands().await;
}

/// Hundreds of strangers who say nothing cost the others nothing.
#[tokio::test]
async fn crowd_of_silent_strangers_delays_nobody() {
    let world = World::start().await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(RawSocket::open(world.server.api_addr).await);
    }
    let joined = async {
        let peer = world
            .peer()
            .await
            .join(&registration(), &Prover::good())
            .await;
        peer.serve("framed")
    };
    let serving = tokio::time::timeout(Duration::from_secs(10), joined)
        .await
        .expect("in time");
    assert_eq!(world.get("framed").await.body, "framed");
    drop((crowd, serving));
    world.stands().await;
}
