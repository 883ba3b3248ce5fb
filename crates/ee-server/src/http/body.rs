//! Reads request bodies within bounds: size, then depth, then JSON.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use ee_protocol::{
    depth::deeper_than,
    problem::{Problem, ProblemCode},
};
use http::{HeaderMap, header};
use http_body_util::BodyExt;

/// JSON of every route but the proxy (EXPERIENCE 5).
pub const JSON_MAX_BYTES: usize = 64 * 1024;
/// Batches: a thousand transfers of two ids each (EXPERIENCE 5).
pub const BATCH_MAX_BYTES: usize = 1024 * 1024;
/// Deeper nesting has no use here and costs stack in every parser behind us.
pub const JSON_MAX_DEPTH: usize = 32;

/// A client that sends nothing for so long holds a connection for nothing (TUNNEL 10).
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Reads a body of at most `limit_bytes`, else 413 `body_too_large`; 408 if it stops coming.
pub async fn bounded(body: Body, limit_bytes: usize) -> Result<Bytes, Box<Problem>> {
    patiently(body, limit_bytes, IDLE_MAX).await
}

async fn patiently(
    mut body: Body,
    limit_bytes: usize,
    idle_max: Duration,
) -> Result<Bytes, Box<Problem>> {
    let mut read = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(idle_max, body.frame()).await;
        let frame =
            frame.map_err(|_| refused(ProblemCode::RequestTimeout, "the body stopped coming"))?;
        let Some(frame) = frame else {
            return Ok(read.freeze());
        };
        let frame =
            frame.map_err(|_| refused(ProblemCode::InvalidRequest, "the body broke off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if read.len() + data.len() > limit_bytes {
            let detail = format!("this route takes at most {limit_bytes} bytes");
            return Err(refused(ProblemCode::BodyTooLarge, &detail));
        }
        read.extend_from_slice(&data);
    }
}

/// The body of a route of the seed, under any `Content-Type`, as the prototype read it
/// (EXPERIENCE 5).
pub async fn seed(body: Body) -> Result<Bytes, Box<Problem>> {
    let bytes = bounded(body, JSON_MAX_BYTES).await?;
    shallow(&bytes)?;
    Ok(bytes)
}

/// The body of an added route: `application/json`, else 415.
pub async fn added(
    headers: &HeaderMap,
    body: Body,
    limit_bytes: usize,
) -> Result<Bytes, Box<Problem>> {
    let sent = headers.get(header::CONTENT_TYPE);
    let sent = sent
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let detail = format!("Content-Type is '{essence}'");
        return Err(refused(ProblemCode::UnsupportedMediaType, &detail));
    }
    let bytes = bounded(body, limit_bytes).await?;
    shallow(&bytes)?;
    Ok(bytes)
}

/// Parses JSON of any shape, at most [`JSON_MAX_DEPTH`] levels deep.
pub fn json(bytes: &[u8]) -> Result<serde_json::Value, Box<Problem>> {
    shallow(bytes)?;
    let parsed = serde_json::from_slice(bytes);
    parsed.map_err(|error| refused(ProblemCode::InvalidJson, &error.to_string()))
}

fn shallow(bytes: &[u8]) -> Result<(), Box<Problem>> {
    if deeper_than(bytes, JSON_MAX_DEPTH) {
        let detail = format!("nested more than {JSON_MAX_DEPTH} levels deep");
        return Err(refused(ProblemCode::InvalidJson, &detail));
    }
    Ok(())
}

fn refused(code: ProblemCode, detail: &str) -> Box<Problem> {
    Box::new(Problem::new(code).detail(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: Result<serde_json::Value, Box<Problem>>) -> String {
        result.map_or_else(|problem| problem.code, |_| "ok".to_owned())
    }

    #[test]
    fn garbage_json_is_named() {
        for bad in ["", "{", "nul", "{\"a\":1}x", "\u{0}"] {
            assert_eq!(code(json(bad.as_bytes())), "invalid_json", "{bad}");
        }
    }

    #[test]
    fn json_may_be_32_levels_deep_and_no_more() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(code(json(nested(32).as_bytes())), "ok");
        assert_eq!(code(json(nested(33).as_bytes())), "invalid_json");
        let brackets_in_text = format!("\"{}\\\"\"", "[".repeat(50));
        assert_eq!(code(json(brackets_in_text.as_bytes())), "ok");
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_given_up() {
        let stuck = http_body_util::StreamBody::new(futures_util::stream::pending::<
            Result<http_body::Frame<Bytes>, std::convert::Infallible>,
        >());
        let problem = patiently(Body::new(stuck), 10, Duration::from_millis(5)).await;
        assert_eq!(problem.expect_err("given up").code, "request_timeout");
    }

    #[tokio::test]
    async fn oversized_bodies_are_refused() {
        let body = |size: usize| Body::from(vec![b'x'; size]);
        assert_eq!(bounded(body(10), 10).await.expect("fits").len(), 10);
        let problem = bounded(body(11), 10).await.expect_err("too large");
        assert_eq!(problem.code, "body_too_large");
    }
}
