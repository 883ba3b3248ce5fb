//! HTTP as the text messages of agents that offer no HTTP/2 (TUNNEL 7).
//!
//! Such agents read names and values from a JSON object, follow redirects, decompress without
//! saying so, and put the path behind their backend's URL with whatever a URL parser makes of it.
//! So what they get is made harmless here, and what they answer is checked as outside input.
//! Hop-by-hop fields and those that are ours to write are the proxy's matter, as on any tunnel.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use ee_protocol::legacy::{ProxyRequest, ProxyResponse, ResponseError};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::limits::HEADER_LIST;

/// Longest request body: 2.9 MiB make 3.87 MiB of base64, and agents take texts of 4 MiB.
pub const REQUEST_BODY_MAX: usize = 29 * 1024 * 1024 / 10;
/// Longest text that agents take; a longer one would end the tunnel at their side.
pub const REQUEST_TEXT_MAX: usize = 4 * 1024 * 1024;
/// What a field counts beside its name and value.
const FIELD_OVERHEAD: usize = 32;
/// Longest answer, as text, that is passed on.
pub const ANSWER_TEXT_MAX: usize = 8 * 1024 * 1024;

/// The request does not fit in a text that agents take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request does not fit in a message of 4 MiB")]
pub struct RequestTooLarge;

/// Why an answer is not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Longer than [`ANSWER_TEXT_MAX`].
    #[error("the answer is longer than a message of 8 MiB")]
    TooLarge,
    /// A member of the wrong kind.
    #[error(transparent)]
    Malformed(#[from] ResponseError),
    /// A status outside 200 to 599.
    #[error("status {0}")]
    Status(u16),
    /// More header fields than HTTP/2 would have carried.
    #[error("more than 64 KiB of header fields")]
    Fields,
    /// A header field that HTTP does not allow.
    #[error("a header field that HTTP does not allow")]
    Field,
}

/// The `proxy_request` for a head that the proxy made fit for the tunnel.
pub fn request_text(head: &Parts, body: &[u8], id: &str) -> Result<String, RequestTooLarge> {
    if body.len() > REQUEST_BODY_MAX {
        return Err(RequestTooLarge);
    }
    let target = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let request = ProxyRequest {
        request_id: id.to_owned(),
        method: head.method.to_string(),
        path: harmless(target).into_owned(),
        headers: request_fields(&head.headers),
        body: body.to_vec(),
    };
    let text = request.to_json();
    if text.len() > REQUEST_TEXT_MAX {
        return Err(RequestTooLarge);
    }
    Ok(text)
}

/// A path that stays a path when its leading slashes are dropped and the rest is resolved against
/// the backend's URL: `/http://169.254.169.254/` must not become that address.
fn harmless(path: &str) -> Cow<'_, str> {
    let bare = path.trim_start_matches('/');
    let scheme = bare.split_once(':').is_some_and(|(scheme, _)| {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-');
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(legal)
    });
    if scheme {
        Cow::Owned(format!("/.{path}"))
    } else {
        Cow::Borrowed(path)
    }
}

/// The fields as one value a name.
fn request_fields(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for name in headers.keys() {
        let dropped = [HOST, CONTENT_LENGTH, EXPECT, TE, ACCEPT_ENCODING].contains(name);
        if dropped || name.as_str().starts_with("ee-") {
            continue;
        }
        let separator = if *name == COOKIE { "; " } else { ", " };
        let values: Vec<String> = headers.get_all(name).iter().map(text_of).collect();
        fields.insert(name.to_string(), values.join(separator));
    }
    // Agents decompress and keep the label: what comes must not be compressed at all.
    fields.insert(ACCEPT_ENCODING.to_string(), "identity".to_owned());
    fields
}

/// JSON has no bytes: what is not UTF-8 is read as Latin-1, as HTTP once meant it.
fn text_of(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value
            .as_bytes()
            .iter()
            .map(|byte| char::from(*byte))
            .collect(),
    }
}

