//! Which header fields cross the control plane (TUNNEL 9, RFC 9110 7.6.1).
//!
//! Fields of one hop end here, and so do the fields that `Connection` nominates, except those a
//! nomination must not remove: a client could otherwise strip what we or the app rely on.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, COOKIE, FORWARDED, HOST, MAX_FORWARDS, SET_COOKIE, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};

static HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
];

/// Removes what belongs to this hop alone. `te` survives as `trailers`: gRPC needs it. `trailer` is
/// written anew: HTTP/1.1 sends only trailers that the head has announced.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most heads have none: one look at the names in place of ten searches.
    if !headers.keys().any(is_of_one_hop) {
        return;
    }
    if headers.contains_key(CONNECTION) {
        for name in nominated(headers) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    let wants_trailers = headers.get_all(TE).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.split(',').any(|word| word.trim() == "trailers"))
    });
    if headers.remove(TE).is_some() && wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if headers.contains_key(TRAILER) {
        announce_trailers(headers);
    }
}

fn is_of_one_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name) || *name == TE || *name == TRAILER
}

/// Leaves of the announced names those that [`clean_trailers`] leaves.
fn announce_trailers(headers: &mut HeaderMap) {
    let names = listed(headers, &TRAILER).filter(may_be_trailer);
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    headers.remove(TRAILER);
    if let Ok(names) = HeaderValue::try_from(names.join(", "))
        && !names.is_empty()
    {
        headers.insert(TRAILER, names);
    }
}

/// Removes `ee-*` and `x-ee-*`: those are ours to write, on either side.
pub fn strip_ours(headers: &mut HeaderMap) {
    let ours = |name: &&HeaderName| is_ours(name.as_str());
    let found: Vec<HeaderName> = headers.keys().filter(ours).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Programs that make variables of names (CGI, WSGI, PHP) read an underscore or a dot as a hyphen:
/// to them `X_EE_App` is `X-EE-App`, and the client's word may win over ours. So names that are
/// read as ours, or as what we say about the client, go as well.
fn is_ours(name: &str) -> bool {
    // Nearly every name is decided by its first letter.
    if !name.starts_with(['e', 'x']) {
        return false;
    }
    if name.starts_with("ee-") || name.starts_with("x-ee-") {
        return true;
    }
    if !name.contains(['_', '.']) {
        return false;
    }
    let read = name.replace(['_', '.'], "-");
    let ours = ["ee-", "x-ee-", "x-forwarded-"];
    ours.iter().any(|ours| read.starts_with(ours))
}

/// Removes from trailers what only a head may say: framing, routing, who asks, how to read the
/// content (RFC 9110 6.5.1). HTTP/2 calls fields of one hop malformed, so they would also break the
/// stream.
pub fn clean_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    let forbidden = |name: &&HeaderName| !may_be_trailer(name);
    let found: Vec<HeaderName> = trailers.keys().filter(forbidden).cloned().collect();
    for name in found {
        trailers.remove(name);
    }
}

fn may_be_trailer(name: &HeaderName) -> bool {
    let of_heads = [
        AUTHORIZATION,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        COOKIE,
        FORWARDED,
        HOST,
        MAX_FORWARDS,
        SET_COOKIE,
        TE,
        TRAILER,
    ];
    !of_heads.contains(name)
        && !HOP_BY_HOP.contains(name)
        && !name.as_str().starts_with("x-forwarded-")
        && !is_ours(name.as_str())
}

fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    listed(headers, &CONNECTION)
        .filter(may_be_nominated)
        .collect()
}

/// The names that a field lists.
fn listed(headers: &HeaderMap, field: &HeaderName) -> impl Iterator<Item = HeaderName> {
    let lines = headers.get_all(field).iter();
    lines
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
}

fn may_be_nominated(name: &HeaderName) -> bool {
    let text = name.as_str();
    let protected = [HOST, COOKIE, AUTHORIZATION, FORWARDED, TE].contains(name);
    let written_by_us = ["x-forwarded-", "ee-", "x-ee-"]
        .iter()
        .any(|p| text.starts_with(p));
    !protected && !written_by_us
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let parse = |(name, value): &(&str, &str)| {
            (
                name.parse::<HeaderName>().expect("name"),
                value.parse().expect("value"),
            )
        };
        lines.iter().map(parse).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn hop_by_hop_never_crosses() {
        let mut headers = headers(&[
            ("connection", "close, X-Nominee"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("x-nominee", "gone"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["accept"]);
    }

    #[test]
    fn what_others_rely_on_cannot_be_nominated_away() {
        let kept = [
            "authorization",
            "cookie",
            "x-forwarded-for",
            "x-ee-app",
            "forwarded",
        ];
        let nominees = kept.join(",");
        let mut lines: Vec<(&str, &str)> = kept.iter().map(|name| (*name, "value")).collect();
        lines.push(("connection", &nominees));
        let mut headers = headers(&lines);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.len(), kept.len());
    }

    #[test]
    fn trailers_cannot_say_what_a_head_says() {
        let mut trailers = HeaderMap::new();
        for name in [
            "connection",
            "transfer-encoding",
            "content-length",
            "host",
            "te",
            "trailer",
            "content-type",
            "ee-app",
            "x-ee-node",
            "x-forwarded-for",
            "authorization",
            "set-cookie",
            "grpc-status",
        ] {
            trailers.insert(
                HeaderName::from_static(name),
                http::HeaderValue::from_static("0"),
            );
        }
        clean_trailers(&mut trailers);
        let left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["grpc-status"]);
    }

    #[test]
    fn trailers_are_announced_as_far_as_they_may_come() {
        for (said, announced) in [
            ("X-Sum, Host,,x-ee-node", Some("x-sum")),
            ("Expires,x-sum", Some("expires, x-sum")),
            ("Content-Length", None),
            ("", None),
        ] {
            let mut headers = headers(&[("trailer", said)]);
            strip_hop_by_hop(&mut headers);
            let left = headers.get(TRAILER).map(HeaderValue::as_bytes);
            assert_eq!(left, announced.map(str::as_bytes), "{said}");
        }
    }

    #[test]
    fn te_survives_as_trailers_only() {
        for (sent, kept) in [("trailers, deflate", Some("trailers")), ("gzip", None)] {
            let mut headers = headers(&[("te", sent)]);
            strip_hop_by_hop(&mut headers);
            assert_eq!(headers.get(TE).and_then(|value| value.to_str().ok()), kept);
        }
    }

    #[test]
    fn spellings_that_programs_read_as_ours_are_removed() {
        let mut headers = headers(&[
            ("x_ee_node", "rogue"),
            ("x-ee_app", "victim"),
            ("x.ee.sealed", "yes"),
            ("ee_deadline_ms", "1"),
            ("x_forwarded_for", "203.0.113.9"),
            ("x-forwarded_proto", "https"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x_csrf_token", "the app's"),
            ("x-eel", "a fish"),
            ("expires", "0"),
        ]);
        strip_ours(&mut headers);
        let mut left = names(&headers);
        left.sort_unstable();
        assert_eq!(
            left,
            ["expires", "x-eel", "x-forwarded-for", "x_csrf_token"]
        );
    }

    #[test]
    fn our_names_are_nobody_elses_to_write() {
        let mut headers = headers(&[("ee-app", "x"), ("x-ee-node", "y"), ("xee", "z")]);
        strip_ours(&mut headers);
        assert_eq!(names(&headers), ["xee"]);
    }
}
