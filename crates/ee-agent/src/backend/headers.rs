//! Which header fields cross from the tunnel to the backend and back (TUNNEL 5 and 9).
//!
//! Fields of one hop end at that hop, and so do the fields that `Connection` nominates, except
//! those a nomination must not remove. `ee-*` speaks between control plane and agent only.

use std::time::Duration;

use ee_protocol::names::AppName;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, COOKIE, EXPECT, HOST, TE},
    uri::Authority,
};

/// The app a request is meant for; the agent refuses another's.
const EE_APP: HeaderName = HeaderName::from_static("ee-app");
/// Milliseconds left until response headers.
const EE_DEADLINE_MS: HeaderName = HeaderName::from_static("ee-deadline-ms");
/// Who answers.
pub(super) const EE_ORIGIN: HeaderName = HeaderName::from_static("ee-origin");

/// Whether the control plane meant this request for `app`.
pub(super) fn is_for(app: &AppName, headers: &HeaderMap) -> bool {
    headers
        .get(EE_APP)
        .is_some_and(|value| value.as_bytes() == app.as_str().as_bytes())
}

/// The time left to response headers, if the control plane named it.
pub(super) fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let millis = headers.get(EE_DEADLINE_MS)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_millis(millis))
}

/// Makes a request's fields fit for the backend.
pub(super) fn clean_request(headers: &mut HeaderMap, authority: Option<&Authority>) {
    remove_nominated(headers);
    headers.remove(EE_APP);
    headers.remove(EE_DEADLINE_MS);
    // Whether the app is asked to answer 100 is decided apart.
    headers.remove(EXPECT);
    remove_matching(headers, |name| {
        is_of_one_hop(name) || name == "proxy-authorization" || name.starts_with("ee-")
    });
    strip_te(headers);
    join_cookies(headers);
    if let Some(host) = authority.and_then(|a| HeaderValue::from_str(a.as_str()).ok()) {
        headers.insert(HOST, host);
    }
}

/// Says in HTTP/1.1 that `te` is for this hop, where it is there (RFC 9110 10.1.4).
pub(super) fn announce_te(headers: &mut HeaderMap) {
    if headers.contains_key(TE) {
        headers.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
}

/// Makes an answer's fields fit for the tunnel.
pub(super) fn clean_answer(headers: &mut HeaderMap) {
    remove_nominated(headers);
    remove_matching(headers, |name| {
        is_of_one_hop(name) || name.starts_with("ee-") || name.starts_with("x-ee-")
    });
    headers.remove(TE);
}

/// What the fields cost in HTTP/2's count (RFC 9113 6.5.2): 32 bytes beside each pair.
pub(super) fn size(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum()
}

/// RFC 9110 7.6.1, with the older names that still occur; `te` is handled apart. `trailer` goes on,
/// for HTTP/1.1 sends only what it announces; the control plane has left in it what may come.
fn is_of_one_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn strip_te(headers: &mut HeaderMap) {
    if headers
        .get(TE)
        .is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers"))
    {
        headers.remove(TE);
    }
}

fn remove_nominated(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| !is_protected(name))
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

/// Fields that nobody may nominate away: who asks, on whose behalf, for which app.
fn is_protected(name: &HeaderName) -> bool {
    let name = name.as_str();
    ["x-forwarded-", "ee-", "x-ee-"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || ["forwarded", "cookie", "authorization", "host", "te"].contains(&name)
}

/// One pass over the names; nothing is allocated unless one matches.
fn remove_matching(headers: &mut HeaderMap, matches: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| matches(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// HTTP/2 may split `Cookie` into crumbs; HTTP/1.1 wants one field (RFC 9113 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn hop_by_hop_never_crosses() {
        let mut request = fields(&[
            (
                "connection",
                "keep-alive, X-Secret-Hop, cookie, X-Forwarded-For",
            ),
            ("keep-alive", "timeout=5"),
            ("x-secret-hop", "1"),
            ("x-forwarded-for", "203.0.113.7"),
            ("cookie", "a=1"),
            ("te", "gzip"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "Basic eDp5"),
            ("expect", "100-continue"),
            ("ee-app", "hello"),
            ("ee-deadline-ms", "1000"),
            ("x-ee-app", "hello"),
            ("accept", "*/*"),
        ]);
        clean_request(&mut request, None);
        assert_eq!(
            names(&request),
            ["accept", "cookie", "trailer", "x-ee-app", "x-forwarded-for"]
        );

        let mut answer = fields(&[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("ee-origin", "agent"),
            ("x-ee-node", "forged"),
            ("set-cookie", "a=1"),
            ("content-length", "3"),
        ]);
        clean_answer(&mut answer);
        assert_eq!(names(&answer), ["content-length", "set-cookie"]);
    }

    #[test]
    fn cookie_crumbs_become_one_field_and_repeats_stay() {
        let mut request = fields(&[("cookie", "a=1"), ("cookie", "b=2"), ("x", "1"), ("x", "2")]);
        clean_request(&mut request, None);
        assert_eq!(request["cookie"], "a=1; b=2");
        assert_eq!(request.get_all("x").iter().count(), 2);
    }

    #[test]
    fn host_is_the_authority_and_te_trailers_stays() {
        let mut request = fields(&[("host", "forged"), ("te", "trailers")]);
        clean_request(
            &mut request,
            Some(&Authority::from_static("hello.localhost:9090")),
        );
        assert_eq!(request["host"], "hello.localhost:9090");
        assert_eq!(request["te"], "trailers");
    }

    #[test]
    fn the_app_and_the_deadline_come_from_the_control_plane() {
        let app = AppName::parse("hello").unwrap();
        assert!(is_for(&app, &fields(&[("ee-app", "hello")])));
        assert!(!is_for(&app, &fields(&[("ee-app", "other")])));
        assert!(!is_for(&app, &HeaderMap::new()));
        let left = deadline(&fields(&[("ee-deadline-ms", "250")]));
        assert_eq!(left, Some(Duration::from_millis(250)));
        assert_eq!(deadline(&fields(&[("ee-deadline-ms", "soon")])), None);
    }
}
