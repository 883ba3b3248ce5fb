//! A WebSocket that sends every message back (RFC 6455), for upgrades through the whole chain.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use ring::digest;
use tokio_websockets::ServerBuilder;

use crate::serve::{Ask, Body, full, text};

/// RFC 6455 section 1.3: what proves that the server speaks WebSocket.
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Answers 101 and echoes, or 426 to whoever asks without an upgrade.
pub fn upgrade(ask: Ask) -> Response<Body> {
    let Some(accept) = ask
        .headers()
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(accept_of)
    else {
        return text(StatusCode::UPGRADE_REQUIRED, "a WebSocket lives here\n");
    };
    let protocol = ask.headers().get(header::SEC_WEBSOCKET_PROTOCOL).cloned();
    #[expect(
        clippy::disallowed_methods,
        reason = "an upgraded connection outlives its request; it ends when either side closes"
    )]
    tokio::spawn(echo(ask));
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

async fn echo(ask: Ask) {
    let Ok(upgraded) = hyper::upgrade::on(ask).await else {
        return;
    };
    let mut socket = ServerBuilder::new().serve(TokioIo::new(upgraded));
    while let Some(Ok(message)) = socket.next().await {
        let data = message.is_text() || message.is_binary();
        if data && socket.send(message).await.is_err() {
            return;
        }
    }
}

fn accept_of(key: &HeaderValue) -> Option<HeaderValue> {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(ACCEPT_SUFFIX.as_bytes());
    HeaderValue::from_str(&STANDARD.encode(hash.finish())).ok()
}
