//! WebSocket handshakes as a way to smuggle requests past the proxy: behind them, inside them, and
//! by an agent that agrees to what is none.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    agents::{APP, ORIGIN, Traitor, frame, head},
    peer::{Prover, Registration},
    world::{A_MOMENT, PATIENCE, World, split_answers},
};

const DATA: u8 = 0;
const END_STREAM: u8 = 1;

/// A handshake with these lines beside the usual.
fn handshake(app: &str, more: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {app}.localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// A request that must never be one.
fn hidden(app: &str) -> String {
    format!("GET /hidden HTTP/1.1\r\nHost: {app}.localhost\r\n\r\n")
}

async fn connected(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.server.proxy_addr).await;
    stream.expect("connected")
}

/// What comes until the connection is over.
async fn rest(mut client: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, client.read_to_end(&mut bytes)).await;
    read.expect("closed in time").ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where the app agrees, the request behind the handshake is bytes of the WebSocket; and until it
/// has agreed it gets none of them.
#[tokio::test]
async fn request_behind_a_handshake_is_bytes_of_the_websocket() {
    let world = World::start().await;
    let mut traitor = Traitor::join(&world).await;
    let mut client = connected(&world).await;
    let both = handshake(APP, "") + &hidden(APP);
    client.write_all(both.as_bytes()).await.expect("sent");
    let stream = traitor.asked().await;
    let early = timeout(A_MOMENT, async {
        while traitor.frame().await[3] != DATA {}
    });
    assert!(
        early.await.is_err(),
        "bytes of the client before the agreement"
    );
    traitor
        .send(&head(stream, 0, &[(":status", "200"), ORIGIN]))
        .await;
    let mut heard = Vec::new();
    while heard.len() < hidden(APP).len() {
        let frame = timeout(PATIENCE, traitor.frame()).await.expect("in time");
        assert_ne!(frame[3], 1, "a second request");
        if frame[3] == DATA {
            heard.extend_from_slice(&frame[9..]);
        }
    }
    assert_eq!(String::from_utf8_lossy(&heard), hidden(APP));
    traitor
        .send(&frame(DATA, END_STREAM, stream, b"bytes"))
        .await;
    let text = rest(client).await;
    assert!(
        text.starts_with("HTTP/1.1 101 ") && text.ends_with("\r\n\r\nbytes"),
        "{text}"
    );
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    world.stands().await;
}

/// Where the app declines, whatever stands behind the handshake is dropped with the connection: a
/// proxy in front of us may take it for bytes of a WebSocket.
#[tokio::test]
async fn request_behind_a_declined_handshake_is_not_served() {
    let world = World::start().await;
    let registration = Registration::new("plain", "plain");
    let peer = world.peer().await;
    let serving = peer
        .join(&registration, &Prover::good())
        .await
        .serve("plain");
    let mut client = connected(&world).await;
    let both = handshake("plain", "") + &hidden("plain");
    client.write_all(both.as_bytes()).await.expect("sent");
    let answers = split_answers(&rest(client).await);
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [426], "{answers:?}");
    assert_eq!(answers[0].fields("connection"), ["close"]);
    drop(serving);
    world.stands().await;
}

/// Handshakes with a body, of other methods, versions, keys: refused, or a plain request without a
/// trace of the upgrade.
#[tokio::test]
async fn handshakes_that_are_none_upgrade_nothing() {
    let world = World::start().await;
    let registration = Registration::new("plain", "plain");
    let peer = world.peer().await;
    let serving = peer
        .join(&registration, &Prover::good())
        .await
        .serve("plain");
    let usual = handshake("plain", "Connection: close\r\n");
    let refused = [
        usual.replace("\r\n\r\n", "\r\nContent-Length: 4\r\n\r\nGET "),
        usual.replace(
            "\r\n\r\n",
            "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        usual.replacen("GET", "POST", 1),
        usual.replace("Version: 13", "Version: 12"),
        usual.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
        usual.replace(
            "\r\n\r\n",
            "\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        ),
    ];
    for request in refused {
        let answer = world.ask_proxy(&request).await;
        assert_eq!(answer.status, 400, "{request}: {answer:?}");
        assert_eq!(
            answer.json()["code"],
            "invalid_request",
            "{request}: {answer:?}"
        );
    }
    // No upgrade was asked of us: the app sees a plain request.
    let plain = [
        usual.replace("Upgrade: websocket", "Upgrade: h2c"),
        usual.replace("Upgrade: websocket", "Upgrade: websockets"),
        usual.replace("Connection: Upgrade\r\n", ""),
        usual.replace("HTTP/1.1", "HTTP/1.0"),
    ];
    for request in plain {
        let answer = world.ask_proxy(&request).await;
        assert_eq!(answer.status, 200, "{request}: {answer:?}");
        let seen = answer.json();
        assert_eq!(seen["method"], "GET", "{request}: {answer:?}");
        for field in ["upgrade:", "connection:", "http2-settings:"] {
            assert!(
                !answer.body.contains(&format!("\"{field}")),
                "{request}: {answer:?}"
            );
        }
    }
    drop(serving);
    world.stands().await;
}

/// An agent that answers a handshake with what is no agreement: the client's next bytes are never
/// sent to it, and no 101 is.
#[tokio::test]
async fn agent_that_agrees_wrongly_opens_no_websocket() {
    let world = World::start().await;
    for (number, fields) in [
        &[(":status", "101"), ORIGIN][..],
        &[(":status", "200"), ORIGIN, ("ee-upgrade", "declined")],
        &[(":status", "200")],
        &[(":status", "302"), ORIGIN],
    ]
    .into_iter()
    .enumerate()
    {
        let app = format!("{APP}{number}");
        let mut traitor = Traitor::join_as(&world, &app).await;
        let mut client = connected(&world).await;
        let both = handshake(&app, "") + &hidden(&app);
        client.write_all(both.as_bytes()).await.expect("sent");
        let stream = traitor.asked().await;
        traitor.send(&head(stream, END_STREAM, fields)).await;
        let text = rest(client).await;
        assert!(!text.starts_with("HTTP/1.1 101 "), "{fields:?}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{fields:?}: {text}");
        let data = timeout(Duration::from_millis(20), async {
            while traitor.frame().await[9..] != *hidden(&app).as_bytes() {}
        });
        assert!(data.await.is_err(), "{fields:?}: the client's bytes");
    }
    world.stands().await;
}
