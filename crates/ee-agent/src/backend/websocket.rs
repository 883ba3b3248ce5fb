//! WebSockets to the backend: an extended CONNECT of the tunnel becomes an HTTP/1.1 Upgrade with
//! a key of our own, whose answer is checked (TUNNEL 5; RFC 6455 section 4, RFC 8441).
//!
//! The bytes are opaque: no frame is read. A backend that declines is heard as with any request.

use std::{
    future::Future,
    mem,
    pin::{Pin, pin},
    task::{self, Context, Poll},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use ee_tunnel::Protocol;
use futures_util::future::{Either, ready, select};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
        UPGRADE,
    },
};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{
    RequestBody,
    answer::{AnswerBody, BoxError, of_incoming, of_stream},
    connection::{AbortOnDrop, BUFFER_MAX_BYTES},
    to_origin_form,
};
use crate::{clock, tasks};

/// RFC 6455 section 1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Says that a success status is the app's plain answer, not its agreement (RFC 8441 has none).
const EE_UPGRADE: HeaderName = HeaderName::from_static("ee-upgrade");
/// Bytes taken from the backend at once: one DATA frame of the tunnel.
const CHUNK_BYTES: usize = 16 * 1024;

/// Whether an extended CONNECT asks for a WebSocket.
pub(super) fn is_asked<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Asks the backend at the other end of `stream`; on its agreement the bodies of request and
/// answer are the two directions of the WebSocket.
pub(super) async fn forward<B: RequestBody>(
    stream: TcpStream,
    request: Request<B>,
) -> Result<Response<AnswerBody<B>>, BoxError> {
    let (request, client, accept) = handshake(request)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER_MAX_BYTES)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await?;
    let connection = Box::pin(connection.with_upgrades());
    let answer = pin!(sender.send_request(request));
    let (mut response, connection) = match select(answer, connection).await {
        Either::Left((response, connection)) => (response?, Either::Left(connection)),
        // The connection ended with its answer, or without one.
        Either::Right((ended, answer)) => (answer.await?, Either::Right(ready(ended))),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let driver = spawn("backend-connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(event = "backend_connection_ended", %error);
            }
        });
        return declined(response, driver);
    }
    if !agrees(response.headers(), &accept) {
        return Err("the backend's 101 does not answer this handshake".into());
    }
    let upgraded = hyper::upgrade::on(&mut response);
    connection.await?;
    let parts = upgraded
        .await?
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| "the connection is not one of ours")?;
    let (reader, writer) = parts.io.into_inner().into_split();
    let socket = FromBackend {
        reader,
        early: parts.read_buf,
        _upload: spawn("websocket-upload", upload(client, writer)),
    };
    agreed(response, socket)
}

/// The request as a handshake, the client's bytes apart, and what the answer must hold.
fn handshake<B: RequestBody>(
    request: Request<B>,
) -> Result<(Request<Empty<Bytes>>, B, HeaderValue), BoxError> {
    let (mut parts, client) = to_origin_form(request).into_parts();
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&clock::entropy().to_ne_bytes());
    nonce[8..].copy_from_slice(&clock::entropy().to_ne_bytes());
    let key = STANDARD.encode(nonce);
    let accept = HeaderValue::try_from(accept_of(&key))?;
    parts.method = Method::GET;
    let headers = &mut parts.headers;
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::try_from(key)?);
    headers
        .entry(SEC_WEBSOCKET_VERSION)
        .or_insert(HeaderValue::from_static("13"));
    Ok((Request::from_parts(parts, Empty::new()), client, accept))
}

