//! What a hostile peer may try before anything vouches for it.

use bytes::Bytes;
use ee_tunnel::control::{ControlEvent, ControlTunnel};
use ee_tunnel::{CloseBy, InnerTls, InnerTlsClient, TunnelKey, Violation, limits};
use futures_util::{SinkExt, StreamExt};
use http::Uri;
use tokio::io::DuplexStream;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use crate::pair::{STATUS_OK, accept};

/// A control plane and a WebSocket client without manners.
async fn stranger() -> (ControlTunnel<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (control_io, peer_io) = tokio::io::duplex(4 * 1024 * 1024);
    let uri = Uri::from_static("ws://control.test/v1/tunnel");
    let builder = ClientBuilder::from_uri(uri);
    let (control, peer) = tokio::join!(accept(control_io), builder.connect_on(peer_io));
    (control, peer.expect("the handshake is good").0)
}

async fn closed_with(control: &mut ControlTunnel<DuplexStream>) -> (CloseBy, Option<u16>) {
    loop {
        if let ControlEvent::Closed(closed) = control.next().await {
            return (closed.by, closed.code);
        }
    }
}

async fn last_close(peer: &mut WebSocketStream<DuplexStream>) -> Option<(u16, String)> {
    while let Some(Ok(message)) = peer.next().await {
        if let Some((code, reason)) = message.as_close() {
            return Some((code.into(), reason.to_owned()));
        }
    }
    None
}

/// What the peer is told when it sends `message` right after the upgrade.
async fn refused(message: Message) -> (u16, String) {
    let (mut control, mut peer) = stranger().await;
    peer.send(message).await.expect("the pipe is open");
    let (_, close) = tokio::join!(closed_with(&mut control), last_close(&mut peer));
    close.expect("a close frame")
}

#[tokio::test]
async fn two_mib_of_text_before_any_challenge_is_too_big() {
    let text = Message::text("x".repeat(limits::TEXT_IN_CHALLENGE));
    assert_eq!(refused(text).await.0, 1009);
    let text = Message::text("x".repeat(limits::TEXT_BEFORE_ATTESTED + 1));
    assert_eq!(refused(text).await.0, 1009);
}

#[tokio::test]
async fn the_text_limit_follows_the_session() {
    let (mut control, mut peer) = stranger().await;
    control.set_text_limit(limits::TEXT_IN_CHALLENGE);
    let text = "x".repeat(limits::TEXT_IN_CHALLENGE);
    let (sent, event) = tokio::join!(peer.send(Message::text(text.clone())), control.next());
    sent.expect("the pipe is open");
    assert_eq!(event, ControlEvent::Text(text));
}

#[tokio::test]
async fn junk_binary_before_register_is_refused() {
    let close = refused(Message::binary(&b"junk"[..])).await;
    assert_eq!(close, (1008, "binary_not_allowed".to_owned()));
}

#[tokio::test]
async fn an_empty_binary_message_is_a_protocol_error() {
    assert_eq!(refused(Message::binary(Bytes::new())).await.0, 1002);
}

#[tokio::test]
async fn a_violation_leaves_room_for_a_last_text() {
    let (mut control, mut peer) = stranger().await;
    peer.send(Message::binary(&b"junk"[..]))
        .await
        .expect("the pipe is open");
    let event = control.next().await;
    assert_eq!(event, ControlEvent::Violation(Violation::BinaryNotAllowed));
    control.send_text("{\"why\":1}".to_owned());
    let (_, text) = tokio::join!(closed_with(&mut control), peer.next());
    assert_eq!(
        text.expect("a message").expect("good").as_text(),
        Some("{\"why\":1}")
    );
}

#[tokio::test]
async fn junk_in_place_of_the_handshake_fails_it() {
    let (mut control, mut peer) = stranger().await;
    control.start_inner_tls(&InnerTlsClient::new(&TunnelKey::generate()));
    peer.send(Message::binary(vec![b'j'; 1000]))
        .await
        .expect("the pipe is open");
    let event = control.next().await;
    assert!(
        matches!(event, ControlEvent::InnerTls(InnerTls::Failed(_))),
        "{event:?}"
    );
}

