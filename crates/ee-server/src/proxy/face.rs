//! The public face of one connection: HTTP/1.1, or HTTP/2 by ALPN or by its preface.

use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use ee_tunnel::Metered;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_LENGTH};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::AsyncReadExt,
    time::{sleep, timeout},
};

use super::{
    body::ProxyBody,
    pace::{CLIENT_TAKES_WITHIN, OFFERED, Offered},
    patience::Patient,
};
use crate::{
    h1::{FIELDS_MAX, Fault, Guarded, HEAD_MAX_BYTES, HEAD_WITHIN, IDLE_WITHIN, Interim, Turns},
    listener::Conn,
    shutdown::{last_words, lingered},
    tasks::Tasks,
    tunnel::prefixed::Prefixed,
};

/// Public header block (TUNNEL 10).
const H2_HEAD_MAX_BYTES: u32 = 64 * 1024;
/// Streams of one HTTP/2 connection (TUNNEL 10).
const H2_STREAMS_MAX: u32 = 128;
/// Unread bytes of one upload; what an HTTP/2 client can make us hold is this times its streams.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
/// Sixteen slow uploads leave room for the next one.
const H2_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes of one answer that wait for the client.
const H2_SEND_BUFFER: usize = 64 * 1024;
/// Streams that the client reset before they were accepted (CVE-2023-44487).
const H2_PENDING_RESETS: usize = 20;
/// Streams that we reset because the client broke the protocol (CVE-2025-8671).
const H2_LOCAL_RESETS: usize = 1024;
/// An HTTP/2 connection without streams is kept for this many looks, five minutes (TUNNEL 10).
const H2_IDLE_LOOKS: u32 = 10;
/// How often idleness is looked at; a timer for each request would cost more.
const H2_LOOK_EVERY: Duration = Duration::from_secs(30);
/// What an HTTP/2 client says first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most first requests fit, so that looking at the preface costs no further read.
const FIRST_READ_BYTES: usize = 4 * 1024;

/// The answer to a request that is refused before anything has read it.
pub type Refuse = fn(Fault) -> Response<ProxyBody>;

/// A connection, what was read of it to learn its protocol, and whether that is HTTP/2.
struct Looked {
    conn: Conn,
    first: Bytes,
    h2: bool,
}

/// Serves a connection until it ends; once the server stops it takes no new request.
/// `interim` takes what leaves before an answer in HTTP/1.1.
pub async fn serve<S>(
    conn: Conn,
    service: S,
    refuse: Refuse,
    interim: Interim,
    tasks: &Tasks,
) -> Result<(), String>
where
    S: Service<Request<Incoming>, Response = Response<ProxyBody>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let agreed_h2 = conn.alpn() == Some(b"h2");
    let looked = async {
        match timeout(HEAD_WITHIN, look(conn, agreed_h2)).await {
            Ok(looked) => looked.map_err(|error| error.to_string()),
            Err(_) => Err("no first byte in time".to_owned()),
        }
    };
    let looked = tokio::select! {
        looked = looked => looked?,
        () = lingered(tasks.stopping()) => return Ok(()),
    };
    let served = if looked.h2 {
        serve_h2(looked, service, tasks).await
    } else {
        serve_h1(looked, service, refuse, interim, tasks).await
    };
    served.map_err(|error| error.to_string())
}

/// Whether the client speaks HTTP/2, and its connection with nothing lost. Where TLS has agreed
/// on a protocol there is nothing to look at.
async fn look(mut conn: Conn, agreed_h2: bool) -> io::Result<Looked> {
    if agreed_h2 || conn.is_tls() {
        return Ok(Looked {
            conn,
            first: Bytes::new(),
            h2: agreed_h2,
        });
    }
    let mut first = BytesMut::with_capacity(FIRST_READ_BYTES);
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        if conn.read_buf(&mut first).await? == 0 {
            break;
        }
    }
    let h2 = first.starts_with(PREFACE);
    Ok(Looked {
        conn,
        first: first.freeze(),
        h2,
    })
}

