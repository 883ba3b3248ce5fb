//! Heads on their way through the proxy, both ways: what a stranger or an app says stays theirs.

use std::net::{IpAddr, Ipv4Addr};

use ee_protocol::names::NodeId;
use ee_server::{
    http::Peer,
    proxy::readers::{Caller, authority, check, clean_trailers, rewrite, rewrite_answer, select},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, request::Parts};

use super::text;
use crate::{Target, seeds};

pub const TARGET: Target = Target {
    name: "proxied-heads",
    about: "heads of requests and answers that the proxy rewrites",
    run,
    seeds: heads,
    longest: 4 * 1024,
    floor: 1200,
};

const DOMAIN: &str = "app.example.com";
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn heads() -> Vec<Vec<u8>> {
    seeds::texts(&[
        "sGET /a/%2e%2e//b?x=1\nhost: hello.app.example.com:9090\naccept: */*",
        "pPOST /\nhost: hello.app.example.com\nx-forwarded-for: 198.51.100.1\nx-forwarded-proto: https\nforwarded: for=1.1.1.1\nx-ee-app: hello",
        "sGET http://hello.app.example.com/x\nhost: hello.app.example.com\nx-ee-app: victim\nx_ee_node: y\nee-deadline-ms: 1",
        "sGET /\nhost: hello.app.example.com\nconnection: close, x-nominee, cookie, x-ee-app\nx-nominee: 1\ncookie: a=1\nte: trailers, deflate\nkeep-alive: 5\nupgrade: h2c",
        "s200\nee-origin: app\nx-ee-node: forged\nalt-svc: h3\nserver: a\nset-cookie: a=1\nset-cookie: b=2\nconnection: x-gone\nx-gone: 1",
        "s502\nee-origin: agent\ncontent-length: 5\ntransfer-encoding: chunked",
    ])
}

/// First a letter for who asks, then the first line, then the fields.
fn run(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Some((letter, rest)) = text.split_at_checked(1) else {
        return;
    };
    let peer = match letter {
        "p" => Peer::TrustedProxy,
        _ => Peer::Stranger,
    };
    let mut lines = rest.split('\n');
    let first = lines.next().unwrap_or_default();
    let headers: HeaderMap = lines.filter_map(field).collect();
    trailers(headers.clone());
    match first
        .parse()
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
    {
        Some(status) => answer(status, headers),
        None => request(first, headers, peer),
    }
}

fn field(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(": ")?;
    let value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
}

fn request(first: &str, headers: HeaderMap, peer: Peer) {
    let (method, target) = first.split_once(' ').unwrap_or(("GET", first));
    let Ok(request) = Request::builder().method(method).uri(target).body(()) else {
        return;
    };
    let (mut head, ()) = request.into_parts();
    head.headers = headers;
    let Ok(named) = authority(&head.uri, &head.headers).map(str::to_owned) else {
        return;
    };
    let Ok(app) = select(&named, &head.headers, peer, Some(DOMAIN)) else {
        return;
    };
    if head.headers.get("x-ee-app").is_none() || matches!(peer, Peer::Stranger) {
        let host = named.trim().to_ascii_lowercase();
        assert!(
            host.starts_with(&format!("{app}.{DOMAIN}")),
            "{named} is not {app}"
        );
    }
    if check(&head).is_err() {
        return;
    }
    let caller = Caller {
        app,
        authority: named,
        scheme: "http",
        address: CLIENT,
        peer,
    };
    let before = head.clone();
    if rewrite(&mut head, &caller).is_ok() {
        rewritten(&before, &head, &caller);
    }
}

fn rewritten(before: &Parts, after: &Parts, caller: &Caller) {
    assert_eq!(after.method, before.method);
    let target = |head: &Parts| head.uri.path_and_query().map(ToString::to_string);
    assert_eq!(
        target(after),
        target(before),
        "the path is nobody's to change"
    );
    of_one_hop(&after.headers);
    let headers = &after.headers;
    for name in ["x-ee-app", "ee-app"] {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(values, [caller.app.as_str()], "{name}");
    }
    assert_eq!(headers.get_all("host").iter().count(), 0);
    assert_eq!(headers.get_all("expect").iter().count(), 0);
    let ours = ["x-ee-app", "ee-app", "ee-deadline-ms"];
    for name in headers.keys().map(HeaderName::as_str) {
        let read = name.replace(['_', '.'], "-");
        let claims = read.starts_with("ee-") || read.starts_with("x-ee-");
        assert!(!claims || ours.contains(&name), "{name} is ours to write");
    }
    let last = |name: &str| {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name}");
        values[0].to_str().unwrap_or_default().to_owned()
    };
    let chain = last("x-forwarded-for");
    assert!(chain.ends_with("192.0.2.7"), "{chain}");
    if matches!(caller.peer, Peer::Stranger) {
        assert_eq!(chain, "192.0.2.7");
        assert_eq!(last("x-forwarded-proto"), "http");
        assert_eq!(last("x-forwarded-host"), caller.authority);
        assert_eq!(last("forwarded").matches("for=").count(), 1);
    }
    for kept in ["cookie", "authorization"] {
        let count = |head: &Parts| head.headers.get_all(kept).iter().count();
        assert_eq!(
            count(before),
            count(after),
            "{kept} cannot be nominated away"
        );
    }
}

fn answer(status: StatusCode, headers: HeaderMap) {
    let (mut head, ()) = Response::new(()).into_parts();
    (head.status, head.headers) = (status, headers);
    let cookies = head.headers.get_all("set-cookie").iter().count();
    let nominated = head.headers.get_all("connection").iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.to_ascii_lowercase().contains("set-cookie"))
    });
    let node = NodeId::parse("one").expect("an id");
    if rewrite_answer(&mut head, &node, "id-1").is_err() {
        return;
    }
    of_one_hop(&head.headers);
    let ours = ["x-ee-origin", "x-ee-node"];
    for name in head.headers.keys().map(HeaderName::as_str) {
        let claims = name.starts_with("ee-") || name.starts_with("x-ee-");
        assert!(!claims || ours.contains(&name), "{name} is ours to write");
    }
    let nodes: Vec<_> = head.headers.get_all("x-ee-node").iter().collect();
    assert_eq!(nodes, ["one"]);
    assert!((200..=599).contains(&head.status.as_u16()));
    if !nominated {
        assert_eq!(
            head.headers.get_all("set-cookie").iter().count(),
            cookies,
            "repeats are kept"
        );
    }
}

fn trailers(mut trailers: HeaderMap) {
    clean_trailers(&mut trailers);
    of_one_hop(&trailers);
    for name in [
        "content-length",
        "host",
        "authorization",
        "set-cookie",
        "te",
    ] {
        assert!(!trailers.contains_key(name), "{name} in trailers");
    }
}

fn of_one_hop(headers: &HeaderMap) {
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ] {
        assert!(!headers.contains_key(name), "{name} is of one hop");
    }
    let te: Vec<_> = headers.get_all("te").iter().collect();
    assert!(te.is_empty() || te == ["trailers"]);
}
