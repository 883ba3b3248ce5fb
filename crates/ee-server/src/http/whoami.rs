//! `GET /v1/whoami`: what the presented token is.

use axum::{Extension, response::Response};
use ee_protocol::{http::tokens::WhoAmI, time::Timestamp};
use http::StatusCode;

use super::answer::json;
use crate::auth::Actor;

/// Who the caller is.
pub async fn whoami_read(Extension(actor): Extension<Actor>) -> Response {
    let scopes = actor.scopes().iter().map(ToString::to_string);
    let resources = actor.resources().iter().map(ToString::to_string);
    let answer = WhoAmI {
        name: actor.name().to_owned(),
        principal: actor.principal().to_owned(),
        role: actor.role().to_string(),
        scopes: scopes.collect(),
        resources: resources.collect(),
        expires_at: actor.expires_at().map(Timestamp::rfc3339_seconds),
    };
    json(StatusCode::OK, &answer)
}
