//! HTTP/2 without TLS to the backend, with prior knowledge (RFC 9113 3.3): what gRPC servers
//! speak. One connection carries all requests.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Request, Response, header::CONTENT_TYPE, header::HOST};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::Mutex};

use super::{
    RequestBody,
    answer::{AnswerBody, BoxError, of_incoming},
    connection::AbortOnDrop,
    headers,
    pool::Pool,
};
use crate::tasks;

/// Receive window of one stream, as in the tunnel.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Receive window of the connection: the streams limit, one slow reader must not.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// Decoded header block, as in the tunnel.
const HEADER_LIST: u32 = 64 * 1024;
/// Bytes per stream that wait for the backend's socket, as in the tunnel.
const SEND_BUFFER: usize = 64 * 1024;
/// A backend that is gone without a word is noticed while requests wait for it.
const PING_EVERY: Duration = Duration::from_secs(30);

/// The protocol of the backend (`EE_BACKEND_PROTOCOL`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendProtocol {
    /// HTTP/2 for gRPC, HTTP/1.1 for everything else.
    #[default]
    Auto,
    /// HTTP/1.1.
    H1,
    /// HTTP/2 without TLS; WebSockets still go by HTTP/1.1.
    H2c,
}

impl BackendProtocol {
    /// Whether a request with these fields goes by HTTP/2.
    pub(super) fn is_h2(self, headers: &HeaderMap) -> bool {
        match self {
            Self::Auto => headers
                .get(CONTENT_TYPE)
                .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")),
            Self::H1 => false,
            Self::H2c => true,
        }
    }
}

/// The HTTP/2 connection to one backend.
pub(super) struct H2c<B: RequestBody> {
    /// Held while dialling, so that a burst of first requests opens one connection.
    current: Mutex<Option<Connection<B>>>,
}

struct Connection<B: RequestBody> {
    sender: http2::SendRequest<B>,
    driver: Arc<AbortOnDrop>,
}

impl<B: RequestBody> H2c<B> {
    pub(super) fn new() -> Self {
        Self {
            current: Mutex::new(None),
        }
    }

    /// Sends a request. One that a closing connection gave back untouched is tried once again.
    pub(super) async fn forward(
        &self,
        pool: &Pool<B>,
        request: Request<B>,
    ) -> Result<Response<AnswerBody<B>>, BoxError> {
        let (mut sender, driver) = self.connection(pool).await?;
        let mut error = match sender.try_send_request(to_absolute_form(request)).await {
            Ok(response) => return of_incoming(response, driver),
            Err(error) => error,
        };
        let Some(request) = error.take_message() else {
            return Err(error.into_error().into());
        };
        let (mut sender, driver) = self.connection(pool).await?;
        of_incoming(sender.send_request(request).await?, driver)
    }

    async fn connection(
        &self,
        pool: &Pool<B>,
    ) -> Result<(http2::SendRequest<B>, Arc<AbortOnDrop>), BoxError> {
        let mut current = self.current.lock().await;
        let open = current.take().filter(|open| !open.sender.is_closed());
        let open = match open {
            Some(open) => open,
            None => connect(pool.dial().await?).await?,
        };
        let parts = (open.sender.clone(), Arc::clone(&open.driver));
        *current = Some(open);
        Ok(parts)
    }
}

async fn connect<B: RequestBody>(stream: TcpStream) -> Result<Connection<B>, BoxError> {
    let (sender, connection) = http2::Builder::new(Spawn)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .handshake(TokioIo::new(stream))
        .await?;
    let driver = tasks::spawn("backend-h2", async move {
        if let Err(error) = connection.await {
            tracing::debug!(event = "backend_connection_ended", %error);
        }
    });
    Ok(Connection {
        sender,
        driver: Arc::new(AbortOnDrop(driver.abort_handle())),
    })
}

/// The request as HTTP/2 wants it: the authority in the target, no `Host`.
fn to_absolute_form<B>(request: Request<B>) -> Request<B> {
    let (mut parts, body) = request.into_parts();
    headers::clean_request(&mut parts.headers, None);
    parts.headers.remove(HOST);
    parts.version = http::Version::HTTP_2;
    parts.extensions.clear();
    Request::from_parts(parts, body)
}

/// hyper's tasks for one request's upload: they end with their stream.
#[derive(Clone)]
struct Spawn;

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        drop(tasks::spawn("backend-h2-stream", task));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn grpc_goes_by_http2_unless_told_otherwise() {
        let with = |kind| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        for kind in ["application/grpc", "application/grpc+proto"] {
            assert!(BackendProtocol::Auto.is_h2(&with(kind)), "{kind}");
            assert!(!BackendProtocol::H1.is_h2(&with(kind)), "{kind}");
        }
        assert!(!BackendProtocol::Auto.is_h2(&with("application/json")));
        assert!(!BackendProtocol::Auto.is_h2(&HeaderMap::new()));
        assert!(BackendProtocol::H2c.is_h2(&HeaderMap::new()));
    }

    #[test]
    fn the_authority_stands_in_the_target_alone() {
        let mut request = Request::post("http://hello.localhost/pkg.Service/Call")
            .header("host", "forged")
            .header("te", "trailers")
            .header("ee-app", "hello")
            .body(())
            .unwrap();
        request = to_absolute_form(request);
        assert_eq!(request.uri(), "http://hello.localhost/pkg.Service/Call");
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers().len(), 1);
    }
}
