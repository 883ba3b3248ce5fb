//! What surrounds every route: request id, client address, log line, panics, security headers.

use std::{
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use ee_protocol::problem::ProblemCode;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, header};

use super::answer::{ApiError, finish, unless_known};
use crate::{clock::Stopwatch, config::TrustedProxies};

/// The header of a request's id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ids from outside are replaced (EXPERIENCE 5).
const REQUEST_ID_MAX_CHARS: usize = 64;

/// Address of the TCP peer; the connection's task sets it.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddr(pub SocketAddr);

/// Address of the client, through trusted proxies.
#[derive(Debug, Clone, Copy)]
pub struct ClientIp(pub IpAddr);

/// Whether the TCP peer is one of `EE_TRUSTED_PROXIES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Its `X-Forwarded-*` and `X-EE-App` count.
    TrustedProxy,
    /// They do not.
    Stranger,
}

/// The request's id.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Reads the id that a client or proxy sent, or makes one.
pub fn request_id(headers: &http::HeaderMap) -> String {
    let sent = headers
        .get(X_REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let usable = |id: &&str| {
        (1..=REQUEST_ID_MAX_CHARS).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
    };
    sent.filter(usable).map_or_else(fresh_id, str::to_owned)
}

/// Wraps a route: identifies request and client, then finishes the answer.
pub async fn wrap(
    State(trusted): State<TrustedProxies>,
    mut request: Request,
    next: Next,
) -> Response {
    let watch = Stopwatch::start();
    let id = request_id(request.headers());
    identify(&trusted, &mut request, &id);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = answered.unwrap_or_else(|_| {
        tracing::error!(event = "handler_panicked", request_id = %id, %method, path);
        ApiError::from(ProblemCode::Internal).into_response()
    });
    let mut response = finish(response, &id);
    if method == http::Method::GET {
        response = unless_known(known, response).await;
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    let (status, micros) = (response.status().as_u16(), watch.elapsed().as_micros());
    tracing::debug!(event = "http_request", request_id = %id, %method, path, status, micros);
    response
}

fn identify(trusted: &TrustedProxies, request: &mut Request, id: &str) {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let peer = request
        .extensions()
        .get::<PeerAddr>()
        .map_or(unknown, |peer| peer.0)
        .ip();
    let client = trusted.client_ip(peer, request.headers());
    let kind = if trusted.contains(peer) {
        Peer::TrustedProxy
    } else {
        Peer::Stranger
    };
    let extensions = request.extensions_mut();
    extensions.insert(ClientIp(client));
    extensions.insert(kind);
    extensions.insert(RequestId(id.to_owned()));
}

/// An id for a request that brought none, or none that can be repeated.
pub fn fresh_id() -> String {
    let mut bytes = [0_u8; 12];
    crate::entropy::fill(&mut bytes);
    let mut text = [0; 24];
    hex::encode_to_slice(bytes, &mut text).expect("two digits for each byte");
    str::from_utf8(&text)
        .expect("hexadecimal digits")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(sent: &str) -> String {
        let mut headers = http::HeaderMap::new();
        headers.insert(
            X_REQUEST_ID,
            HeaderValue::from_bytes(sent.as_bytes()).expect("value"),
        );
        request_id(&headers)
    }

    #[test]
    fn request_ids_are_kept_if_short_and_visible_else_replaced() {
        assert_eq!(id_for("abc-123"), "abc-123");
        for bad in ["", "with space", "tab\there", &"x".repeat(65)] {
            let made = id_for(bad);
            assert_eq!(made.len(), 24, "{bad:?} gave {made}");
        }
        assert_ne!(id_for(""), id_for(""));
    }
}
