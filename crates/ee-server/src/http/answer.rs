//! Answers of the API: JSON, and problems (RFC 9457).
//!
//! A handler returns a [`Problem`] inside [`ApiError`]; the envelope around every route writes
//! its body, because only there the request's id is known.

use axum::{
    body::{Body, HttpBody as _},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use ee_protocol::{
    problem::{MEDIA_TYPE, Problem, ProblemCode},
    report_data::sha256,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

/// Seconds after which a client may try again when we cannot know better: agents reconnect
/// within their back-off, which begins at one second.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("2");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Longer answers have no tag: they are exports, and nobody asks for the same one again.
const TAGGED_MAX: u64 = 1 << 20;
/// As many bytes of the hash as tell answers apart.
const TAG_BYTES: usize = 16;

/// A refusal on its way out.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// What the client reads.
    pub problem: Box<Problem>,
    /// Fields the answer carries besides: `Retry-After`, `WWW-Authenticate`, …
    pub headers: HeaderMap,
}

impl ApiError {
    /// A refusal with a header field.
    #[must_use]
    pub fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        let mut headers = HeaderMap::new();
        if problem.status == StatusCode::UNAUTHORIZED.as_u16() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16() {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_S);
        }
        Self {
            problem: Box::new(problem),
            headers,
        }
    }
}

impl From<Box<Problem>> for ApiError {
    fn from(problem: Box<Problem>) -> Self {
        Self::from(*problem)
    }
}

impl From<ProblemCode> for ApiError {
    fn from(code: ProblemCode) -> Self {
        Self::from(Problem::new(code))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        *response.status_mut() = status_of(&self.problem);
        *response.headers_mut() = self.headers;
        response.extensions_mut().insert(Pending(self.problem));
        response
    }
}

/// A problem whose body is still to be written.
#[derive(Debug, Clone)]
struct Pending(Box<Problem>);

/// Writes the body of a problem, now that the request's id is known. Other answers pass.
pub fn finish(mut response: Response, request_id: &str) -> Response {
    let Some(Pending(mut problem)) = response.extensions_mut().remove::<Pending>() else {
        return response;
    };
    request_id.clone_into(&mut problem.request_id);
    let retryable = ProblemCode::parse(&problem.code).is_some_and(ProblemCode::is_retryable);
    let extensions = &mut problem.extensions;
    extensions.entry("retryable").or_insert(retryable.into());
    let (mut parts, _) = response.into_parts();
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    let no_store = HeaderValue::from_static("no-store");
    parts
        .headers
        .entry(header::CACHE_CONTROL)
        .or_insert(no_store);
    Response::from_parts(parts, Body::from(json_bytes(&problem)))
}

/// A problem as a whole answer, for listeners that do not run through the API's envelope.
pub fn problem_response(problem: Problem, request_id: &str) -> Response {
    finish(ApiError::from(problem).into_response(), request_id)
}

/// What is answered to a read whose sender has it already: `304`, without the body.
///
/// The tag is made of the bytes, so that equal answers have equal ones, whoever asks.
pub async fn unless_known(known: Option<HeaderValue>, response: Response) -> Response {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == JSON);
    let size = response.body().size_hint().exact();
    if response.status() != StatusCode::OK || !is_json || size.is_none_or(|size| size > TAGGED_MAX)
    {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // The body lies in memory: it is as long as it says, and nothing fails.
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return ApiError::from(ProblemCode::Internal).into_response();
    };
    let digest = sha256(&bytes);
    let tag = format!("\"{}\"", hex::encode(&digest[..TAG_BYTES]));
    let has_it = known.is_some_and(|known| names(known.to_str().unwrap_or_default(), &tag));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    if !has_it {
        return Response::from_parts(parts, Body::from(bytes));
    }
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::empty())
}

/// Whether a list of tags names this one; a weak one does for a read (RFC 9110, 13.1.2).
fn names(known: &str, tag: &str) -> bool {
    let mut tags = known.split(',').map(str::trim);
    tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// JSON with a status.
pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let content_type = JSON;
    (
        status,
        [(header::CONTENT_TYPE, content_type)],
        json_bytes(body),
    )
        .into_response()
}

fn json_bytes<T: Serialize>(body: &T) -> Bytes {
    Bytes::from(serde_json::to_vec(body).expect("wire types have text keys and finite numbers"))
}

fn status_of(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
