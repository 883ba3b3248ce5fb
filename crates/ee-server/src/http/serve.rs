//! Serves the API on its listener: HTTP/1.1 with upgrades, bounded heads, a graceful end.

use std::net::SocketAddr;

use axum::{Router, response::Response};
use hyper::{
    body::Incoming as IncomingBody,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio_util::sync::CancellationToken;

use super::{
    answer::problem_response,
    envelope::{PeerAddr, fresh_id},
};
use crate::{
    config::TrustedProxies,
    connections::Connections,
    h1::{FIELDS_MAX, Fault, Guarded, HEAD_MAX_BYTES, IDLE_WITHIN, Interim, Turns},
    listener::{Conn, Incoming, Listener},
    shutdown::{last_words, lingered},
    tasks::Tasks,
};

/// Accepts connections until the drain begins, one task each.
pub async fn serve(listener: Listener, router: Router, trusted: TrustedProxies, tasks: Tasks) {
    let stopping = tasks.stopping().clone();
    let counts = Connections::default();
    loop {
        let Some((incoming, peer)) = listener.accept_until(&stopping).await else {
            return;
        };
        let exempt = peer.ip().is_loopback() || trusted.contains(peer.ip());
        let Some(counted) = counts.enter(peer.ip(), exempt) else {
            tracing::debug!(event = "api_connections_exhausted", peer = %peer.ip());
            continue;
        };
        let (router, tokens) = (router.clone(), tasks.clone());
        tasks.spawn_client("api_connection", async move {
            let _counted = counted;
            if let Err(error) = connection(incoming, peer, router, &tokens).await {
                tracing::debug!(event = "api_connection_ended", %peer, error);
            }
        });
        // Thousands may wait after a restart: what is ready goes before the next of them.
        tokio::task::yield_now().await;
    }
}

async fn connection(
    incoming: Incoming,
    peer: SocketAddr,
    router: Router,
    tasks: &Tasks,
) -> Result<(), String> {
    let conn = incoming
        .handshake()
        .await
        .map_err(|error| error.to_string())?;
    let (stopping, closing) = (tasks.stopping().clone(), tasks.closing().clone());
    tokio::select! {
        served = http(conn, peer, router, stopping) => served.map_err(|error| error.to_string()),
        () = closing.cancelled() => Ok(()),
    }
}

async fn http(
    conn: Conn,
    peer: SocketAddr,
    router: Router,
    stopping: CancellationToken,
) -> hyper::Result<()> {
    let router = TowerToHyperService::new(router);
    let turns = Turns::default();
    let io = Guarded::new(&[], conn, turns.clone(), Interim::default());
    let draining = stopping.clone();
    let service = service_fn(move |mut request: http::Request<IncomingBody>| {
        request.extensions_mut().insert(PeerAddr(peer));
        let (answering, draining) = (router.call(request), draining.clone());
        async move { answering.await.map(|answer| last_words(answer, &draining)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_WITHIN)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(io), turns.service(service, unread))
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => return served,
        () = lingered(&stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// The answer to a request that nothing has read.
fn unread(fault: Fault) -> Response {
    let id = fresh_id();
    tracing::debug!(event = "api_request_unreadable", request_id = %id, ?fault);
    problem_response(fault.problem(), &id)
}
