//! The demo backend: what `easyenclave dev` puts behind the network, with paths that tests and
//! benchmarks need.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use ring::digest;
use serde_json::json;
use tokio::time::{Interval, interval};

use crate::serve::{Ask, Body, Fake, full, json as json_answer, query, text};
use crate::websocket_echo;

/// What `GET /` says.
pub const GREETING: &str = "hello from a simulated enclave\n";
/// Bytes of one piece of a generated body.
const PIECE_BYTES: usize = 64 * 1024;
/// The largest body that `/bytes/{n}` generates: enough to show that nothing buffers it.
const BYTES_MAX: u64 = 16 << 30;
/// Default pause between the ticks of `/sse`.
const TICK_MS: u64 = 100;
/// Default number of ticks of `/sse`.
const TICKS: u64 = 10;

static PIECE: [u8; PIECE_BYTES] = [b'e'; PIECE_BYTES];

/// The backend; it stops when it is dropped.
pub struct DemoBackend {
    fake: Fake,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    unhealthy: AtomicBool,
    requests: AtomicU64,
}

impl DemoBackend {
    /// Serves on `addr`; port 0 picks a free one.
    pub async fn start(addr: SocketAddr) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let fake = Fake::start(addr, move |ask| respond(Arc::clone(&state), ask)).await?;
        Ok(Self { fake, shared })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.fake.addr()
    }

    /// What `EE_BACKEND_URL` takes.
    pub fn url(&self) -> String {
        self.fake.url()
    }

    /// Whether `GET /health` answers 200 or 503 from now on.
    pub fn set_healthy(&self, healthy: bool) {
        self.shared.unhealthy.store(!healthy, Ordering::Relaxed);
    }

    /// Requests so far, health probes not counted.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

async fn respond(shared: Arc<Shared>, ask: Ask) -> Response<Body> {
    let path = ask.uri().path().to_owned();
    if path == "/health" {
        return health(&shared);
    }
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let mut segments = path.splitn(3, '/').skip(1);
    match (segments.next().unwrap_or_default(), segments.next()) {
        ("echo", None) => echo(ask),
        ("upload", None) => upload(ask).await,
        ("bytes", Some(count)) => bytes(count),
        ("slow", Some(milliseconds)) => slow(milliseconds).await,
        ("status", Some(code)) => status(code),
        ("headers", _) => json_answer(StatusCode::OK, &head_of(&ask)),
        ("sse", None) => ticks(&ask),
        ("trailers", None) => trailers(),
        ("abort", None) => abort(),
        ("hang", None) => std::future::pending().await,
        ("redirect", None) => redirect(),
        ("html", None) => html(),
        ("ws", None) => websocket_echo::upgrade(ask),
        _ => text(StatusCode::OK, GREETING),
    }
}

fn health(shared: &Shared) -> Response<Body> {
    if shared.unhealthy.load(Ordering::Relaxed) {
        return text(StatusCode::SERVICE_UNAVAILABLE, "unhealthy\n");
    }
    text(StatusCode::OK, "ok\n")
}

/// The request's body comes back as it arrives; so does its content type.
fn echo(ask: Ask) -> Response<Body> {
    let (head, body) = ask.into_parts();
    let mut response = Response::new(body.map_err(io::Error::other).boxed());
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, kind.clone());
    }
    response
}

/// Swallows the body and says how long it was.
async fn upload(ask: Ask) -> Response<Body> {
    let mut body = ask.into_body();
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut count = 0u64;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return text(StatusCode::BAD_REQUEST, "body broke off\n");
        };
        if let Some(data) = frame.data_ref() {
            hash.update(data);
            count += data.len() as u64;
        }
    }
    let sha256 = hex::encode(hash.finish());
    json_answer(StatusCode::OK, &json!({ "bytes": count, "sha256": sha256 }))
}

