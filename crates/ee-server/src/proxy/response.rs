//! The head of an answer on its way to the public (TUNNEL 5, "response", and 9).
//!
//! An agent is untrusted input: its answer is checked before a byte of it leaves.

use ee_protocol::{
    names::NodeId,
    problem::{Problem, ProblemCode},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        ALT_SVC, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, SERVER, SET_COOKIE,
        STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    },
    response::Parts,
};

use super::{fields, refuse};

const EE_ORIGIN: &str = "ee-origin";
const X_EE_ORIGIN: HeaderName = HeaderName::from_static("x-ee-origin");
const X_EE_NODE: HeaderName = HeaderName::from_static("x-ee-node");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes an agent's head fit for the public, or refuses it as `bad_agent_response`.
pub fn rewrite(head: &mut Parts, node: &NodeId, request_id: &str) -> Result<(), Box<Problem>> {
    // 1xx answers never arrive here, and 101 would let an agent switch protocols on a client.
    if !(200..=599).contains(&head.status.as_u16()) {
        return Err(bad(&format!("status {}", head.status.as_u16())));
    }
    let origin = match head.headers.get(EE_ORIGIN).map(HeaderValue::as_bytes) {
        Some(b"app") => HeaderValue::from_static("app"),
        Some(b"agent") => HeaderValue::from_static("agent"),
        Some(_) | None => return Err(bad("it does not say who speaks, app or agent")),
    };
    let headers = &mut head.headers;
    clean(headers);
    if head.status == StatusCode::NO_CONTENT {
        // RFC 9110 8.6: not even a zero.
        headers.remove(CONTENT_LENGTH);
    }
    headers.insert(X_EE_ORIGIN, origin);
    identify(headers, request_id);
    if let Ok(node) = HeaderValue::from_str(node.as_str()) {
        headers.insert(X_EE_NODE, node);
    }
    head.version = http::Version::HTTP_11;
    Ok(())
}

/// Removes what an app may not say to the public, in an answer or before it.
pub fn clean(headers: &mut HeaderMap) {
    fields::strip_hop_by_hop(headers);
    fields::strip_ours(headers);
    headers.remove(ALT_SVC);
    headers.remove(SERVER);
}

/// Repeats the request's id.
pub fn identify(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
}

/// An app's answer on the origin of the API must never act as ours: a form on a hostile page can
/// send `POST /v1/proxy`, and the browser would run what comes back beside the dashboard.
pub fn confine(headers: &mut HeaderMap) {
    for name in [
        SET_COOKIE,
        STRICT_TRANSPORT_SECURITY,
        HeaderName::from_static("clear-site-data"),
        HeaderName::from_static("nel"),
        HeaderName::from_static("report-to"),
        HeaderName::from_static("reporting-endpoints"),
        HeaderName::from_static("service-worker-allowed"),
    ] {
        headers.remove(name);
    }
    headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Whether the answer to this status has no body, whatever its fields say (RFC 9110 6.4.1).
pub fn is_bodiless(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    )
}

/// Whether this is gRPC's Trailers-Only answer, which ends with its head. Where an app gave it
/// before it had read the request, the end may reach us as a reset behind the head, and clients do
/// not take an empty DATA frame for it (gRPC over HTTP/2, "Responses").
pub fn is_trailers_only(headers: &HeaderMap) -> bool {
    let is_grpc = |kind: &HeaderValue| kind.as_bytes().starts_with(b"application/grpc");
    headers.get(CONTENT_TYPE).is_some_and(is_grpc) && headers.contains_key("grpc-status")
}

fn bad(detail: &str) -> Box<Problem> {
    refuse(ProblemCode::BadAgentResponse, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, lines: &[(&str, &str)]) -> Parts {
        let mut response = http::Response::builder().status(status);
        for (name, value) in lines {
            response = response.header(*name, *value);
        }
        response.body(()).expect("a response").into_parts().0
    }

    fn node() -> NodeId {
        NodeId::parse("one").expect("id")
    }

    #[test]
    fn app_cannot_speak_in_our_name() {
        let mut head = head(
            200,
            &[
                ("ee-origin", "app"),
                ("x-ee-node", "forged"),
                ("alt-svc", "h3=\":443\""),
                ("server", "app/1"),
                ("connection", "x-gone"),
                ("x-gone", "1"),
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
            ],
        );
        rewrite(&mut head, &node(), "id-1").expect("valid");
        let value = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(value("x-ee-node"), Some("one"));
        assert_eq!(value("x-ee-origin"), Some("app"));
        assert_eq!(value("x-request-id"), Some("id-1"));
        for gone in ["ee-origin", "alt-svc", "server", "connection", "x-gone"] {
            assert_eq!(value(gone), None, "{gone}");
        }
        assert_eq!(
            head.headers.get_all(SET_COOKIE).iter().count(),
            2,
            "repeats are kept"
        );
    }

    #[test]
    fn only_an_answer_without_content_names_no_length() {
        for (status, named) in [(200, true), (204, false), (304, true)] {
            let mut head = head(status, &[("ee-origin", "app"), ("content-length", "0")]);
            rewrite(&mut head, &node(), "id").expect("valid");
            let left = head.headers.contains_key(CONTENT_LENGTH);
            assert_eq!(left, named, "{status}");
        }
    }

    #[test]
    fn answers_that_are_no_answers_are_refused() {
        for (status, origin) in [(999, "app"), (600, "app"), (101, "app"), (200, "system")] {
            let mut head = head(status, &[("ee-origin", origin)]);
            let problem = rewrite(&mut head, &node(), "id").expect_err("refused");
            assert_eq!(problem.code, "bad_agent_response", "{status} {origin}");
        }
        assert!(rewrite(&mut head(200, &[]), &node(), "id").is_err());
    }

    #[test]
    fn confined_answers_cannot_touch_our_origin() {
        let mut headers = head(200, &[("set-cookie", "a=1"), ("clear-site-data", "*")]).headers;
        confine(&mut headers);
        assert!(!headers.contains_key(SET_COOKIE) && !headers.contains_key("clear-site-data"));
        let policy = headers
            .get(CONTENT_SECURITY_POLICY)
            .map(HeaderValue::as_bytes);
        assert_eq!(policy, Some(&b"sandbox"[..]));
    }
}
