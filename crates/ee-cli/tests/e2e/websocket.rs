//! WebSockets of apps through the whole chain, with a client of another library.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests wait for real processes"
)]

use std::{
    io::{self, Read, Write},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        handshake::client::Response,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::{
    rig::{Network, field, network, network_of, raw_backend, read_head},
    support::{PATIENCE, curl},
};

async fn websocket(
    network: &Network,
    path: &str,
) -> (WebSocketStream<tokio::net::TcpStream>, Response) {
    let mut request = format!("ws://hello.localhost{path}")
        .into_client_request()
        .expect("a URL");
    let protocol = "chat".parse().expect("a value");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    let socket = network.dial();
    socket.set_nonblocking(true).expect("a socket");
    let socket = tokio::net::TcpStream::from_std(socket).expect("a runtime");
    client_async(request, socket).await.expect("101")
}

/// The 101 to the handshake in `head`, by openssl-free arithmetic: the library's own.
fn switching_protocols(head: &str, fields: &str) -> String {
    let key = field(head, "sec-websocket-key").expect("a key");
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{fields}\r\n"
    )
}

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: hello.localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn websocket_of_the_app_echoes() {
    let network = network();
    let (mut socket, response) = websocket(&network, "/ws").await;
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    assert_eq!(response.headers()["x-ee-node"], "one");
    let big = vec![7_u8; 1_000_000];
    for message in [
        Message::text("hello"),
        Message::binary(big),
        Message::text(""),
    ] {
        socket.send(message.clone()).await.expect("open");
        let back = socket.next().await.expect("open").expect("a message");
        assert!(
            back == message,
            "the echo of {} bytes differs",
            message.len()
        );
    }
    let ping = Message::Ping("are you there".into());
    socket.send(ping).await.expect("open");
    let pong = socket.next().await.expect("open").expect("a message");
    assert_eq!(pong, Message::Pong("are you there".into()));
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "done".into(),
    };
    socket.close(Some(frame)).await.expect("open");
    let close = socket.next().await.expect("open").expect("a close frame");
    let Message::Close(Some(frame)) = close else {
        panic!("{close:?}");
    };
    assert_eq!(frame.code, CloseCode::Normal);
    assert!(
        socket.next().await.is_none(),
        "the connection ends after it"
    );
}

#[test]
fn early_bytes_wait_for_the_101_and_come_unchanged() {
    let (report, reports) = mpsc::channel();
    let backend = raw_backend(move |mut socket, head| {
        let quiet = Duration::from_millis(400);
        socket.set_read_timeout(Some(quiet)).expect("a socket");
        let early = socket.read(&mut [0; 1]);
        let held = early.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        let answer = switching_protocols(&head, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
        // The first bytes of the WebSocket leave together with the 101.
        socket
            .write_all((answer + "server first").as_bytes())
            .expect("open");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut bytes = [0; 12];
        socket.read_exact(&mut bytes).expect("what the client sent");
        report.send((head, held, bytes)).expect("a listener");
    });
    let network = network_of(&backend);
    let mut client = network.dial();
    let early = format!("{HANDSHAKE}client early");
    client.write_all(early.as_bytes()).expect("open");
    let head = read_head(&client).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let accept = field(&head, "sec-websocket-accept");
    assert_eq!(
        accept,
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "the answer to the client's key"
    );
    let extensions = field(&head, "sec-websocket-extensions");
    assert_eq!(
        extensions,
        Some("permessage-deflate"),
        "between client and app"
    );
    let mut first = [0; 12];
    client.read_exact(&mut first).expect("the app's bytes");
    assert_eq!(&first, b"server first");
    let (asked, held, bytes) = reports
        .recv_timeout(PATIENCE)
        .expect("the backend's report");
    assert!(held, "no client byte may arrive before the app has agreed");
    assert_eq!(&bytes, b"client early");
    let key = field(&asked, "sec-websocket-key").expect("a key");
    assert_ne!(
        key, "dGhlIHNhbXBsZSBub25jZQ==",
        "the key is made for this hop"
    );
    assert_eq!(
        field(&asked, "sec-websocket-extensions"),
        Some("permessage-deflate")
    );
    assert_eq!(field(&asked, "host"), Some("hello.localhost"));
    assert!(field(&asked, "x-request-id").is_some());
    // The backend has closed: so does the client's connection.
    assert_eq!(client.read(&mut [0; 1]).expect("a clean end"), 0);
}

#[test]
fn declined_handshake_is_a_plain_answer() {
    let network = network();
    for (path, status) in [("/", "200"), ("/status/403", "403"), ("/redirect", "302")] {
        let mut client = network.dial();
        let hidden = "GET /smuggled HTTP/1.1\r\nHost: hello.localhost\r\n\r\n";
        let handshake = HANDSHAKE.replace("/ws", path) + hidden;
        client.write_all(handshake.as_bytes()).expect("open");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an end");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1").count(),
            1,
            "bytes after it are no request"
        );
        assert_eq!(field(&answer, "x-ee-origin"), Some("app"));
        assert_eq!(field(&answer, "ee-upgrade"), None, "{answer}");
    }
}

