//! The proxy listener.
//!
//! hyper directly, without a router: every path belongs to the app.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

use ee_protocol::problem::{MEDIA_TYPE, Problem, ProblemCode};
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};
use hyper::{
    body::{Body, Incoming as IncomingBody},
    service::service_fn,
};

use super::{
    app,
    body::ProxyBody,
    face,
    forward::forward,
    interim::Early,
    request::{self, Caller},
    response,
    upload::Upload,
    websocket,
};
use crate::{
    connections::Connections,
    h1::{FIELDS_MAX, Fault, Interim},
    http::{
        Peer,
        envelope::{fresh_id, request_id},
    },
    listener::{Conn, Incoming, Listener},
    state::AppState,
};

/// How requests of one connection reach us, and what goes back beside their answers.
#[derive(Clone)]
struct Way {
    /// The TCP peer.
    address: IpAddr,
    scheme: &'static str,
    interim: Interim,
}

/// Accepts connections until the drain begins, one task each.
pub async fn run_listener(state: AppState, listener: Listener) {
    let stopping = state.tasks.stopping().clone();
    let counts = Connections::default();
    loop {
        let Some((incoming, peer)) = listener.accept_until(&stopping).await else {
            return;
        };
        let exempt = peer.ip().is_loopback() || state.settings.trusted_proxies.contains(peer.ip());
        let Some(counted) = counts.enter(peer.ip(), exempt) else {
            tracing::debug!(event = "proxy_connections_exhausted", peer = %peer.ip());
            continue;
        };
        let task_state = state.clone();
        // Boxed: some KiB that each layer of the task would otherwise copy.
        let task = Box::pin(async move {
            let _counted = counted;
            if let Err(error) = connection(task_state, incoming, peer).await {
                tracing::debug!(event = "proxy_connection_ended", %peer, error);
            }
        });
        state.tasks.spawn_client("proxy_connection", task);
    }
}

async fn connection(state: AppState, incoming: Incoming, peer: SocketAddr) -> Result<(), String> {
    let conn = incoming
        .handshake()
        .await
        .map_err(|error| error.to_string())?;
    let closing = state.tasks.closing().clone();
    tokio::select! {
        served = serve(state, conn, peer) => served,
        () = closing.cancelled() => Ok(()),
    }
}

async fn serve(state: AppState, conn: Conn, peer: SocketAddr) -> Result<(), String> {
    let scheme = if conn.is_tls() { "https" } else { "http" };
    let tasks = state.tasks.clone();
    let interim = Interim::default();
    let way = Way {
        address: peer.ip(),
        scheme,
        interim: interim.clone(),
    };
    let service = service_fn(move |request| {
        let (state, way) = (state.clone(), way.clone());
        // Boxed: each layer around it and hyper would copy its KiB with every request.
        Box::pin(async move { Ok::<_, Infallible>(answer(&state, request, &way).await) })
    });
    face::serve(conn, service, unread, interim, &tasks).await
}

/// One request: the app's answer, or a problem.
async fn answer(
    state: &AppState,
    request: Request<IncomingBody>,
    way: &Way,
) -> Response<ProxyBody> {
    let (head, body) = request.into_parts();
    let id = request_id(&head.headers);
    let method = head.method.clone();
    let handshake = websocket::is_handshake(&head);
    match through(state, head, body, way).await {
        Ok(response) => response,
        Err(problem) => {
            let code = problem.code.as_str();
            tracing::debug!(event = "proxy_refused", request_id = %id, %method, code);
            let mut response = refusal(*problem, &id);
            if handshake {
                // What stands behind it is for a WebSocket that there is not: no request.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            response
        }
    }
}

async fn through(
    state: &AppState,
    mut head: http::request::Parts,
    body: IncomingBody,
    way: &Way,
) -> Result<Response<ProxyBody>, Box<Problem>> {
    if head.headers.len() > FIELDS_MAX {
        return Err(Problem::new(ProblemCode::HeaderTooLarge).into());
    }
    let websocket = websocket::take(&mut head)?;
    request::check(&head)?;
    let trusted = state.settings.trusted_proxies.contains(way.address);
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
        scheme: way.scheme,
        address: way.address,
        peer,
    };
    let early = Early::of(&head, body.is_end_stream());
    let id = request::rewrite(&mut head, &caller)?;
    match websocket {
        Some(asked) => websocket::forward(state, &caller, head, asked, &id).await,
        None => {
            let mut upload = Upload::new(body, &head.headers);
            let held = early.arrange(&mut head, &mut upload, &way.interim);
            let answer = forward(state, &caller, head, upload, &id).await;
            Ok(held.close_if_held(answer?))
        }
    }
}

/// The answer to a request that nothing has read.
fn unread(fault: Fault) -> Response<ProxyBody> {
    let id = fresh_id();
    tracing::debug!(event = "proxy_request_unreadable", request_id = %id, ?fault);
    refusal(fault.problem(), &id)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is full here, the client is told when to come back.
    #[test]
    fn every_503_says_when_to_come_back() {
        let mut full = 0;
        for code in ProblemCode::ALL {
            let answer = refusal(Problem::new(*code), "request");
            let is_503 = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
            let wait = answer.headers().get(RETRY_AFTER);
            assert_eq!(wait.is_some(), is_503, "{code:?}");
            full += usize::from(is_503);
        }
        assert!(full >= 4, "{full}");
    }
}
