//! WebSockets of apps: a public Upgrade (RFC 6455) or extended CONNECT (RFC 8441) becomes an
//! extended CONNECT in the tunnel (TUNNEL 5).
//!
//! The bytes are opaque here: no frame is read, no extension declined. Not one byte of the client
//! goes to the agent before the app has agreed; what the client sends early stays in hyper's read
//! buffer and the kernel. An app that declines is heard as with any request.

use base64::{Engine, engine::general_purpose::STANDARD};
use ee_protocol::problem::{Problem, ProblemCode};
use ee_tunnel::Protocol;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
        TRANSFER_ENCODING, UPGRADE,
    },
    request::Parts,
};
use hyper::upgrade::OnUpgrade;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::{
    body::ProxyBody,
    forward::{finish, send, within_deadline},
    pace::UploadWatch,
    refuse,
    relay::{Gate, Relay},
    request::Caller,
};
use crate::state::AppState;

/// RFC 6455 section 1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The one version of the protocol that exists.
const VERSION: &str = "13";
/// Written by the agent where a success status of the app is no agreement: `declined`.
const EE_UPGRADE: HeaderName = HeaderName::from_static("ee-upgrade");

/// A request for a WebSocket.
pub struct Asked {
    face: Face,
    upgrade: OnUpgrade,
}

/// How the client asked, and so how it is answered.
enum Face {
    /// HTTP/1.1: the value of `Sec-WebSocket-Accept`.
    Upgrade(HeaderValue),
    /// HTTP/2.
    Connect,
}

/// Takes what asks for a WebSocket out of a head, which from then on reads as a plain GET; `None`
/// for every other request. Upgrades to other protocols are left for the header rules to remove.
///
/// # Errors
/// A handshake that is none, or another protocol by extended CONNECT.
pub fn take(head: &mut Parts) -> Result<Option<Asked>, Box<Problem>> {
    let face = match head.extensions.remove::<hyper::ext::Protocol>() {
        Some(protocol) => Some(by_connect(head, &protocol)?),
        None => by_upgrade(head)?,
    };
    // Nobody else may answer 101 on this connection.
    let upgrade = head.extensions.remove::<OnUpgrade>();
    head.headers.remove(UPGRADE);
    let Some(face) = face else {
        return Ok(None);
    };
    let upgrade = upgrade.ok_or_else(|| invalid("this connection cannot be upgraded"))?;
    if head.headers.contains_key(TRANSFER_ENCODING)
        || head
            .headers
            .remove(CONTENT_LENGTH)
            .is_some_and(|length| length != "0")
    {
        return Err(invalid("a WebSocket handshake has no body"));
    }
    head.headers.remove(SEC_WEBSOCKET_KEY);
    head.headers.remove(SEC_WEBSOCKET_ACCEPT);
    head.method = Method::GET;
    Ok(Some(Asked { face, upgrade }))
}

fn by_connect(head: &Parts, protocol: &hyper::ext::Protocol) -> Result<Face, Box<Problem>> {
    if head.method != Method::CONNECT || protocol.as_str() != "websocket" {
        let detail = format!(
            "extended CONNECT carries websocket, not {:?}",
            protocol.as_str()
        );
        return Err(refuse(ProblemCode::UpgradeUnsupported, &detail));
    }
    Ok(Face::Connect)
}

/// Whether a head asks for a WebSocket in HTTP/1.1, rightly or not. An `Upgrade` without
/// `Connection: upgrade` was not meant for us (RFC 9110 7.8), nor is one in HTTP/1.0 or HTTP/2.
pub fn is_handshake(head: &Parts) -> bool {
    head.version == Version::HTTP_11
        && has_token(&head.headers, &UPGRADE, "websocket")
        && has_token(&head.headers, &CONNECTION, "upgrade")
}