async fn serve_h1<S>(
    looked: Looked,
    service: S,
    refuse: Refuse,
    interim: Interim,
    tasks: &Tasks,
) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<ProxyBody>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let stopping = tasks.stopping().clone();
    let service = service_fn(move |request| {
        let (answering, stopping) = (service.call(request), stopping.clone());
        async move {
            let answer = answering.await.map(with_its_length);
            answer.map(|answer| last_words(answer, &stopping))
        }
    });
    let turns = Turns::default();
    let io = Guarded::new(
        &looked.first,
        Patient::new(looked.conn),
        turns.clone(),
        interim,
    );
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_WITHIN)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(io), turns.service(service, refuse))
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        served = connection.as_mut() => return served,
        () = lingered(tasks.stopping()) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// A 304 names the length that a 200 would have, where the app has named it (RFC 9110 8.6).
fn with_its_length(mut response: Response<ProxyBody>) -> Response<ProxyBody> {
    if response.status() != StatusCode::NOT_MODIFIED {
        return response;
    }
    let named = response.headers_mut().remove(CONTENT_LENGTH);
    let length = named.and_then(|named| named.to_str().ok()?.parse().ok());
    let Some(length) = length else {
        return response;
    };
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(length));
    response.map(|_none| ProxyBody::Withheld(length))
}

async fn serve_h2<S>(looked: Looked, service: S, tasks: &Tasks) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<ProxyBody>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let io = Metered::of_client(Patient::new(Prefixed::new(looked.first, looked.conn)));
    let streams = Arc::new(Streams::default());
    let executor = Executor {
        tasks: tasks.clone(),
        streams: Arc::clone(&streams),
    };
    let connection = http2::Builder::new(executor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_header_list_size(H2_HEAD_MAX_BYTES)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .max_local_error_reset_streams(H2_LOCAL_RESETS)
        .enable_connect_protocol()
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    tokio::select! {
        served = connection.as_mut() => return served,
        () = streams.idle() => {
            connection.as_mut().graceful_shutdown();
            // Without a stream, only a client that takes not even our last frames is waited for.
            return timeout(CLIENT_TAKES_WITHIN, connection).await.unwrap_or(Ok(()));
        }
        () = tasks.stopping().cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Streams of one HTTP/2 connection, as far as its idleness goes.
#[derive(Default)]
struct Streams {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Streams {
    /// Resolves when there has been no stream for five minutes.
    async fn idle(&self) {
        let mut quiet = 0;
        let mut seen = 0;
        while quiet < H2_IDLE_LOOKS {
            sleep(H2_LOOK_EVERY).await;
            let begun = self.begun.load(Ordering::Relaxed);
            let idle = begun == seen && begun == self.ended.load(Ordering::Relaxed);
            quiet = if idle { quiet + 1 } else { 0 };
            seen = begun;
        }
    }
}

/// HTTP/2 streams run as sessions of the server, so that nothing else spawns.
#[derive(Clone)]
struct Executor {
    tasks: Tasks,
    streams: Arc<Streams>,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        let streams = Arc::clone(&self.streams);
        streams.begun.fetch_add(1, Ordering::Relaxed);
        self.tasks.spawn_session("proxy_stream", async move {
            let offered = Offered::default();
            // Dropping the stream resets it, which gives the app's credit back.
            tokio::select! {
                _ended = OFFERED.scope(offered.clone(), stream) => {}
                () = offered.stalled() => tracing::debug!(event = "proxy_stream_stalled"),
            }
            streams.ended.fetch_add(1, Ordering::Relaxed);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_connection_without_streams_is_idle() {
        let streams = Streams::default();
        let minutes = |count: u64| Duration::from_secs(60 * count);
        assert!(timeout(minutes(6), streams.idle()).await.is_ok());
        streams.begun.fetch_add(1, Ordering::Relaxed);
        assert!(
            timeout(minutes(60), streams.idle()).await.is_err(),
            "an open stream"
        );
        streams.ended.fetch_add(1, Ordering::Relaxed);
        assert!(timeout(minutes(4), streams.idle()).await.is_err());
        assert!(timeout(minutes(6), streams.idle()).await.is_ok());
    }
}
