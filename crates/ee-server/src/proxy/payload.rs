//! The payload of `POST /v1/proxy/{app}`: `{method, path, headers, body_b64}` (TUNNEL 8).

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ee_protocol::problem::{Problem, ProblemCode};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header::HOST};
use serde_json::Value;

use super::request::is_origin_form;

/// A request as the payload describes it, without authority.
pub fn parse(body: &[u8]) -> Result<Request<Bytes>, Box<Problem>> {
    let payload = crate::http::body::json(body).map_err(|problem| refused("", &problem.detail))?;
    let Value::Object(members) = payload else {
        return Err(refused("", "the payload must be one JSON object"));
    };
    let text = |name: &str, default: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(default.to_owned()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(refused(name, "must be text")),
    };
    let method = text("method", "GET")?.to_ascii_uppercase();
    let method = Method::from_bytes(method.as_bytes())
        .ok()
        .filter(|method| method != Method::CONNECT)
        .ok_or_else(|| refused("method", "is no HTTP method that can be forwarded"))?;
    let path = text("path", "/")?;
    if !is_origin_form(&path) {
        return Err(refused(
            "path",
            "must begin with '/' and hold visible ASCII only",
        ));
    }
    let body = STANDARD
        .decode(text("body_b64", "")?)
        .map_err(|_| refused("body_b64", "must be standard base64 with padding"))?;
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = path
        .parse()
        .map_err(|_| refused("path", "is no request target"))?;
    *request.headers_mut() = headers(members.get("headers"))?;
    Ok(request)
}

fn headers(value: Option<&Value>) -> Result<HeaderMap, Box<Problem>> {
    let members = match value {
        None | Some(Value::Null) => return Ok(HeaderMap::new()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(refused("headers", "must be an object of text")),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in members {
        let parsed = HeaderName::try_from(name.as_str())
            .ok()
            .zip(field_value(value));
        let (name, value) = parsed.ok_or_else(|| {
            refused(
                "headers",
                "must hold valid field names and text without line breaks",
            )
        })?;
        // The length follows from the body, the host from the app.
        if name != HOST && name != http::header::CONTENT_LENGTH {
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

fn field_value(value: &Value) -> Option<HeaderValue> {
    value
        .as_str()
        .and_then(|text| HeaderValue::from_str(text).ok())
}

fn refused(member: &str, detail: &str) -> Box<Problem> {
    let problem = Problem::new(ProblemCode::InvalidProxyPayload);
    if member.is_empty() {
        return problem.detail(detail).into();
    }
    problem
        .detail(format!("{member} {detail}"))
        .field(format!("/{member}"), "invalid_field")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_payload_gets_the_front_page() {
        let request = parse(b"{}").expect("defaults");
        assert_eq!(
            (request.method(), request.uri().path()),
            (&Method::GET, "/")
        );
        assert!(request.body().is_empty());
    }

    #[test]
    fn a_payload_becomes_a_request() {
        let payload = br#"{"method":"post","path":"/a?b=1","headers":{"X-A":"1","Host":"x"},
            "body_b64":"cGluZw=="}"#;
        let request = parse(payload).expect("valid");
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "/a?b=1");
        assert_eq!(request.body().as_ref(), b"ping");
        assert_eq!(
            request.headers().len(),
            1,
            "the host is not the caller's to choose"
        );
    }

    #[test]
    fn wrong_payloads_are_refused_by_member() {
        for (payload, pointer) in [
            ("[]", None),
            ("{", None),
            ("\"x\"", None),
            (r#"{"method":"CONNECT"}"#, Some("/method")),
            (r#"{"method":"a b"}"#, Some("/method")),
            (r#"{"path":"http://169.254.169.254/"}"#, Some("/path")),
            (r#"{"path":"/a\tb"}"#, Some("/path")),
            (r#"{"path":"a"}"#, Some("/path")),
            (r#"{"path":5}"#, Some("/path")),
            (r#"{"headers":["a"]}"#, Some("/headers")),
            (r#"{"headers":{"a b":"c"}}"#, Some("/headers")),
            (r#"{"headers":{"a":"b\r\nx: y"}}"#, Some("/headers")),
            (r#"{"headers":{"a":5}}"#, Some("/headers")),
            (r#"{"body_b64":"%%%"}"#, Some("/body_b64")),
        ] {
            let problem = parse(payload.as_bytes()).expect_err(payload);
            assert_eq!(problem.code, "invalid_proxy_payload", "{payload}");
            let named = problem.errors.first().map(|error| error.pointer.as_str());
            assert_eq!(named, pointer, "{payload}");
        }
    }
}
