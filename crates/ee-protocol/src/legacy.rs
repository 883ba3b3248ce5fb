//! Requests and answers as text messages, for agents that offer no HTTP/2 (TUNNEL 7).
//!
//! The field names are the prototype's. An answer is read in two steps: [`Envelope`] says whose it
//! is, which is cheap at any length, and [`ProxyResponse::parse`] checks the rest.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::depth::{deeper_than, has_more_parts_than};
use crate::tunnel::{JSON_DEPTH_MAX, JSON_PARTS_MAX};

const REQUEST: &str = "proxy_request";
const RESPONSE: &str = "proxy_response";

/// `proxy_request`: the control plane wants an answer of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyRequest {
    /// 24 lower-case hexadecimal digits, unique within the session.
    pub request_id: String,
    /// The method.
    pub method: String,
    /// Path and query, raw.
    pub path: String,
    /// Header fields without `Host`.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// The members in the order in which they are written.
#[derive(Serialize, Deserialize)]
struct RequestWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    request_id: Cow<'a, str>,
    method: Cow<'a, str>,
    path: Cow<'a, str>,
    headers: Cow<'a, BTreeMap<String, String>>,
    body_b64: Cow<'a, str>,
}

impl ProxyRequest {
    /// The text frame.
    pub fn to_json(&self) -> String {
        let wire = RequestWire {
            kind: REQUEST.into(),
            request_id: self.request_id.as_str().into(),
            method: self.method.as_str().into(),
            path: self.path.as_str().into(),
            headers: Cow::Borrowed(&self.headers),
            body_b64: STANDARD.encode(&self.body).into(),
        };
        serde_json::to_string(&wire).expect("text only")
    }

    /// Reads a text frame; `None` if it is no complete `proxy_request`.
    pub fn parse(text: &str) -> Option<Self> {
        let wire: RequestWire<'_> = serde_json::from_str(text).ok()?;
        (wire.kind == REQUEST).then_some(())?;
        Some(Self {
            request_id: wire.request_id.into_owned(),
            method: wire.method.into_owned(),
            path: wire.path.into_owned(),
            headers: wire.headers.into_owned(),
            body: STANDARD.decode(&*wire.body_b64).ok()?,
        })
    }
}

/// What tells a `proxy_response` from other messages, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The request's id; empty if the message has none.
    pub request_id: String,
}

impl Envelope {
    /// Reads the envelope; `None` if the text is no `proxy_response`.
    pub fn of_response(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Probe<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            #[serde(default, borrow)]
            request_id: Option<Cow<'a, str>>,
        }
        if deeper_than(text.as_bytes(), JSON_DEPTH_MAX) {
            return None;
        }
        let probe: Probe<'_> = serde_json::from_str(text).ok()?;
        (probe.kind == RESPONSE).then(|| Self {
            request_id: probe.request_id.unwrap_or_default().into_owned(),
        })
    }
}

/// `proxy_response`, with members of the right kind; what they say is not checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyResponse {
    /// The request's id.
    pub request_id: String,
    /// The status; 502 where the agent names none.
    pub status: u16,
    /// Header fields.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// The first member of a `proxy_response` that is not what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} of the answer is malformed")]
pub struct ResponseError(pub &'static str);

impl ProxyResponse {
    /// The text frame, as agents send it.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "type": RESPONSE,
            "request_id": self.request_id,
            "status": self.status,
            "headers": self.headers,
            "body_b64": STANDARD.encode(&self.body),
        })
        .to_string()
    }

    /// Reads a text whose [`Envelope`] was recognised.
    pub fn parse(text: &str) -> Result<Self, ResponseError> {
        if has_more_parts_than(text, JSON_PARTS_MAX) {
            return Err(ResponseError("size"));
        }
        let Ok(Value::Object(mut members)) = serde_json::from_str(text) else {
            return Err(ResponseError("type"));
        };
        let mut take = |name: &str| members.remove(name).unwrap_or(Value::Null);
        let Value::String(request_id) = take("request_id") else {
            return Err(ResponseError("request_id"));
        };
        let headers = headers(take("headers"))?;
        let body = body(&take("body_b64"))?;
        let status = match members.get("status") {
            None => STATUS_MISSING,
            Some(status) => number(status).ok_or(ResponseError("status"))?,
        };
        Ok(Self {
            request_id,
            status,
            headers,
            body,
        })
    }
}

/// What an answer without `status` counts as, in the prototype and here.
const STATUS_MISSING: u16 = 502;

fn number(status: &Value) -> Option<u16> {
    if let Some(text) = status.as_str() {
        // `parse` would take a sign as well.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        return text.parse().ok().filter(|_| digits);
    }
    status.as_u64()?.try_into().ok()
}

fn headers(value: Value) -> Result<BTreeMap<String, String>, ResponseError> {
    if value.is_null() {
        return Ok(BTreeMap::new());
    }
    let Value::Object(members) = value else {
        return Err(ResponseError("headers"));
    };
    let text = |(name, value)| {
        let Value::String(text) = value else {
            return Err(ResponseError("headers"));
        };
        Ok((name, text))
    };
    members.into_iter().map(text).collect()
}

