//! `POST /v1/proxy/{app}`: the same way into an app as the listener, as a JSON payload.

use axum::{
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use ee_protocol::{
    names::AppName,
    problem::{Problem, ProblemCode},
};
use http_body_util::Full;

use super::{
    forward::forward,
    payload,
    request::{self, Caller},
    response,
    upload::Upload,
};
use crate::{
    http::{ApiError, ClientIp, Peer, RequestId, body::bounded},
    state::AppState,
};

/// Longest payload (EXPERIENCE 5); the listener streams what is longer.
const PAYLOAD_MAX_BYTES: usize = 1024 * 1024;

/// Forwards the payload; answers with the app's raw answer, confined to a sandbox.
pub async fn proxy_post(
    State(state): State<AppState>,
    Path(app): Path<String>,
    request: Request,
) -> Response {
    match post(&state, &app, request).await {
        Ok(response) => response,
        Err(problem) => ApiError::from(problem).into_response(),
    }
}

async fn post(state: &AppState, app: &str, request: Request) -> Result<Response, Box<Problem>> {
    let app = AppName::parse(app)
        .map_err(|_| Problem::new(ProblemCode::UnknownApp).not_allowed("unknown_app"))?;
    let (outer, body) = request.into_parts();
    let body = bounded(body, PAYLOAD_MAX_BYTES)
        .await
        .map_err(|problem| *problem)?;
    let (mut head, body) = payload::parse(&body)?.into_parts();
    let authority = match &state.settings.app_domain {
        Some(domain) => format!("{app}.{domain}"),
        None => app.to_string(),
    };
    let unknown = std::net::IpAddr::from([0, 0, 0, 0]);
    let address = outer
        .extensions
        .get::<ClientIp>()
        .map_or(unknown, |client| client.0);
    let scheme = if state.settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let caller = Caller {
        app,
        authority,
        scheme,
        address,
        peer: Peer::Stranger,
    };
    if let Some(RequestId(id)) = outer.extensions.get::<RequestId>()
        && let Ok(id) = http::HeaderValue::from_str(id)
    {
        head.headers.insert("x-request-id", id);
    }
    request::check(&head)?;
    let id = request::rewrite(&mut head, &caller)?;
    let body = Upload::new(Full::<Bytes>::new(body), &head.headers);
    let answer = forward(state, &caller, head, body, &id).await?;
    let (mut parts, body) = answer.into_parts();
    response::confine(&mut parts.headers);
    Ok(Response::from_parts(parts, Body::new(body)))
}
