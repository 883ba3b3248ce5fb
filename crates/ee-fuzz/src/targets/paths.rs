//! The path rule: whatever a path holds, no reader behind us takes it for an address.

use ee_protocol::legacy::ProxyRequest;
use ee_server::proxy::readers::{is_origin_form, payload};
use ee_tunnel::legacy::request_text;
use http::{Method, Request, header::HOST};

use super::text;
use crate::{Target, seeds};

pub const TARGET: Target = Target {
    name: "paths",
    about: "request targets, and payloads of POST /v1/proxy",
    run,
    seeds: paths,
    longest: 2 * 1024,
    floor: 1100,
};

fn paths() -> Vec<Vec<u8>> {
    seeds::texts(&[
        "/",
        "/a/%2e%2e//b?x=1#f",
        "/http://169.254.169.254/latest",
        "//a+b.c-1:x",
        "/./http:x",
        r#"{"method":"post","path":"/a?b=1","headers":{"X-A":"1","Host":"x"},"body_b64":"cGluZw=="}"#,
        r#"{"path":"/HTTP://x","headers":null}"#,
    ])
}

fn run(bytes: &[u8]) {
    if let Ok(request) = payload(bytes) {
        assert_ne!(request.method(), Method::CONNECT);
        assert!(
            !request.headers().contains_key(HOST),
            "the host is not the caller's to choose"
        );
        let target = request.uri().path_and_query().map(ToString::to_string);
        assert!(is_origin_form(&target.unwrap_or_default()));
        carried(&request.map(drop));
    }
    let Some(text) = text(bytes) else { return };
    if !is_origin_form(text) {
        return;
    }
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()) && text.starts_with('/'));
    if let Ok(request) = Request::get(text).body(()) {
        carried(&request);
    }
}

/// What an agent without HTTP/2 is sent, which puts the path behind its backend's URL.
fn carried(request: &Request<()>) {
    let (head, ()) = request.clone().into_parts();
    let Ok(sent) = request_text(&head, b"", "id") else {
        return;
    };
    let path = ProxyRequest::parse(&sent).expect("we wrote it").path;
    let asked = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    assert!(
        path == asked || path.strip_prefix("/.") == Some(asked),
        "{asked} became {path}"
    );
    // RFC 3986 3.1, looked for in what such an agent has left without the slashes.
    let bare = path.trim_start_matches('/');
    let scheme = bare.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((scheme, _)) = scheme.split_once(':') else {
        return;
    };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
    assert!(!is_scheme, "{path} is read as an address");
}
