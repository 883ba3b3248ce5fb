//! Forward-auth and the TLS ask for reverse proxies (ROUTING 7).
//!
//! `/v1/authz` answers 200, 401 or 403 and nothing else, because nginx turns any other status of
//! an `auth_request` into 500. Every `X-EE-*` field is always sent, empty if unused: a proxy that
//! copies fields keeps the client's where ours is missing. The app never comes from a query.

use axum::{
    Extension,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
};
use ee_control::{
    apps,
    resolve::{self, Authz},
};
use ee_protocol::{
    names::AppName,
    problem::{Problem, ProblemCode},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::{
    answer::{ApiError, json},
    envelope::Peer,
    host,
};
use crate::{state::AppState, upstream::sha256};

/// How long a proxy may reuse the answer; a closing gate shows within it.
const CACHE: HeaderValue = HeaderValue::from_static("max-age=2");
/// What names the app where the path does not.
const ASKED_FOR: HeaderValue = HeaderValue::from_static("X-Forwarded-Host");
/// Reason for a host or path that names no app.
const INVALID_APP_NAME: &str = "invalid_app_name";

/// Query of the TLS ask.
#[derive(Deserialize)]
pub struct DomainQuery {
    domain: Option<String>,
}

/// `GET /v1/authz/{app}`.
pub async fn app_authorize(
    State(state): State<AppState>,
    app: Result<Path<String>, PathRejection>,
) -> Response {
    answer(&state, app.map(|Path(app)| app).ok().as_deref())
}

/// `GET /v1/authz`: the app is that of `X-Forwarded-Host`, if a trusted proxy says so.
pub async fn host_authorize(
    State(state): State<AppState>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    let host = match peer {
        Peer::TrustedProxy => headers.get_all("x-forwarded-host").iter().next_back(),
        Peer::Stranger => None,
    };
    let host = host.and_then(|value| value.to_str().ok());
    let host = host.and_then(|list| list.rsplit(',').next());
    let domain = state.settings.app_domain.as_deref();
    let app = host.and_then(|host| host::app_of(host, domain).ok());
    let mut response = answer(&state, app.as_ref().map(AppName::as_str));
    // The path is the same for all apps: a cache must not give one app's answer to another.
    response.headers_mut().insert(header::VARY, ASKED_FOR);
    response
}

/// `GET /v1/tls-check?domain=`: 200 for the control host and for hosts of registered apps. A yes
/// to anything else would let strangers burn the certificate authority's quota.
pub async fn domain_check(
    State(state): State<AppState>,
    query: Result<Query<DomainQuery>, QueryRejection>,
) -> Response {
    let asked = query
        .ok()
        .and_then(|Query(query)| query.domain)
        .unwrap_or_default();
    if serves_domain(&state, &asked.to_ascii_lowercase()) {
        return json(StatusCode::OK, &json!({"allowed": true}));
    }
    let problem = Problem::new(ProblemCode::NotEligible)
        .not_allowed("unknown_domain")
        .detail("neither the control host nor an app bound by an attestation");
    ApiError::from(problem).into_response()
}

fn serves_domain(state: &AppState, asked: &str) -> bool {
    if asked == state.settings.public_url.host() {
        return true;
    }
    // Without a domain any first label would count, and with it any name on earth.
    let Some(domain) = state.settings.app_domain.as_deref() else {
        return false;
    };
    let Ok(app) = host::app_of(asked, Some(domain)) else {
        return false;
    };
    asked.len() == app.as_str().len() + 1 + domain.len()
        && apps::show(state.plane.routes(), &app, state.now(), &state.endpoints).is_some()
}

fn answer(state: &AppState, app: Option<&str>) -> Response {
    let named = app.filter(|app| AppName::parse(app).is_ok());
    let authz = match named {
        Some(app) => resolve::authz(state.plane.routes(), app, state.now()),
        None => refused(INVALID_APP_NAME),
    };
    let mut response = if authz.allowed {
        json(StatusCode::OK, &json!({"allowed": true}))
    } else {
        let problem = Problem::new(ProblemCode::NotEligible).not_allowed(&authz.reason);
        ApiError::from(problem).into_response()
    };
    response.headers_mut().extend(fields(&authz));
    response
}

fn refused(reason: &str) -> Authz {
    Authz {
        allowed: false,
        reason: reason.to_owned(),
        ..Authz::default()
    }
}

/// The fields of every answer, their tag, and how long they hold.
fn fields(authz: &Authz) -> HeaderMap {
    let Authz {
        allowed: _,
        reason,
        app,
        node,
        network,
        sealed,
        binding,
        last_attest,
    } = authz;
    let rows: [(&'static str, &str); 7] = [
        ("x-ee-reason", reason),
        ("x-ee-app", app),
        ("x-ee-node", node),
        ("x-ee-network", network),
        ("x-ee-sealed", sealed),
        ("x-ee-binding", binding),
        ("x-ee-last-attest", last_attest),
    ];
    let mut fields = HeaderMap::new();
    for (name, text) in rows {
        let value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        fields.insert(HeaderName::from_static(name), value);
    }
    let all: Vec<&str> = rows.iter().map(|(_, text)| *text).collect();
    let tag = hex::encode(&sha256(all.join("\n").as_bytes())[..8]);
    if let Ok(tag) = HeaderValue::from_str(&format!("W/\"{tag}\"")) {
        fields.insert(header::ETAG, tag);
    }
    fields.insert(header::CACHE_CONTROL, CACHE);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_always_sent() {
        let fields = fields(&refused("unknown_app"));
        for name in [
            "x-ee-reason",
            "x-ee-app",
            "x-ee-node",
            "x-ee-network",
            "x-ee-sealed",
            "x-ee-binding",
            "x-ee-last-attest",
            "etag",
        ] {
            assert!(fields.contains_key(name), "{name}");
        }
        assert_eq!(fields["x-ee-reason"], "unknown_app");
        assert_eq!(fields["x-ee-node"], "");
        assert_eq!(fields["cache-control"], "max-age=2");
    }
}
