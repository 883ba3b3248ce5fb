//! The head of a request on its way to the agent (TUNNEL 5, "request").
//!
//! The path is never decoded nor normalised; what names the client is dropped unless a trusted
//! proxy sent it, and set anew.

use std::{net::IpAddr, time::Duration};

use ee_protocol::{
    names::AppName,
    problem::{Problem, ProblemCode},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{EXPECT, FORWARDED, HOST, UPGRADE},
    request::Parts,
    uri::PathAndQuery,
};

use super::{fields, refuse, trace};
use crate::http::{Peer, envelope::request_id};

/// Longest request target (TUNNEL 10).
const TARGET_MAX_BYTES: usize = 16 * 1024;
/// Fields and target as HTTP/2 counts them (RFC 9113 6.5.2). The agent takes 64 KiB; what we add
/// and the host's repetitions fit in the rest, so that no client's head is blamed on an agent.
const HEAD_MAX_BYTES: usize = 60 * 1024;
/// Time to response headers (TUNNEL 5, "time").
pub const HEADERS_WITHIN: Duration = Duration::from_secs(60);

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_EE_APP: HeaderName = HeaderName::from_static("x-ee-app");
const EE_APP: HeaderName = HeaderName::from_static("ee-app");
const EE_DEADLINE_MS: HeaderName = HeaderName::from_static("ee-deadline-ms");

/// Who asks, over what, for which app.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The app.
    pub app: AppName,
    /// Host and port as the client wrote them.
    pub authority: String,
    /// `http` or `https`, as the TCP peer reached us.
    pub scheme: &'static str,
    /// The TCP peer's address.
    pub address: IpAddr,
    /// Whether its `X-Forwarded-*` count.
    pub peer: Peer,
}

/// Refuses what cannot be forwarded as it stands. How the body is framed is settled before a head
/// gets here: by the guard in HTTP/1.1, by h2 in HTTP/2, by its decoded bytes in a payload.
pub fn check(head: &Parts) -> Result<(), Box<Problem>> {
    if head.method == Method::CONNECT {
        return Err(refuse(
            ProblemCode::MethodNotAllowed,
            "CONNECT makes tunnels to hosts; apps are called by their host name",
        ));
    }
    let target = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if target.len() > TARGET_MAX_BYTES {
        return Err(Problem::new(ProblemCode::UriTooLong).into());
    }
    let server_wide = head.method == Method::OPTIONS && target == "*";
    if !is_origin_form(target) && !server_wide {
        return Err(refuse(
            ProblemCode::InvalidRequest,
            "the target must begin with '/' and hold visible ASCII only; OPTIONS may ask for '*'",
        ));
    }
    if list_size(&head.headers) + target.len() > HEAD_MAX_BYTES {
        return Err(Problem::new(ProblemCode::HeaderTooLarge).into());
    }
    if asks_for_websocket(&head.headers) {
        return Err(refuse(
            ProblemCode::UpgradeUnsupported,
            "POST /v1/proxy carries no WebSocket; the proxy listener does",
        ));
    }
    Ok(())
}

/// Whether a target is a path with an optional query and nothing that a URL parser could read
/// as something else: begins with a slash, bytes 0x21 to 0x7E.
pub fn is_origin_form(target: &str) -> bool {
    target.starts_with('/') && target.bytes().all(|byte| (0x21..=0x7e).contains(&byte))
}

fn list_size(headers: &HeaderMap) -> usize {
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32);
    sizes.sum()
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers.get_all(UPGRADE).iter().any(|value| {
        let words = value.to_str().unwrap_or_default().split(',');
        words
            .map(str::trim)
            .any(|word| word.eq_ignore_ascii_case("websocket"))
    })
}

/// Makes a checked head fit for the tunnel; the request's id, which the answer repeats.
pub fn rewrite(head: &mut Parts, caller: &Caller) -> Result<String, Box<Problem>> {
    let id = request_id(&head.headers);
    let target = head.uri.path_and_query().cloned();
    let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.uri = Uri::builder()
        .scheme(caller.scheme)
        .authority(caller.authority.as_str())
        .path_and_query(target)
        .build()
        .map_err(|_| refuse(ProblemCode::InvalidRequest, "Host is not an authority"))?;
    head.version = http::Version::HTTP_2;
    let headers = &mut head.headers;
    fields::strip_hop_by_hop(headers);
    fields::strip_ours(headers);
    headers.remove(HOST);
    // Whether the app is asked to answer 100 is decided apart.
    headers.remove(EXPECT);
    headers.insert(X_REQUEST_ID, unique(&id));
    trace::continue_or_begin(headers);
    name_client(headers, caller);
    let app = visible(caller.app.as_str());
    headers.insert(X_EE_APP, app.clone());
    headers.insert(EE_APP, app);
    headers.insert(
        EE_DEADLINE_MS,
        HeaderValue::from(HEADERS_WITHIN.as_secs() * 1000),
    );
    Ok(id)
}

/// `X-Forwarded-*` and `Forwarded`: a trusted proxy's are kept and continued, others replaced.
fn name_client(headers: &mut HeaderMap, caller: &Caller) {
    let address = caller.address.to_string();
    let before = match caller.peer {
        Peer::TrustedProxy => joined(headers, &X_FORWARDED_FOR),
        Peer::Stranger => {
            for name in [
                X_FORWARDED_PROTO,
                X_FORWARDED_HOST,
                X_FORWARDED_PORT,
                FORWARDED,
            ] {
                headers.remove(name);
            }
            None
        }
    };
    let chain = before.map_or_else(|| address.clone(), |before| format!("{before}, {address}"));
    headers.insert(X_FORWARDED_FOR, visible(&chain));
    headers
        .entry(X_FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static(caller.scheme));
    headers
        .entry(X_FORWARDED_HOST)
        .or_insert_with(|| visible(&caller.authority));
    headers
        .entry(X_FORWARDED_PORT)
        .or_insert_with(|| visible(port(caller)));
    let hop = forwarded_hop(caller);
    let before = joined(headers, &FORWARDED);
    let chain = before.map_or_else(|| hop.clone(), |before| format!("{before}, {hop}"));
    headers.insert(FORWARDED, visible(&chain));
}

