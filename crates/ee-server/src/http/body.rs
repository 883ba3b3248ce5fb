//! Reads request bodies within bounds: size, then depth, then JSON.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use ee_protocol::problem::{Problem, ProblemCode};
use http_body_util::BodyExt;

/// JSON of every route but the proxy (EXPERIENCE 5).
pub const JSON_MAX_BYTES: usize = 64 * 1024;
/// Deeper nesting has no use here and costs stack in every parser behind us.
pub const JSON_MAX_DEPTH: usize = 32;

/// Reads a body of at most `limit_bytes`, else 413 `body_too_large`.
pub async fn bounded(body: Body, limit_bytes: usize) -> Result<Bytes, Box<Problem>> {
    let mut body = body;
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
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
    Ok(read.freeze())
}

/// Parses JSON of any shape, at most [`JSON_MAX_DEPTH`] levels deep.
pub fn json(bytes: &[u8]) -> Result<serde_json::Value, Box<Problem>> {
    if depth(bytes) > JSON_MAX_DEPTH {
        let detail = format!("nested more than {JSON_MAX_DEPTH} levels deep");
        return Err(refused(ProblemCode::InvalidJson, &detail));
    }
    let parsed = serde_json::from_slice(bytes);
    parsed.map_err(|error| refused(ProblemCode::InvalidJson, &error.to_string()))
}

fn refused(code: ProblemCode, detail: &str) -> Box<Problem> {
    Box::new(Problem::new(code).detail(detail))
}

/// Deepest nesting of arrays and objects, brackets inside text not counted. Text that is not JSON
/// gets some number; the parser refuses it afterwards.
fn depth(bytes: &[u8]) -> usize {
    let (mut open, mut deepest) = (0_usize, 0_usize);
    let (mut in_text, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' if !in_text => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
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
    async fn oversized_bodies_are_refused() {
        let body = |size: usize| Body::from(vec![b'x'; size]);
        assert_eq!(bounded(body(10), 10).await.expect("fits").len(), 10);
        let problem = bounded(body(11), 10).await.expect_err("too large");
        assert_eq!(problem.code, "body_too_large");
    }
}