/// The answer to a request with this method, from the text of a `proxy_response`.
pub fn answer(text: &str, method: &Method) -> Result<Response<Bytes>, AnswerError> {
    if text.len() > ANSWER_TEXT_MAX {
        return Err(AnswerError::TooLarge);
    }
    let said = ProxyResponse::parse(text)?;
    let status = StatusCode::from_u16(said.status)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or(AnswerError::Status(said.status))?;
    let head_only = *method == Method::HEAD;
    let keeps_length = head_only || status == StatusCode::NOT_MODIFIED;
    let body = match head_only {
        true => Bytes::new(),
        false => Bytes::from(said.body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = answer_fields(said.headers, keeps_length)?;
    Ok(response)
}

fn answer_fields(
    said: BTreeMap<String, String>,
    keeps_length: bool,
) -> Result<HeaderMap, AnswerError> {
    let mut headers = HeaderMap::new();
    let mut size = 0;
    for (name, value) in said {
        // Counted as HTTP/2 counts (RFC 9113 6.5.2), with the same limit.
        size += name.len() + value.len() + FIELD_OVERHEAD;
        if size > HEADER_LIST as usize {
            return Err(AnswerError::Fields);
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| AnswerError::Field)?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| AnswerError::Field)?;
        headers.append(name, value);
    }
    let is_length = |value: &HeaderValue| {
        let digits = value.as_bytes();
        !digits.is_empty() && digits.len() < 20 && digits.iter().all(u8::is_ascii_digit)
    };
    // Names of different case are members of their own in JSON: there may be several.
    let lengths: Vec<&HeaderValue> = headers.get_all(CONTENT_LENGTH).iter().collect();
    if !keeps_length || lengths.len() > 1 || !lengths.into_iter().all(is_length) {
        headers.remove(CONTENT_LENGTH);
    }
    if headers.get_all(CONTENT_ENCODING).iter().any(is_undone) {
        headers.remove(CONTENT_ENCODING);
    }
    Ok(headers)
}

/// Whether the agent has undone this encoding.
fn is_undone(encoding: &HeaderValue) -> bool {
    let known = ["gzip", "deflate", "br"];
    let text = encoding.to_str().unwrap_or_default();
    known
        .iter()
        .any(|name| text.trim().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(target: &str, lines: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::post(format!("http://app.test{target}"));
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn sent(head: &Parts) -> ProxyRequest {
        let text = request_text(head, b"ping", "id").expect("small");
        ProxyRequest::parse(&text).expect("well-formed")
    }

    fn answered(members: &str) -> Result<Response<Bytes>, AnswerError> {
        let text = format!(r#"{{"type":"proxy_response","request_id":"x",{members}}}"#);
        answer(&text, &Method::GET)
    }

    fn field<'a>(answer: &'a Response<Bytes>, name: &str) -> Option<&'a [u8]> {
        answer.headers().get(name).map(HeaderValue::as_bytes)
    }

    #[test]
    fn duplicates_are_joined() {
        let request = sent(&head(
            "/a?b=1",
            &[
                ("cookie", "a=1"),
                ("cookie", "b=2"),
                ("accept", "text/html"),
                ("accept", "*/*"),
            ],
        ));
        assert_eq!(request.headers["cookie"], "a=1; b=2");
        assert_eq!(request.headers["accept"], "text/html, */*");
        assert_eq!((&*request.path, &*request.body), ("/a?b=1", &b"ping"[..]));
    }

    #[test]
    fn what_such_agents_mishandle_is_not_sent() {
        let request = sent(&head(
            "/",
            &[
                ("host", "app.test"),
                ("content-length", "9"),
                ("expect", "100-continue"),
                ("te", "trailers"),
                ("accept-encoding", "gzip, br"),
                ("ee-deadline-ms", "60000"),
                ("x-ee-app", "app"),
            ],
        ));
        let fields: Vec<_> = request.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(
            fields,
            [("accept-encoding", "identity"), ("x-ee-app", "app")]
        );
    }

    #[test]
    fn absolute_path_is_defused() {
        for (path, made) in [
            ("/http://169.254.169.254/a", "/./http://169.254.169.254/a"),
            ("//http:x", "/.//http:x"),
            ("/a+b.c-1:", "/./a+b.c-1:"),
            ("/a/b:c", "/a/b:c"),
            ("/1a:b", "/1a:b"),
            ("/?u=http://x", "/?u=http://x"),
            ("/:", "/:"),
            ("/", "/"),
        ] {
            assert_eq!(sent(&head(path, &[])).path, made, "{path}");
        }
    }

    #[test]
    fn values_beyond_ascii_survive() {
        let mut head = head("/", &[]);
        for (name, bytes) in [("a", &b"\xc3\xa9"[..]), ("b", &b"\xe9"[..])] {
            let value = HeaderValue::from_bytes(bytes).expect("a field value");
            head.headers.insert(HeaderName::from_static(name), value);
        }
        let request = sent(&head);
        assert_eq!(
            (&*request.headers["a"], &*request.headers["b"]),
            ("\u{e9}", "\u{e9}")
        );
    }

    #[test]
    fn requests_that_agents_cannot_take_are_refused() {
        let plain = head("/", &[]);
        assert!(request_text(&plain, &vec![0; REQUEST_BODY_MAX], "id").is_ok());
        let over = request_text(&plain, &vec![0; REQUEST_BODY_MAX + 1], "id");
        assert_eq!(over, Err(RequestTooLarge));
        // Quotes double in JSON: a body within its limit, with fields within theirs.
        let quotes = "\"".repeat(62 * 1024);
        let long = head("/", &[("a", &quotes), ("b", &quotes)]);
        let text = request_text(&long, &vec![0; REQUEST_BODY_MAX], "id");
        assert_eq!(text, Err(RequestTooLarge));
    }

    #[test]
    fn answer_framing_is_ours() {
        let headers = r#""status":200,"headers":{"Content-Length":"7","X-A":"1"}"#;
        let answer = answered(&format!(r#"{headers},"body_b64":"cG9uZw==""#)).expect("valid");
        assert_eq!(answer.body(), "pong");
        assert_eq!(field(&answer, "content-length"), None, "recomputed");
        assert_eq!(field(&answer, "x-a"), Some(&b"1"[..]));
        for status in [0, 99, 100, 101, 199, 600, 999] {
            let answer = answered(&format!(r#""status":{status}"#));
            assert_eq!(answer.expect_err("refused"), AnswerError::Status(status));
        }
    }

    #[test]
    fn heads_and_304_keep_the_apps_length() {
        let text = r#"{"type":"proxy_response","request_id":"x","status":200,
            "headers":{"content-length":"7"},"body_b64":"cG9uZw=="}"#;
        let head = answer(text, &Method::HEAD).expect("valid");
        assert_eq!(field(&head, "content-length"), Some(&b"7"[..]));
        assert!(head.body().is_empty());
        let not_modified = answered(r#""status":304,"headers":{"content-length":"7"}"#);
        let not_modified = not_modified.expect("valid");
        assert_eq!(field(&not_modified, "content-length"), Some(&b"7"[..]));
        for wrong in ["x", "", "7, 7", "-1"] {
            let members = format!(r#""status":304,"headers":{{"content-length":"{wrong}"}}"#);
            let answer = answered(&members).expect("valid");
            assert_eq!(field(&answer, "content-length"), None, "{wrong}");
        }
    }

    #[test]
    fn gzip_label_is_dropped() {
        for (label, kept) in [
            ("gzip", false),
            ("BR", false),
            ("deflate", false),
            ("zstd", true),
        ] {
            let members = format!(r#""status":200,"headers":{{"content-encoding":"{label}"}}"#);
            let answer = answered(&members).expect("valid");
            assert_eq!(
                field(&answer, "content-encoding").is_some(),
                kept,
                "{label}"
            );
        }
    }

    #[test]
    fn bad_headers_of_an_agent_are_refused() {
        for headers in [
            r#"{"a b":"c"}"#,
            r#"{"":"c"}"#,
            r#"{"a":"b\r\nset-cookie: x"}"#,
            r#"{"a":"b\u0000"}"#,
        ] {
            let answer = answered(&format!(r#""status":200,"headers":{headers}"#));
            assert_eq!(answer.expect_err(headers), AnswerError::Field);
        }
        let answer = answered(r#""status":200,"headers":{"a":5}"#);
        assert!(matches!(answer, Err(AnswerError::Malformed(_))));
    }

    #[test]
    fn an_answer_of_many_fields_is_refused() {
        let fields = |count: usize| {
            let fields: Vec<_> = (0..count).map(|n| format!(r#""f{n:05}":"v""#)).collect();
            answered(&format!(
                r#""status":200,"headers":{{{}}}"#,
                fields.join(",")
            ))
        };
        assert!(fields(1_600).is_ok());
        assert_eq!(fields(30_000).expect_err("refused"), AnswerError::Fields);
    }

    #[test]
    fn an_answer_above_8_mib_is_not_parsed() {
        let text = " ".repeat(ANSWER_TEXT_MAX + 1);
        let refused = answer(&text, &Method::GET).expect_err("refused");
        assert_eq!(refused, AnswerError::TooLarge);
    }

    proptest! {
        #[test]
        fn a_path_never_turns_into_an_address(path in "/[/A-Za-z0-9+.:?#@%-]{0,30}") {
            let made = harmless(&path);
            // What RFC 3986 calls a scheme, looked for in what remains without the slashes.
            let rest = made.trim_start_matches('/');
            let letters = rest.split(':').next().unwrap_or_default();
            let is_scheme = rest.contains(':')
                && letters.starts_with(|c: char| c.is_ascii_alphabetic())
                && letters.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
            prop_assert!(!is_scheme, "{}", made);
            let prefixed = ["/.", &path].concat();
            prop_assert!(made == path || made == prefixed);
        }
    }
}
