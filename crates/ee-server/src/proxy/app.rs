//! Which app a request is for: its Host, or `X-EE-App` from a proxy we trust (TUNNEL 9).

use ee_protocol::{
    names::AppName,
    problem::{Problem, ProblemCode},
};
use http::{HeaderMap, HeaderName, Uri, header::HOST};

use super::refuse;
use crate::http::{
    Peer,
    host::{HostError, app_of},
};

/// A DNS name has at most 253 characters, a port five: longer is no host, and would be repeated in
/// several fields.
const AUTHORITY_MAX_BYTES: usize = 260;

const X_EE_APP: HeaderName = HeaderName::from_static("x-ee-app");

/// The authority that the client named: HTTP/2's `:authority`, or `Host`.
///
/// # Errors
/// 400 if there are several, none, or an absolute target that names another.
pub fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Box<Problem>> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(|value| value.to_str().unwrap_or_default());
    if hosts.next().is_some() {
        return Err(invalid("more than one Host"));
    }
    let target = uri.authority().map(http::uri::Authority::as_str);
    let too_long = |name: Option<&str>| name.is_some_and(|n| n.len() > AUTHORITY_MAX_BYTES);
    if too_long(target) || too_long(host) {
        return Err(invalid("Host is longer than any name"));
    }
    // User information has no place here (RFC 9110 4.2.4): "hello.x@evil" must not name hello.
    if [target, host]
        .into_iter()
        .flatten()
        .any(|name| name.contains('@'))
    {
        return Err(invalid("Host holds user information"));
    }
    match (target, host) {
        (Some(target), Some(host)) if !target.eq_ignore_ascii_case(host) => {
            Err(invalid("the request target names another host than Host"))
        }
        (Some(target), _) => Ok(target),
        (None, Some(host)) => Ok(host),
        (None, None) => Err(refuse(ProblemCode::MissingApp, "there is no Host")),
    }
}

/// The app: by `X-EE-App` from a trusted peer, else by the authority. A Host outside
/// `EE_APP_DOMAIN` is refused whoever sent it, so that no page of another origin gets in.
pub fn select(
    authority: &str,
    headers: &HeaderMap,
    peer: Peer,
    app_domain: Option<&str>,
) -> Result<AppName, Box<Problem>> {
    let by_host = app_of(authority, app_domain);
    if by_host == Err(HostError::Unknown) {
        let domain = app_domain.unwrap_or_default();
        let detail = format!("{authority:?} is not one label below {domain:?}");
        return Err(refuse(ProblemCode::HostUnknown, &detail));
    }
    let Some(named) = named_by_proxy(headers, peer)? else {
        return by_host.map_err(|_| Problem::new(ProblemCode::MissingApp).into());
    };
    match by_host {
        Ok(app) if app_domain.is_some() && app != named => {
            let detail = format!("X-EE-App says {named}, the Host says {app}");
            Err(refuse(ProblemCode::AppHostMismatch, &detail))
        }
        Ok(_) | Err(_) => Ok(named),
    }
}

fn named_by_proxy(headers: &HeaderMap, peer: Peer) -> Result<Option<AppName>, Box<Problem>> {
    match (headers.get(X_EE_APP), peer) {
        (Some(value), Peer::TrustedProxy) => {
            let app = value
                .to_str()
                .ok()
                .and_then(|text| AppName::parse(text).ok());
            app.map(Some)
                .ok_or_else(|| Problem::new(ProblemCode::InvalidAppName).into())
        }
        (Some(_), Peer::Stranger) | (None, _) => Ok(None),
    }
}

fn invalid(detail: &str) -> Box<Problem> {
    refuse(ProblemCode::InvalidRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(host: &str, named: Option<&str>, peer: Peer, domain: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        if let Some(named) = named {
            headers.insert(X_EE_APP, named.parse().expect("value"));
        }
        match select(host, &headers, peer, domain) {
            Ok(app) => app.to_string(),
            Err(problem) => problem.code,
        }
    }

    #[test]
    fn strangers_cannot_name_another_app() {
        let stranger = |named| selected("hello.example.com", named, Peer::Stranger, None);
        assert_eq!(stranger(None), "hello");
        assert_eq!(stranger(Some("victim")), "hello");
    }

    #[test]
    fn a_trusted_proxy_names_the_app() {
        let proxy = |host, named, domain| selected(host, Some(named), Peer::TrustedProxy, domain);
        assert_eq!(proxy("10.0.0.1:9090", "hello", None), "hello");
        assert_eq!(proxy("other.example.com", "hello", None), "hello");
        assert_eq!(proxy("hello.app.test", "hello", Some("app.test")), "hello");
        assert_eq!(
            proxy("other.app.test", "hello", Some("app.test")),
            "app_host_mismatch"
        );
        assert_eq!(
            proxy("evil.test", "hello", Some("app.test")),
            "host_unknown"
        );
        assert_eq!(proxy("x.example.com", "No Name", None), "invalid_app_name");
    }

    #[test]
    fn absolute_target_must_agree_with_host() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "hello.test".parse().expect("value"));
        let uri = |text: &'static str| Uri::from_static(text);
        assert_eq!(
            authority(&uri("http://HELLO.test/x"), &headers),
            Ok("HELLO.test")
        );
        assert_eq!(authority(&uri("/x"), &headers), Ok("hello.test"));
        let other = authority(&uri("http://victim.test/x"), &headers).expect_err("differs");
        assert_eq!(other.code, "invalid_request");
        for bad in ["hello.x@evil.test".to_owned(), "a.".repeat(200)] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, bad.parse().expect("value"));
            let refused = authority(&uri("/x"), &headers).expect_err("no host");
            assert_eq!(refused.code, "invalid_request", "{bad}");
        }
        headers.append(HOST, "second.test".parse().expect("value"));
        assert!(authority(&uri("/x"), &headers).is_err());
        assert!(authority(&uri("/x"), &HeaderMap::new()).is_err());
    }
}
