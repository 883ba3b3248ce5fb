//! The app behind the agent: requests of the tunnel go out to `EE_BACKEND_URL`, gRPC as HTTP/2,
//! everything else as HTTP/1.1.
//!
//! A keep-alive pool, streaming in both directions, no redirects followed, no decompression, the
//! path byte for byte (TUNNEL 5). Answers say who speaks: `ee-origin: app` or `agent`. Dropping
//! the future or the answer's body closes the connection, and with it the request.

mod answer;
mod connection;
mod h2c;
mod headers;
mod interim;
mod pool;
mod timed;
mod websocket;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ee_protocol::names::AppName;
use http::{Method, Request, Response, StatusCode, Uri, uri::PathAndQuery};
use http_body::Body;

pub use self::{
    answer::{AnswerBody, BoxError},
    h2c::BackendProtocol,
};
use self::{
    connection::{Connection, Sent},
    h2c::H2c,
    interim::Early,
    pool::Pool,
    timed::Timed,
};

/// Time to response headers where the control plane names none (`ee-deadline-ms`): TUNNEL 5.
const RESPONSE_DEADLINE: Duration = Duration::from_secs(60);
/// No app setting goes beyond an hour; a larger number would be a mistake, not a wish.
const RESPONSE_DEADLINE_MAX: Duration = Duration::from_secs(3_600);
/// A pooled connection can close under a request; after this many such losses in a row the
/// backend itself is the trouble. New connections are not counted as stale.
const STALE_TRIES: usize = 3;

/// The body of a request as it comes out of the tunnel.
pub trait RequestBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static {}

impl<B> RequestBody for B where B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static
{}

/// The backend of one app.
pub struct Backend<B: RequestBody> {
    app: AppName,
    pool: Arc<Pool<Timed<B>>>,
    protocol: BackendProtocol,
    h2c: H2c<Timed<B>>,
}

/// What the app, or the agent in its place, answers to a request of the tunnel.
pub type Answer<B> = Response<AnswerBody<Timed<B>>>;

/// Where the backend listens, parsed from `EE_BACKEND_URL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendAddress {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl BackendAddress {
    /// Parses `http://host[:port]`. Nothing may follow: requests keep their own path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text
            .parse()
            .map_err(|_| "expected http://host:port".to_owned())?;
        if uri.scheme_str() != Some("http") {
            return Err("expected http://host:port (the backend is beside the agent)".to_owned());
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err("expected no path or query: requests keep their own".to_owned());
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or("expected a host")?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Ok(Self {
            host,
            port: uri.port_u16().unwrap_or(80),
        })
    }
}

impl<B: RequestBody> Backend<B> {
    /// A client without connections yet.
    pub fn new(app: AppName, address: BackendAddress, protocol: BackendProtocol) -> Self {
        Self {
            app,
            pool: Arc::new(Pool::new(address)),
            protocol,
            h2c: H2c::new(),
        }
    }

    /// Serves one request of the tunnel. Every failure is an answer.
    pub async fn serve(&self, mut request: Request<B>) -> Answer<B> {
        if !headers::is_for(&self.app, request.headers()) {
            return answer::of_agent(StatusCode::MISDIRECTED_REQUEST, "app_mismatch");
        }
        if request.method() == Method::CONNECT && !websocket::is_asked(&request) {
            return answer::of_agent(StatusCode::NOT_IMPLEMENTED, "upgrade_unsupported");
        }
        let deadline = headers::deadline(request.headers())
            .unwrap_or(RESPONSE_DEADLINE)
            .min(RESPONSE_DEADLINE_MAX);
        let early = Early::take(&mut request);
        let request = request.map(Timed::new);
        let progress = request.body().progress();
        match progress
            .answered_within(deadline, self.forward(request, early))
            .await
        {
            Some(Ok(response)) => response,
            Some(Err(error)) => {
                tracing::info!(event = "backend_unavailable", app = %self.app, %error);
                answer::of_agent(StatusCode::BAD_GATEWAY, "backend_unavailable")
            }
            None => answer::of_agent(StatusCode::GATEWAY_TIMEOUT, "backend_timeout"),
        }
    }

