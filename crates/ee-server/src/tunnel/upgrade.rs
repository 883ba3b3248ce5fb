//! The WebSocket handshake (RFC 6455 section 4.2), server side.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ee_tunnel::limits::UNSENT_MAX;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::prefixed::Prefixed;
use crate::{h1::Guarded, listener::Conn};

/// RFC 6455 section 1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The one version of the protocol that exists.
const VERSION: &str = "13";

/// What a tunnel runs on.
pub(super) type Io = Prefixed<Conn>;

/// `Sec-WebSocket-Accept` for a request that asks for a WebSocket; `None` for any other.
pub(super) fn accept_value(request: &Request) -> Option<HeaderValue> {
    let headers = request.headers();
    let asked = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(headers, &header::UPGRADE, "websocket")
        && has_token(headers, &header::CONNECTION, "upgrade")
        && headers
            .get(header::SEC_WEBSOCKET_VERSION)
            .is_some_and(|version| version == VERSION);
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    let nonce = STANDARD.decode(key).ok()?;
    if !asked || nonce.len() != 16 {
        return None;
    }
    let hash = digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{ACCEPT_GUID}").as_bytes(),
    );
    HeaderValue::from_str(&STANDARD.encode(hash)).ok()
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// The 101.
pub(super) fn switching_protocols(accept: HeaderValue) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Takes the connection out of hyper, whose wrapper alone would cost 8 KiB per idle tunnel.
pub(super) async fn finish(upgraded: OnUpgrade) -> Result<Io, String> {
    let upgraded = upgraded.await.map_err(|error| error.to_string())?;
    match upgraded.downcast::<TokioIo<Guarded<Conn>>>() {
        Ok(parts) => {
            let (early, conn) = parts.io.into_inner().into_parts();
            conn.limit_unsent(UNSENT_MAX)
                .map_err(|error| error.to_string())?;
            let first = Bytes::from([parts.read_buf, early].concat());
            Ok(Prefixed::new(first, conn))
        }
        Err(_) => Err("the connection is not one of our listener's".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(change: impl FnOnce(&mut HeaderMap)) -> Option<String> {
        let mut request = Request::new(Body::empty());
        let headers = request.headers_mut();
        let sample = "dGhlIHNhbXBsZSBub25jZQ==";
        for (name, value) in [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", VERSION),
            ("sec-websocket-key", sample),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        change(headers);
        accept_value(&request).map(|value| value.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn the_rfcs_example_is_accepted() {
        assert_eq!(
            accepted(|_| {}).as_deref(),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
    }

    #[test]
    fn anything_less_is_not_an_upgrade() {
        for name in [
            "upgrade",
            "connection",
            "sec-websocket-version",
            "sec-websocket-key",
        ] {
            assert_eq!(
                accepted(|headers| drop(headers.remove(name))),
                None,
                "{name}"
            );
        }
        let short = HeaderValue::from_static("c2hvcnQ=");
        assert_eq!(
            accepted(|headers| drop(headers.insert("sec-websocket-key", short))),
            None
        );
    }
}
