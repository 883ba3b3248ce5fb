//! A loopback server for fakes, HTTP/1.1 and HTTP/2 with prior knowledge: one handler, stopped by
//! dropping it.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// Body of a fake's answer; an error cuts the connection.
pub type Body = BoxBody<Bytes, io::Error>;
/// What a fake is asked.
pub type Ask = Request<Incoming>;

/// A listening fake; dropping it closes its listener and its connections.
pub struct Fake {
    addr: SocketAddr,
    accepting: AbortHandle,
}

impl Fake {
    /// Serves `handler` on `addr`; port 0 picks a free one.
    pub async fn start<H, F>(addr: SocketAddr, handler: H) -> io::Result<Self>
    where
        H: Fn(Ask) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        #[expect(
            clippy::disallowed_methods,
            reason = "a fake owns its task: it is aborted when the fake is dropped"
        )]
        let accepting = tokio::spawn(accept(listener, Arc::new(handler))).abort_handle();
        Ok(Self { addr, accepting })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The set of connections ends with this future: aborting it closes them all.
async fn accept<H, F>(listener: TcpListener, handler: Arc<H>)
where
    H: Fn(Ask) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(serve(socket, Arc::clone(&handler)));
                }
                // Too many open files: let connections end first.
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<H, F>(socket: TcpStream, handler: Arc<H>)
where
    H: Fn(Ask) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |ask| {
        let answer = handler(ask);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    // A client that breaks off is no concern of a fake: results are dropped.
    if speaks_http2(&socket).await {
        let builder = http2::Builder::new(TokioExecutor::new());
        let _ = builder
            .serve_connection(TokioIo::new(socket), service)
            .await;
        return;
    }
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .half_close(true)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades()
        .await;
}

/// Whether the client begins with the preface of HTTP/2 (RFC 9113 section 3.4).
async fn speaks_http2(socket: &TcpStream) -> bool {
    let mut start = [0; 3];
    matches!(socket.peek(&mut start).await, Ok(3)) && start == *b"PRI"
}

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never: Infallible| match never {})
        .boxed()
}

/// A body whose length is not known beforehand: it travels in chunks.
pub fn unsized_body(bytes: impl Into<Bytes>) -> Body {
    let frames = stream::iter([Ok(Frame::data(bytes.into()))]);
    StreamBody::new(frames).boxed()
}

/// An answer with a status and a body.
pub fn answer(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let value = content_type
        .parse()
        .expect("content types here are visible ASCII");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, value);
    response
}

/// An answer in plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", body)
}

/// An answer in JSON.
pub fn json(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    answer(status, "application/json", body.to_string())
}

/// Loopback, any free port.
pub fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The value of `name` in the query of `ask`, undecoded.
pub fn query<'a>(ask: &'a Ask, name: &str) -> Option<&'a str> {
    let pairs = ask.uri().query()?.split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, v)| v)
}