    /// Sends the request on a pooled connection, or on a new one when none is left. A request
    /// that a closing connection gave back untouched is tried again; one that may have reached
    /// the backend is not.
    async fn forward(
        &self,
        request: Request<Timed<B>>,
        early: Option<Early>,
    ) -> Result<Answer<B>, BoxError> {
        if request.method() == Method::CONNECT {
            return websocket::forward(self.pool.dial().await?, request).await;
        }
        if self.protocol.is_h2(request.headers()) {
            early.into_iter().for_each(Early::go_on);
            return self.h2c.forward(&self.pool, request).await;
        }
        let mut request = to_origin_form(request);
        if let Some(early) = early {
            early.arrange(&mut request);
        }
        for _ in 0..STALE_TRIES {
            let Some(connection) = self.pool.take().await else {
                break;
            };
            match connection.send(request).await {
                Sent::Answered(connection, response) => {
                    return self.answered(connection, response);
                }
                Sent::Untouched(returned, _) => request = returned,
                Sent::Failed(error) => return Err(error),
            }
        }
        let connection = self.pool.connect().await?;
        match connection.send(request).await {
            Sent::Answered(connection, response) => self.answered(connection, response),
            Sent::Untouched(_, error) | Sent::Failed(error) => Err(error),
        }
    }

    fn answered(
        &self,
        connection: Connection<Timed<B>>,
        response: Response<hyper::body::Incoming>,
    ) -> Result<Answer<B>, BoxError> {
        answer::of_app(response, connection, Arc::clone(&self.pool))
    }
}

/// Sends one request on a connection of its own and returns the answer's status.
pub(crate) async fn ask<B: RequestBody>(
    address: &BackendAddress,
    request: Request<B>,
) -> Result<StatusCode, BoxError> {
    match Pool::new(address.clone())
        .connect()
        .await?
        .send(request)
        .await
    {
        Sent::Answered(_, response) => Ok(response.status()),
        Sent::Untouched(_, error) | Sent::Failed(error) => Err(error),
    }
}

/// The request as an HTTP/1.1 origin server wants it: path only, authority in `Host`, nothing
/// that belongs to the hop before.
fn to_origin_form<B>(request: Request<B>) -> Request<B> {
    let (mut parts, body) = request.into_parts();
    let uri = std::mem::take(&mut parts.uri).into_parts();
    headers::clean_request(&mut parts.headers, uri.authority.as_ref());
    headers::announce_te(&mut parts.headers);
    parts.uri = uri
        .path_and_query
        .unwrap_or(PathAndQuery::from_static("/"))
        .into();
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
    Request::from_parts(parts, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backend_urls_name_an_origin_and_nothing_else() {
        let parsed = |text: &str| BackendAddress::parse(text).map(|a| (a.host, a.port));
        assert_eq!(
            parsed("http://127.0.0.1:8080"),
            Ok(("127.0.0.1".to_owned(), 8080))
        );
        assert_eq!(parsed("http://[::1]:81/"), Ok(("::1".to_owned(), 81)));
        assert_eq!(parsed("http://app"), Ok(("app".to_owned(), 80)));
        for bad in [
            "127.0.0.1:8080",
            "https://a",
            "http://a/base",
            "http://a/?q",
            "",
            "http://",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_path_crosses_byte_for_byte() {
        for path in ["/", "/a/../b", "/%2e%2e//x?y=%20&z", "//host/p", "/a;b=c?"] {
            let uri = format!("http://hello.localhost{path}");
            let request = Request::get(uri).body(()).unwrap();
            let sent = to_origin_form(request);
            assert_eq!(sent.uri().to_string(), path);
            assert_eq!(sent.headers()["host"], "hello.localhost");
        }
    }
}
