//! The proxy listener: HTTP/1.1, and HTTP/2 where TLS agreed on it.
//!
//! hyper directly, without a router: every path belongs to the app.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ee_protocol::problem::{MEDIA_TYPE, Problem};
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};
use hyper::{
    body::Incoming as IncomingBody,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{
    app,
    body::ProxyBody,
    forward::forward,
    patience::Patient,
    request::{self, Caller},
    response,
    upload::Upload,
    websocket,
};
use crate::{
    http::{Peer, envelope::request_id},
    listener::{Conn, Incoming, Listener},
    state::AppState,
    tasks::Tasks,
};

/// Time for a request's head (TUNNEL 10).
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Public header block and count (TUNNEL 10).
const HEAD_MAX_BYTES: u32 = 64 * 1024;
const HEADERS_MAX: usize = 128;
/// Streams of one HTTP/2 connection (TUNNEL 10).
const H2_STREAMS_MAX: u32 = 128;
/// Connections of one address (TUNNEL 10); trusted proxies and loopback carry many clients.
const CONNECTIONS_PER_IP_MAX: u32 = 256;

/// Accepts connections until the drain begins, one task each.
pub async fn run_listener(state: AppState, listener: Listener) {
    let stopping = state.tasks.stopping().clone();
    let counts = Connections::default();
    loop {
        let (incoming, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        let exempt = peer.ip().is_loopback() || state.settings.trusted_proxies.contains(peer.ip());
        let Some(counted) = counts.enter(peer.ip(), exempt) else {
            tracing::debug!(event = "proxy_connections_exhausted", peer = %peer.ip());
            continue;
        };
        let task_state = state.clone();
        state.tasks.spawn_client("proxy_connection", async move {
            let _counted = counted;
            if let Err(error) = connection(task_state, incoming, peer).await {
                tracing::debug!(event = "proxy_connection_ended", %peer, error);
            }
        });
    }
}

async fn connection(state: AppState, incoming: Incoming, peer: SocketAddr) -> Result<(), String> {
    let conn = incoming
        .handshake()
        .await
        .map_err(|error| error.to_string())?;
    let closing = state.tasks.closing().clone();
    tokio::select! {
        served = serve(state, conn, peer) => served.map_err(|error| error.to_string()),
        () = closing.cancelled() => Ok(()),
    }
}

async fn serve(state: AppState, conn: Conn, peer: SocketAddr) -> hyper::Result<()> {
    let scheme = if conn.is_tls() { "https" } else { "http" };
    let h2 = conn.alpn() == Some(b"h2");
    let stopping = state.tasks.stopping().clone();
    let tasks = state.tasks.clone();
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(&state, request, peer.ip(), scheme).await) }
    });
    let io = TokioIo::new(Patient::new(conn));
    if h2 {
        let connection = http2::Builder::new(Executor(tasks))
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS_MAX)
            .max_header_list_size(HEAD_MAX_BYTES)
            .enable_connect_protocol()
            .serve_connection(io, service);
        tokio::pin!(connection);
        tokio::select! {
            served = connection.as_mut() => return served,
            () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        return connection.await;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_MAX_BYTES as usize)
        .max_headers(HEADERS_MAX)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => return served,
        () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// One request: the app's answer, or a problem.
async fn answer(
    state: &AppState,
    request: Request<IncomingBody>,
    address: IpAddr,
    scheme: &'static str,
) -> Response<ProxyBody> {
    let (head, body) = request.into_parts();
    let id = request_id(&head.headers);
    let method = head.method.clone();
    match through(state, head, body, address, scheme).await {
        Ok(response) => response,
        Err(problem) => {
            let code = problem.code.as_str();
            tracing::debug!(event = "proxy_refused", request_id = %id, %method, code);
            refusal(*problem, &id)
        }
    }
}

async fn through(
    state: &AppState,
    mut head: http::request::Parts,
    body: IncomingBody,
    address: IpAddr,
    scheme: &'static str,
) -> Result<Response<ProxyBody>, Box<Problem>> {
    let websocket = websocket::take(&mut head)?;
    request::check(&head)?;
    let trusted = state.settings.trusted_proxies.contains(address);
    let peer = if trusted {
        Peer::TrustedProxy
    } else {
        Peer::Stranger
    };
    let authority = app::authority(&head.uri, &head.headers)?.to_owned();
    let domain = state.settings.app_domain.as_deref();
    let app = app::select(&authority, &head.headers, peer, domain)?;
    let caller = Caller {
        app,
        authority,
        scheme,
        address,
        peer,
    };
    let id = request::rewrite(&mut head, &caller)?;
    match websocket {
        Some(asked) => websocket::forward(state, &caller, head, asked, &id).await,
        None => forward(state, &caller, head, Upload(body), &id).await,
    }
}

/// A problem as an answer of the proxy listener.
fn refusal(mut problem: Problem, request_id: &str) -> Response<ProxyBody> {
    request_id.clone_into(&mut problem.request_id);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let body = serde_json::to_vec(&problem).expect("a problem holds text, numbers and lists");
    let mut response = Response::new(ProxyBody::own(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-ee-origin", HeaderValue::from_static("control"));
    response::identify(headers, request_id);
    if status == StatusCode::BAD_REQUEST {
        // Whoever frames one request badly is not believed about where the next begins.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(
            RETRY_AFTER,
            HeaderValue::from(ee_control::proxy::RETRY_AFTER_S),
        );
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let methods = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
        ];
        let allow = methods.map(|method| method.to_string()).join(", ");
        headers.extend(
            HeaderValue::try_from(allow)
                .ok()
                .map(|allow| (ALLOW, allow)),
        );
    }
    response
}

/// HTTP/2 streams run as sessions of the server, so that nothing else spawns.
#[derive(Clone)]
struct Executor(Tasks);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn_session("proxy_stream", async move {
            stream.await;
        });
    }
}

/// Open connections by address.
#[derive(Clone, Default)]
struct Connections(Arc<Mutex<BTreeMap<IpAddr, u32>>>);

/// One counted connection.
struct Counted(Option<(Connections, IpAddr)>);

impl Connections {
    fn enter(&self, address: IpAddr, exempt: bool) -> Option<Counted> {
        if exempt {
            return Some(Counted(None));
        }
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= CONNECTIONS_PER_IP_MAX {
            return None;
        }
        *count += 1;
        Some(Counted(Some((self.clone(), address))))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((connections, address)) = self.0.take() else {
            return;
        };
        let mut counts = connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = counts.get_mut(&address).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            counts.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_connection() {
        let connections = Connections::default();
        let address: IpAddr = "192.0.2.1".parse().expect("address");
        let held: Vec<_> = (0..CONNECTIONS_PER_IP_MAX)
            .map(|_| connections.enter(address, false))
            .collect();
        assert!(held.iter().all(Option::is_some));
        assert!(connections.enter(address, false).is_none());
        assert!(
            connections.enter(address, true).is_some(),
            "trusted proxies are exempt"
        );
        drop(held);
        assert!(connections.enter(address, false).is_some());
        assert!(
            connections.0.lock().expect("not poisoned").is_empty(),
            "nothing is left behind"
        );
    }
}