#[tokio::test]
async fn a_handshake_has_a_size() {
    let (mut control, mut peer) = stranger().await;
    control.start_inner_tls(&InnerTlsClient::new(&TunnelKey::generate()));
    let too_much = Message::binary(vec![22; limits::HANDSHAKE_BYTES + 1]);
    peer.send(too_much).await.expect("the pipe is open");
    assert_eq!(
        control.next().await,
        ControlEvent::Violation(Violation::BinaryNotAllowed)
    );
}

#[tokio::test]
async fn a_handshake_has_a_time() {
    let (mut control, _peer) = stranger().await;
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    control.start_inner_tls(&InnerTlsClient::new(&TunnelKey::generate()));
    let event = control.next().await;
    assert_eq!(
        event,
        ControlEvent::InnerTls(InnerTls::Failed("timed out".to_owned()))
    );
    assert_eq!(
        started.elapsed().as_secs(),
        limits::HANDSHAKE_TIME.as_secs()
    );
}

#[tokio::test]
async fn binary_after_attestation_but_before_any_request_is_refused() {
    let (mut control, mut peer) = stranger().await;
    control.offer_plain();
    control.attested(1);
    control.send_text(STATUS_OK.to_owned());
    peer.send(Message::binary(&b"\0\0\0\x04\0\0\0\0\0"[..]))
        .await
        .expect("the pipe is open");
    assert_eq!(
        control.next().await,
        ControlEvent::Violation(Violation::BinaryNotAllowed)
    );
}

#[tokio::test]
async fn an_unsealed_text_on_a_sealed_tunnel_is_refused() {
    let (control_io, agent_io) = tokio::io::duplex(256 * 1024);
    let (mut control, mut agent) = tokio::join!(accept(control_io), crate::pair::connect(agent_io));
    crate::pair::inner_tls(&mut control, &mut agent).await;
    control.attested(1);
    // The agent has not seen `status ok` yet, so what it sends now is not sealed.
    agent.send_text(r#"{"type":"health"}"#.to_owned());
    let (event, _agent) = tokio::join!(control.next(), async {
        let idle = tokio::time::timeout(std::time::Duration::from_millis(200), agent.next());
        drop(idle.await);
    });
    assert_eq!(event, ControlEvent::Violation(Violation::ControlMacInvalid));
}

#[tokio::test]
async fn a_ping_flood_is_refused() {
    let (mut control, mut peer) = stranger().await;
    for _ in 0..=limits::PINGS_PER_SECOND {
        peer.send(Message::ping(Bytes::new()))
            .await
            .expect("the pipe is open");
    }
    assert_eq!(
        control.next().await,
        ControlEvent::Violation(Violation::PingFlood)
    );
}

#[tokio::test]
async fn unanswered_questions_stop_the_asker() {
    // A peer that asks and never reads our answers: they stay bounded.
    let (control_io, peer_io) = tokio::io::duplex(4096);
    let uri = Uri::from_static("ws://control.test/v1/tunnel");
    let builder = ClientBuilder::from_uri(uri);
    let (control, peer) = tokio::join!(accept(control_io), builder.connect_on(peer_io));
    let (mut control, mut peer) = (control, peer.expect("good").0);
    let asking = async {
        for _ in 0..10_000 {
            peer.send(Message::text("{}"))
                .await
                .expect("the pipe is open");
        }
    };
    let mut asked = 0;
    let answering = async {
        loop {
            if let ControlEvent::Text(_) = control.next().await {
                asked += 1;
                control.send_text("x".repeat(100));
            }
        }
    };
    let both = async { tokio::join!(asking, answering) };
    let limit = std::time::Duration::from_millis(300);
    tokio::time::timeout(limit, both)
        .await
        .expect_err("the asker is stopped");
    assert!(asked < 1000, "{asked}");
}