fn body(value: &Value) -> Result<Vec<u8>, ResponseError> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let text = value.as_str().ok_or(ResponseError("body_b64"))?;
    STANDARD.decode(text).map_err(|_| ResponseError("body_b64"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOLDEN_REQUEST: &str = r#"{"type":"proxy_request","request_id":"00000000000000000000002a","method":"POST","path":"/a?b=1","headers":{"accept-encoding":"identity","x-request-id":"r1"},"body_b64":"cGluZw=="}"#;
    const GOLDEN_RESPONSE: &str = r#"{"type":"proxy_response","request_id":"00000000000000000000002a","status":200,"headers":{"content-type":"text/plain"},"body_b64":"cG9uZw=="}"#;

    #[test]
    fn proxy_request_is_golden() {
        let request = ProxyRequest {
            request_id: "00000000000000000000002a".into(),
            method: "POST".into(),
            path: "/a?b=1".into(),
            headers: [("accept-encoding", "identity"), ("x-request-id", "r1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            body: b"ping".to_vec(),
        };
        assert_eq!(request.to_json(), GOLDEN_REQUEST);
        assert_eq!(ProxyRequest::parse(GOLDEN_REQUEST), Some(request));
    }

    #[test]
    fn an_empty_body_is_sent_as_empty_text() {
        let request = ProxyRequest {
            request_id: String::new(),
            method: "GET".into(),
            path: "/".into(),
            headers: BTreeMap::new(),
            body: Vec::new(),
        };
        assert!(
            request
                .to_json()
                .ends_with(r#","headers":{},"body_b64":""}"#)
        );
    }

    #[test]
    fn proxy_response_is_golden() {
        let envelope = Envelope::of_response(GOLDEN_RESPONSE).expect("an answer");
        assert_eq!(envelope.request_id, "00000000000000000000002a");
        let answer = ProxyResponse::parse(GOLDEN_RESPONSE).expect("well-formed");
        assert_eq!((answer.status, &*answer.body), (200, &b"pong"[..]));
        assert_eq!(answer.headers["content-type"], "text/plain");
        assert_eq!(answer.to_json().len(), GOLDEN_RESPONSE.len());
    }

    #[test]
    fn what_agents_leave_out_has_a_meaning() {
        for (members, status) in [
            ("", 502),
            (r#","status":"404","headers":null,"body_b64":null"#, 404),
            (r#","status":204,"headers":{},"body_b64":"""#, 204),
        ] {
            let text = format!(r#"{{"type":"proxy_response","request_id":"x"{members}}}"#);
            let answer = ProxyResponse::parse(&text).expect(&text);
            assert_eq!(answer.status, status, "{text}");
            assert!(
                answer.headers.is_empty() && answer.body.is_empty(),
                "{text}"
            );
        }
    }

    #[test]
    fn members_of_the_wrong_kind_are_named() {
        for (members, wrong) in [
            (r#""status":null"#, "status"),
            (r#""status":2.5"#, "status"),
            (r#""status":"+200""#, "status"),
            (r#""status":"""#, "status"),
            (r#""status":-1"#, "status"),
            (r#""headers":[]"#, "headers"),
            (r#""headers":{"a":1}"#, "headers"),
            (r#""headers":{"a":null}"#, "headers"),
            (r#""body_b64":5"#, "body_b64"),
            (r#""body_b64":"a""#, "body_b64"),
            (r#""body_b64":"YQ""#, "body_b64"),
        ] {
            let text = format!(r#"{{"type":"proxy_response","request_id":"x",{members}}}"#);
            assert_eq!(
                ProxyResponse::parse(&text),
                Err(ResponseError(wrong)),
                "{text}"
            );
        }
    }

    /// A parsed value takes up to a hundred times its text.
    #[test]
    fn an_answer_of_a_million_values_is_not_parsed() {
        let flood = "0,".repeat(1_000_000);
        let text = format!(r#"{{"type":"proxy_response","request_id":"x","a":[{flood}0]}}"#);
        assert!(Envelope::of_response(&text).is_some(), "its request fails");
        assert_eq!(ProxyResponse::parse(&text), Err(ResponseError("size")));
    }

    #[test]
    fn other_messages_are_no_answers() {
        for text in [
            r#"{"type":"health","status":"pass"}"#,
            r#"{"type":"proxy_request","request_id":"x"}"#,
            "[]",
            "{",
        ] {
            assert_eq!(Envelope::of_response(text), None, "{text}");
        }
        let nameless = Envelope::of_response(r#"{"type":"proxy_response"}"#);
        assert_eq!(nameless.expect("an answer").request_id, "");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = (Envelope::of_response(&text), ProxyResponse::parse(&text));
        }

        #[test]
        fn requests_survive_the_wire(path in "/[!-~]{0,40}", body: Vec<u8>) {
            let request = ProxyRequest {
                request_id: "0".repeat(24),
                method: "PUT".into(),
                path,
                headers: [("a".to_owned(), "\"\\\u{e9}".to_owned())].into(),
                body,
            };
            prop_assert_eq!(ProxyRequest::parse(&request.to_json()), Some(request));
        }
    }
}