#[test]
fn answer_to_another_handshake_is_refused() {
    let backend = raw_backend(|mut socket, head| {
        let answer = switching_protocols(&head, "");
        let accept = field(&answer, "sec-websocket-accept")
            .expect("written above")
            .to_owned();
        let forged = answer.replace(&accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        socket.write_all(forged.as_bytes()).expect("open");
    });
    let network = network_of(&backend);
    let mut client = network.dial();
    client.write_all(HANDSHAKE.as_bytes()).expect("open");
    let head = read_head(&client).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert_eq!(field(&head, "x-ee-origin"), Some("agent"));
}

#[test]
fn other_upgrades_are_removed_and_bad_handshakes_refused() {
    let network = network();
    let url = network.control.app_url("hello", "/headers");
    for fields in [
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"],
        ["Upgrade: websocket", "X: 1"],
    ] {
        let answer = curl(&["-H", fields[0], "-H", fields[1], &url]);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            !answer.body.to_lowercase().contains("upgrade"),
            "{}",
            answer.body
        );
    }
    let asked = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket"];
    for bad in [
        [
            "-H",
            "Sec-WebSocket-Version: 13",
            "-H",
            "Sec-WebSocket-Key: c2hvcnQ=",
        ],
        [
            "-H",
            "Sec-WebSocket-Version: 8",
            "-H",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
    ] {
        let answer = curl(&[&asked[..], &bad[..], &[&url]].concat());
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains("Sec-WebSocket-"), "{}", answer.body);
    }
}

#[test]
fn a_client_that_is_gone_is_gone_for_the_app() {
    let (report, reports) = mpsc::channel();
    let backend = raw_backend(move |mut socket, head| {
        socket
            .write_all(switching_protocols(&head, "").as_bytes())
            .expect("open");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut rest = Vec::new();
        report
            .send(socket.read_to_end(&mut rest).is_ok())
            .expect("a listener");
    });
    let network = network_of(&backend);
    let mut client = network.dial();
    client.write_all(HANDSHAKE.as_bytes()).expect("open");
    read_head(&client).expect("a 101");
    drop(client);
    assert!(
        reports.recv_timeout(Duration::from_secs(10)).is_ok(),
        "the backend's socket ends"
    );
}

#[test]
fn an_app_that_does_not_read_stops_the_client() {
    let backend = raw_backend(move |mut socket, head| {
        socket
            .write_all(switching_protocols(&head, "").as_bytes())
            .expect("open");
        thread::park();
    });
    let network = network_of(&backend);
    let mut client = network.dial();
    client.write_all(HANDSHAKE.as_bytes()).expect("open");
    read_head(&client).expect("a 101");
    client
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("a socket");
    let piece = vec![0_u8; 1 << 20];
    let mut sent = 0_usize;
    let give_up = Instant::now() + PATIENCE;
    while let Ok(count) = client.write(&piece) {
        sent += count;
        // Sockets of three hops and one stream window: far below what memory could take.
        assert!(
            sent < 256 << 20 && Instant::now() < give_up,
            "{sent} bytes were swallowed"
        );
    }
}