fn accept_of(key: &str) -> String {
    let text = format!("{key}{ACCEPT_GUID}");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// Whether a 101 is the answer to our handshake and switches to what was asked.
fn agrees(headers: &HeaderMap, accept: &HeaderValue) -> bool {
    let says = |name: HeaderName, word: &str| {
        let lines = headers.get_all(name).into_iter();
        lines
            .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
            .any(|said| said.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    says(UPGRADE, "websocket")
        && says(CONNECTION, "upgrade")
        && headers.get(SEC_WEBSOCKET_ACCEPT) == Some(accept)
}

/// 200: bytes flow both ways from here (RFC 8441 section 5).
fn agreed<B: RequestBody>(
    response: Response<Incoming>,
    socket: FromBackend,
) -> Result<Response<AnswerBody<B>>, BoxError> {
    let (mut parts, _empty) = response.into_parts();
    parts.status = StatusCode::OK;
    parts.headers.remove(SEC_WEBSOCKET_ACCEPT);
    parts.headers.remove(CONTENT_LENGTH);
    of_stream(parts, socket)
}

fn declined<B: RequestBody>(
    response: Response<Incoming>,
    driver: AbortOnDrop,
) -> Result<Response<AnswerBody<B>>, BoxError> {
    let success = response.status().is_success();
    let mut response = of_incoming(response, driver)?;
    if success {
        let headers = response.headers_mut();
        headers.insert(EE_UPGRADE, HeaderValue::from_static("declined"));
    }
    Ok(response)
}

fn spawn(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> AbortOnDrop {
    AbortOnDrop(tasks::spawn(name, task).abort_handle())
}

/// The client's bytes on their way to the backend. The tunnel's window opens as the socket takes
/// them; a client that ends its side ends the backend's input.
async fn upload<B: RequestBody>(client: B, mut backend: OwnedWriteHalf) {
    // An error is a reset by the control plane, which the answer's sender sees as well.
    let mut client = client.map_err(|_reset| ());
    while let Some(frame) = client.frame().await {
        let Ok(frame) = frame else {
            return;
        };
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        if let Err(error) = backend.write_all(&bytes).await {
            tracing::debug!(event = "websocket_upload_ended", %error);
            return;
        }
    }
    if let Err(error) = backend.shutdown().await {
        tracing::debug!(event = "websocket_upload_ended", %error);
    }
}

/// The backend's bytes on their way to the client, as the body of the answer.
struct FromBackend {
    reader: OwnedReadHalf,
    /// What came together with the 101.
    early: Bytes,
    /// Carries the client's bytes; dropping this closes the socket.
    _upload: AbortOnDrop,
}

impl Body for FromBackend {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.early.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.early)))));
        }
        // `read_buf` keeps no state between polls: a new one each time loses nothing, and a
        // silent WebSocket holds no buffer.
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
        let count = task::ready!(pin!(self.reader.read_buf(&mut buffer)).poll(cx))?;
        Poll::Ready((count > 0).then(|| Ok(Frame::data(buffer.freeze()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_example_is_accepted() {
        assert_eq!(
            accept_of("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn the_handshake_has_a_key_of_its_own() {
        let asked = || {
            let mut request = Request::new(Empty::<Bytes>::new());
            *request.method_mut() = Method::CONNECT;
            *request.uri_mut() = "http://hello.localhost/ws?x=1".parse().unwrap();
            let headers = request.headers_mut();
            headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
            headers.insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
            headers.insert(
                "sec-websocket-key",
                HeaderValue::from_static("the client's"),
            );
            headers.insert("ee-app", HeaderValue::from_static("hello"));
            handshake(request).unwrap().0
        };
        let request = asked();
        assert_eq!(
            (request.method(), request.uri().to_string()),
            (&Method::GET, "/ws?x=1".into())
        );
        let headers = request.headers();
        assert_eq!(headers["connection"], "Upgrade");
        assert_eq!(headers["upgrade"], "websocket");
        assert_eq!(headers["sec-websocket-protocol"], "chat");
        assert_eq!(headers["host"], "hello.localhost");
        assert!(!headers.contains_key("ee-app"));
        let key = &headers["sec-websocket-key"];
        assert_eq!(STANDARD.decode(key).unwrap().len(), 16);
        assert_ne!(key, asked().headers()["sec-websocket-key"]);
    }

    #[test]
    fn only_the_answer_to_this_handshake_counts() {
        let accept = HeaderValue::from_static("right");
        let answer = |upgrade, connection, accept| {
            HeaderMap::from_iter([
                (UPGRADE, HeaderValue::from_static(upgrade)),
                (CONNECTION, HeaderValue::from_static(connection)),
                (SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static(accept)),
            ])
        };
        assert!(agrees(
            &answer("WebSocket", "keep-alive, Upgrade", "right"),
            &accept
        ));
        assert!(!agrees(&answer("h2c", "Upgrade", "right"), &accept));
        assert!(!agrees(&answer("websocket", "close", "right"), &accept));
        assert!(!agrees(&answer("websocket", "Upgrade", "wrong"), &accept));
        assert!(!agrees(&HeaderMap::new(), &accept));
    }
}