fn by_upgrade(head: &Parts) -> Result<Option<Face>, Box<Problem>> {
    let headers = &head.headers;
    if !is_handshake(head) {
        return Ok(None);
    }
    if head.method != Method::GET {
        return Err(invalid("a WebSocket handshake is a GET"));
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != VERSION)
    {
        return Err(invalid("Sec-WebSocket-Version must be 13"));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let accept = keys
        .next()
        .and_then(accept_of)
        .filter(|_| keys.next().is_none());
    accept
        .map(|accept| Some(Face::Upgrade(accept)))
        .ok_or_else(|| invalid("Sec-WebSocket-Key must be 16 bytes in base64, once"))
}

fn accept_of(key: &HeaderValue) -> Option<HeaderValue> {
    let key = key.to_str().ok()?;
    let nonce = STANDARD.decode(key).ok()?;
    if nonce.len() != 16 {
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

/// Asks the app for the WebSocket; on its agreement the client is answered and a task of its own
/// carries the bytes.
pub async fn forward(
    state: &AppState,
    caller: &Caller,
    mut head: Parts,
    asked: Asked,
    request_id: &str,
) -> Result<Response<ProxyBody>, Box<Problem>> {
    head.method = Method::CONNECT;
    head.extensions.clear();
    head.extensions.insert(Protocol::from_static("websocket"));
    let gate = Gate::default();
    let sent = send(state, caller, &head, || Some(gate.lend()));
    let (credit, answer) = within_deadline(&UploadWatch::new(), sent).await?;
    let agreed = answer.status().is_success() && !answer.headers().contains_key(EE_UPGRADE);
    let answer = finish(&head.method, credit, answer, request_id)?;
    if !agreed {
        return declined(&asked.face, answer);
    }
    let (mut parts, body) = answer.into_parts();
    Relay {
        upgrade: asked.upgrade,
        gate,
        body,
    }
    .start(&state.tasks);
    parts.headers.remove(CONTENT_LENGTH);
    if let Face::Upgrade(accept) = asked.face {
        parts.status = StatusCode::SWITCHING_PROTOCOLS;
        parts
            .headers
            .insert(UPGRADE, HeaderValue::from_static("websocket"));
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    } else {
        parts.status = StatusCode::OK;
    }
    Ok(Response::from_parts(
        parts,
        ProxyBody::own(bytes::Bytes::new()),
    ))
}

/// The app's answer as it is. In HTTP/1.1 the connection ends with it: what a client has sent
/// early must not be read as its next request. In HTTP/2 a success would mean agreement.
fn declined(
    face: &Face,
    mut answer: Response<ProxyBody>,
) -> Result<Response<ProxyBody>, Box<Problem>> {
    match face {
        Face::Upgrade(_) => {
            answer
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
            Ok(answer)
        }
        Face::Connect if answer.status().is_success() => {
            let detail = format!(
                "the app answered {} to a WebSocket handshake",
                answer.status()
            );
            Err(refuse(ProblemCode::BadAgentResponse, &detail))
        }
        Face::Connect => Ok(answer),
    }
}

fn invalid(detail: &str) -> Box<Problem> {
    refuse(ProblemCode::InvalidRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(change: impl FnOnce(&mut Parts)) -> Result<Option<String>, String> {
        let request = http::Request::get("/ws")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", VERSION)
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let mut head = request.body(()).expect("a request").into_parts().0;
        change(&mut head);
        let face = by_upgrade(&head).map_err(|problem| problem.detail)?;
        Ok(face.map(|face| match face {
            Face::Upgrade(accept) => accept.to_str().expect("ASCII").to_owned(),
            Face::Connect => "by CONNECT".to_owned(),
        }))
    }

    #[test]
    fn the_rfcs_example_is_accepted() {
        let accept = Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
        assert_eq!(asked(|_| {}), Ok(accept));
    }

    #[test]
    fn what_does_not_ask_for_a_websocket_is_no_upgrade() {
        for name in [UPGRADE, CONNECTION] {
            assert_eq!(
                asked(|head| drop(head.headers.remove(&name))),
                Ok(None),
                "{name}"
            );
        }
        let other = HeaderValue::from_static("h2c");
        assert_eq!(
            asked(|head| drop(head.headers.insert(UPGRADE, other))),
            Ok(None)
        );
        assert_eq!(asked(|head| head.version = Version::HTTP_10), Ok(None));
    }

    #[test]
    fn broken_handshakes_are_refused() {
        assert!(asked(|head| head.method = Method::POST).is_err());
        for name in [SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_KEY] {
            assert!(
                asked(|head| drop(head.headers.remove(&name))).is_err(),
                "{name}"
            );
        }
        let short = HeaderValue::from_static("c2hvcnQ=");
        assert!(asked(|head| drop(head.headers.insert(SEC_WEBSOCKET_KEY, short))).is_err());
        let second = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        let twice = |head: &mut Parts| assert!(head.headers.append(SEC_WEBSOCKET_KEY, second));
        assert!(asked(twice).is_err());
    }

    #[test]
    fn extended_connect_carries_websocket_only() {
        let mut head = http::Request::new(()).into_parts().0;
        head.method = Method::CONNECT;
        let protocol = hyper::ext::Protocol::from_static;
        assert!(by_connect(&head, &protocol("websocket")).is_ok());
        let refused = by_connect(&head, &protocol("connect-udp"))
            .err()
            .expect("refused");
        assert_eq!(refused.code, "upgrade_unsupported");
    }
}