fn bytes(count: &str) -> Response<Body> {
    let Some(count) = count.parse().ok().filter(|count| *count <= BYTES_MAX) else {
        return text(
            StatusCode::BAD_REQUEST,
            "give a number of bytes up to 16 GiB\n",
        );
    };
    let body = match usize::try_from(count) {
        Ok(count) if count <= PIECE_BYTES => full(Bytes::from_static(&PIECE[..count])),
        _ => Generated {
            left: count,
            then: After::End,
        }
        .boxed(),
    };
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

async fn slow(milliseconds: &str) -> Response<Body> {
    let Ok(milliseconds) = milliseconds.parse() else {
        return text(StatusCode::BAD_REQUEST, "give a number of milliseconds\n");
    };
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    text(StatusCode::OK, "slow\n")
}

fn status(code: &str) -> Response<Body> {
    match code
        .parse()
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
    {
        Some(code) if code.is_informational() => text(StatusCode::BAD_REQUEST, "not final\n"),
        Some(code) => text(code, format!("{code}\n")),
        None => text(StatusCode::BAD_REQUEST, "give a status code\n"),
    }
}

fn head_of(ask: &Ask) -> serde_json::Value {
    let headers: Vec<_> = ask
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    json!({
        "method": ask.method().as_str(),
        "target": ask.uri().to_string(),
        "version": format!("{:?}", ask.version()),
        "headers": headers,
    })
}

/// `/sse?n=10&ms=100`: that many events, that far apart.
fn ticks(ask: &Ask) -> Response<Body> {
    let number = |name, default| {
        query(ask, name)
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let pause = Duration::from_millis(number("ms", TICK_MS).max(1));
    let ticks = Ticks {
        interval: interval(pause),
        sent: 0,
        total: number("n", TICKS),
    };
    let mut response = Response::new(ticks.boxed());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Three bytes and a trailer field.
fn trailers() -> Response<Body> {
    let fields = HeaderMap::from_iter([(
        header::HeaderName::from_static("x-checksum"),
        HeaderValue::from_static("abc"),
    )]);
    let body = full("abc")
        .with_trailers(async move { Some(Ok(fields)) })
        .boxed();
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::TRAILER, HeaderValue::from_static("x-checksum"));
    response
}

/// Promises more than it sends, then cuts the connection.
fn abort() -> Response<Body> {
    Response::new(
        Generated {
            left: PIECE_BYTES as u64,
            then: After::Break,
        }
        .boxed(),
    )
}

fn redirect() -> Response<Body> {
    let mut response = text(StatusCode::FOUND, "elsewhere\n");
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static("/headers"));
    response
}

/// A page with a script and a cookie: what must not run on the control plane's origin.
fn html() -> Response<Body> {
    let mut response = text(
        StatusCode::OK,
        "<script>document.title=document.cookie</script>\n",
    );
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(
        header::SET_COOKIE,
        HeaderValue::from_static("app=1; Path=/"),
    );
    response
}

/// A body made on the fly: memory does not grow with its length.
struct Generated {
    left: u64,
    then: After,
}

#[derive(Clone, Copy)]
enum After {
    End,
    Break,
}

impl http_body::Body for Generated {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(match self.then {
                After::End => None,
                After::Break => Some(Err(io::ErrorKind::BrokenPipe.into())),
            });
        }
        let count = usize::try_from(self.left)
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        self.left -= count as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE[..count])))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.then, After::End) && self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        match self.then {
            After::End => SizeHint::with_exact(self.left),
            After::Break => SizeHint::with_exact(self.left + 1),
        }
    }
}

/// Server-sent events, one a tick.
struct Ticks {
    interval: Interval,
    sent: u64,
    total: u64,
}

impl http_body::Body for Ticks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.sent == self.total {
            return Poll::Ready(None);
        }
        ready!(self.interval.poll_tick(context));
        self.sent += 1;
        let event = format!("data: tick {}\n\n", self.sent);
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }
}