/// One element of `Forwarded` (RFC 7239): IPv6 addresses stand in brackets and quotes.
fn forwarded_hop(caller: &Caller) -> String {
    let node = match caller.address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let host = caller.authority.replace(['"', '\\'], "");
    format!("for={node};host=\"{host}\";proto={}", caller.scheme)
}

fn port(caller: &Caller) -> &str {
    let explicit = caller.authority.rsplit_once(':').map(|(_, port)| port);
    let number = explicit.filter(|port| !port.is_empty() && port.parse::<u16>().is_ok());
    number.unwrap_or(if caller.scheme == "https" {
        "443"
    } else {
        "80"
    })
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// A value that no other request has: HPACK's table of recent fields must not fill with them.
fn unique(text: &str) -> HeaderValue {
    let mut value = visible(text);
    value.set_sensitive(true);
    value
}

/// A value that was parsed from a header field or made here; empty if it could not be one.
fn visible(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::get("/a/%2e%2e//b?x=1");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn caller(peer: Peer) -> Caller {
        Caller {
            app: AppName::parse("hello").expect("name"),
            authority: "hello.test:9090".into(),
            scheme: "http",
            address: "192.0.2.7".parse().expect("address"),
            peer,
        }
    }

    fn value<'a>(head: &'a Parts, name: &str) -> &'a str {
        head.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("absent")
    }

    #[test]
    fn the_path_is_forwarded_byte_for_byte() {
        let mut head = head(&[("host", "hello.test:9090")]);
        rewrite(&mut head, &caller(Peer::Stranger)).expect("valid");
        assert_eq!(head.uri, "http://hello.test:9090/a/%2e%2e//b?x=1");
        assert_eq!(value(&head, "host"), "absent");
        assert_eq!(
            (value(&head, "ee-app"), value(&head, "x-ee-app")),
            ("hello", "hello")
        );
        assert_eq!(value(&head, "ee-deadline-ms"), "60000");
    }

    fn refusal(lines: &[(&str, &str)]) -> String {
        check(&head(lines)).map_or_else(|problem| problem.code, |()| "taken".into())
    }

    #[test]
    fn a_head_that_the_tunnel_cannot_carry_is_the_clients_fault() {
        let long = "a".repeat(HEAD_MAX_BYTES);
        assert_eq!(refusal(&[("x-long", &long)]), "header_too_large");
        assert_eq!(refusal(&[("x-long", &long[..50_000])]), "taken");
    }

    #[test]
    fn strangers_cannot_say_who_they_are() {
        let forged = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "bank.test"),
            ("forwarded", "for=1.1.1.1"),
            ("x-ee-node", "forged"),
        ];
        let mut head = head(&forged);
        rewrite(&mut head, &caller(Peer::Stranger)).expect("valid");
        assert_eq!(value(&head, "x-forwarded-for"), "192.0.2.7");
        assert_eq!(value(&head, "x-forwarded-proto"), "http");
        assert_eq!(value(&head, "x-forwarded-host"), "hello.test:9090");
        assert_eq!(value(&head, "x-forwarded-port"), "9090");
        let forwarded = "for=192.0.2.7;host=\"hello.test:9090\";proto=http";
        assert_eq!(value(&head, "forwarded"), forwarded);
        assert_eq!(value(&head, "x-ee-node"), "absent");
    }

    #[test]
    fn a_trusted_proxys_word_is_kept_and_continued() {
        let said = [
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "https"),
        ];
        let mut head = head(&said);
        rewrite(&mut head, &caller(Peer::TrustedProxy)).expect("valid");
        assert_eq!(value(&head, "x-forwarded-for"), "198.51.100.1, 192.0.2.7");
        assert_eq!(value(&head, "x-forwarded-proto"), "https");
    }

    #[test]
    fn only_origin_form_passes() {
        for good in ["/", "/a?b", "//a", "/http://x"] {
            assert!(is_origin_form(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "http://169.254.169.254/",
            "/a b",
            "/a\tb",
            "/é",
            "a",
        ] {
            assert!(!is_origin_form(bad), "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_be_forwarded_is_refused_by_name() {
        let code = |head: &Parts| check(head).expect_err("refused").code;
        assert_eq!(
            code(&head(&[("upgrade", "WebSocket")])),
            "upgrade_unsupported"
        );
        let mut connect = head(&[]);
        connect.method = Method::CONNECT;
        assert_eq!(code(&connect), "method_not_allowed");
        let mut long = head(&[]);
        long.uri = format!("/{}", "x".repeat(TARGET_MAX_BYTES))
            .parse()
            .expect("a target");
        assert_eq!(code(&long), "uri_too_long");
        assert_eq!(check(&head(&[("upgrade", "h2c")])), Ok(()));
        let mut server_wide = head(&[]);
        server_wide.uri = Uri::from_static("*");
        assert_eq!(code(&server_wide), "invalid_request");
        server_wide.method = Method::OPTIONS;
        assert_eq!(check(&server_wide), Ok(()));
        rewrite(&mut server_wide, &caller(Peer::Stranger)).expect("valid");
        assert_eq!(server_wide.uri.path(), "*");
    }
}
