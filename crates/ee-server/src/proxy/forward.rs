//! Picks a tunnel, sends the request, and tries again where nobody can have seen it.

use std::fmt::Display;

use bytes::Bytes;
use ee_control::proxy::{self, RouteRefusal};
use ee_core::{registry::TunnelId, routing::Lease};
use ee_protocol::problem::{Problem, ProblemCode};
use http::{Method, Request, Response, request::Parts};
use http_body::Body;

use super::{
    body::ProxyBody,
    credit::Credit,
    exchange::{AppBody, Failure, exchange},
    lent::Lender,
    pace::UploadWatch,
    refuse,
    request::{Caller, HEADERS_WITHIN},
    response,
    upload::Upload,
};
use crate::{
    entropy,
    state::AppState,
    tunnel::{Link, Patience},
};

/// Further tunnels a request may go to (ROUTING 5, "retry").
const RETRIES_MAX: usize = 2;
/// Draws for a tunnel that was not tried yet: of two tunnels one is missed once in 2^32.
const DRAWS_MAX: usize = 32;

/// Sends a request whose head was made fit; answers with the app's answer or a problem.
pub async fn forward<B>(
    state: &AppState,
    caller: &Caller,
    head: Parts,
    body: Upload<B>,
    request_id: &str,
) -> Result<Response<ProxyBody>, Box<Problem>>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Display,
{
    let watch = body.watch();
    let lender = Lender::new(body);
    let sent = send(state, caller, &head, || lender.lend());
    let sent = within_deadline(&watch, sent).await;
    let too_slow = |problem| match watch.is_too_slow() {
        true => Problem::new(ProblemCode::RequestTimeout).into(),
        false => problem,
    };
    let (credit, answer) = sent.map_err(too_slow)?;
    finish(&head.method, credit, answer, request_id)
}

/// An agent's answer as the public gets it.
pub fn finish(
    method: &Method,
    credit: Credit,
    answer: Response<AppBody>,
    request_id: &str,
) -> Result<Response<ProxyBody>, Box<Problem>> {
    let (mut parts, body) = answer.into_parts();
    response::rewrite(&mut parts, credit.node_id(), request_id)?;
    if method != Method::HEAD && response::is_bodiless(parts.status) && !body.is_end_stream() {
        let detail = format!("a body with status {}", parts.status.as_u16());
        return Err(refuse(ProblemCode::BadAgentResponse, &detail));
    }
    let body = match response::is_trailers_only(&parts.headers) {
        true => ProxyBody::own(Bytes::new()),
        false => ProxyBody::App {
            body,
            _credit: credit,
        },
    };
    Ok(Response::from_parts(parts, body))
}

/// The first answer of at most three tunnels, with the credit it holds. `lend` gives the body for
/// an attempt, as long as nobody has read from it.
pub async fn send<B>(
    state: &AppState,
    caller: &Caller,
    head: &Parts,
    lend: impl Fn() -> Option<B>,
) -> Result<(Credit, Response<AppBody>), Box<Problem>>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Display,
{
    if !state.tunnels.governor.admits() {
        return Err(Problem::new(ProblemCode::Overloaded).into());
    }
    let mut tried: Vec<TunnelId> = Vec::new();
    let mut failed: Option<Box<Problem>> = None;
    loop {
        // Where no other tunnel is left, what the last one said is the reason.
        let credit = match admit(state, caller, &tried).await {
            Ok(credit) => credit,
            Err(refusal) => return Err(failed.unwrap_or(refusal)),
        };
        let Some(body) = lend() else {
            return Err(Problem::new(ProblemCode::AgentDisconnected).into());
        };
        let request = Request::from_parts(head.clone(), body);
        let error = match exchange(credit.link(), request).await {
            Ok(response) => return Ok((credit, response)),
            Err(error) => error,
        };
        tried.push(credit.tunnel());
        tracing::debug!(event = "tunnel_failed", node = %credit.node_id(), %error);
        let retry = may_retry(&error, &head.method) && lend().is_some();
        if !retry || tried.len() > RETRIES_MAX {
            return Err(error.problem());
        }
        failed = Some(error.problem());
    }
}

/// The answer's head, or 504 where it does not come in time after the request's last part.
pub async fn within_deadline<T>(
    watch: &UploadWatch,
    sent: impl Future<Output = Result<T, Box<Problem>>>,
) -> Result<T, Box<Problem>> {
    let answered = watch.answered_within(HEADERS_WITHIN, sent).await;
    answered.ok_or_else(|| Problem::new(ProblemCode::ProxyTimeout))?
}

/// A tunnel that was not tried yet, where one can be had soon, or the refusal that a person can
/// act on.
async fn admit(
    state: &AppState,
    caller: &Caller,
    tried: &[TunnelId],
) -> Result<Credit, Box<Problem>> {
    let room = &state.tunnels.waiting;
    let key = room.key(&caller.app);
    let attempt = || choose(state, caller, tried);
    let lease = match attempt() {
        Ok(lease) => lease,
        Err(refusal) => {
            let hoped = match patience(state, caller, refusal.as_ref()) {
                Some(patience) => room.retry(key, patience, || attempt().ok()).await,
                None => None,
            };
            hoped.ok_or_else(|| problem(refusal))?
        }
    };
    Ok(Credit::new(lease, key, state.clone()))
}

/// How long a refused request may hope; not at all where only a person can change something.
/// Where every tunnel has been tried, one that has just ended is still among them and the one that
/// takes its place is not.
fn patience(state: &AppState, caller: &Caller, refusal: Option<&RouteRefusal>) -> Option<Patience> {
    let Some(refusal) = refusal else {
        return Some(Patience::Credit);
    };
    let started = state.tunnels.waiting.started();
    if proxy::awaits_return(state.plane.routes(), &caller.app, started, refusal) {
        return Some(Patience::Return);
    }
    match refusal {
        RouteRefusal::NoTunnel | RouteRefusal::OverCapacity => Some(Patience::Credit),
        RouteRefusal::UnknownApp
        | RouteRefusal::NotEligible { .. }
        | RouteRefusal::InsufficientCredits => None,
    }
}

/// What the client is told; without a refusal every tunnel has been tried.
fn problem(refusal: Option<RouteRefusal>) -> Box<Problem> {
    let problem = match refusal {
        Some(refusal) => refusal.problem(),
        None => Problem::new(ProblemCode::AgentDisconnected),
    };
    problem.into()
}

/// A tunnel that was not tried yet; `None` if all that were drawn had been.
fn choose(
    state: &AppState,
    caller: &Caller,
    tried: &[TunnelId],
) -> Result<Lease<Link>, Option<RouteRefusal>> {
    let mut seed = [0; 8];
    for _ in 0..DRAWS_MAX {
        entropy::fill(&mut seed);
        let draw = u64::from_le_bytes(seed);
        let lease = proxy::choose(state.plane.routes(), &caller.app, state.now(), draw)?;
        if !tried.contains(&lease.tunnel()) {
            return Ok(lease);
        }
    }
    Err(None)
}

/// Whether another tunnel may see the request: always if this one's agent did not, else for
/// methods that may be repeated (RFC 9110 9.2.2) when the tunnel was lost before any answer.
fn may_retry(error: &Failure, method: &Method) -> bool {
    let repeatable = [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
    ];
    error.retry_is_safe() || (error.is_loss() && repeatable.contains(method))
}
