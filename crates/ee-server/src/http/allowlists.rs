//! `GET /v1/allowlists`, `POST /v1/allowlists/acknowledge`: alarms about changed allowlists.

use axum::{Extension, body::Body, extract::State, response::Response};
use ee_control::{
    ports::ReleaseKey,
    reference_values::{Acknowledged, PinAlarm},
};
use ee_protocol::{
    http::allowlists::{Acknowledged as Answer, AllowlistAlarm, AllowlistAlarms},
    names::{ReleaseTag, Repo},
    problem::{Problem, ProblemCode},
    report_data::Digest,
};
use http::StatusCode;
use serde_json::Value;

use super::{
    answer::{ApiError, json},
    body::{self, JSON_MAX_BYTES},
};
use crate::{auth::Actor, state::AppState};

/// Digests are written as GitHub writes them; plain hexadecimal is read too.
const DIGEST_PREFIX: &str = "sha256:";

/// Open alarms.
pub async fn alarm_list(State(state): State<AppState>, _: Extension<Actor>) -> Response {
    let alarms = state.attestor.reference_values().alarms();
    let alarms = alarms.iter().map(shown).collect();
    json(StatusCode::OK, &AllowlistAlarms { alarms })
}

/// Settles an alarm by the digest of the content to go by.
pub async fn alarm_acknowledge(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    body: Body,
) -> Result<Response, ApiError> {
    let (release, digest) = parse(&body::bounded(body, JSON_MAX_BYTES).await?)?;
    let settled = state
        .attestor
        .reference_values()
        .acknowledge(&release, digest)
        .await;
    let settled = settled
        .map_err(|error| Problem::new(ProblemCode::StoreUnavailable).detail(error.to_string()))?;
    let outcome = match settled {
        Acknowledged::Replaced => "replaced",
        Acknowledged::Kept => "kept",
        Acknowledged::NoSuchAlarm => {
            let detail = format!("{release} with {}", digest_text(&digest));
            return Err(Problem::new(ProblemCode::AlarmNotFound)
                .detail(detail)
                .into());
        }
        Acknowledged::Unusable => {
            let detail = format!("{release} with {}", digest_text(&digest));
            return Err(Problem::new(ProblemCode::AllowlistUnusable)
                .detail(detail)
                .into());
        }
    };
    let digest = digest_text(&digest);
    tracing::warn!(event = "allowlist_acknowledged", %release, digest, outcome, ?actor);
    let outcome = outcome.to_owned();
    Ok(json(StatusCode::OK, &Answer { outcome, digest }))
}

fn shown(alarm: &PinAlarm) -> AllowlistAlarm {
    AllowlistAlarm {
        repo: alarm.release.repo.to_string(),
        release_tag: alarm.release.tag.to_string(),
        pinned: digest_text(&alarm.pinned),
        published: digest_text(&alarm.changed),
        since: alarm.at.rfc3339_seconds(),
    }
}

fn digest_text(digest: &Digest) -> String {
    format!("{DIGEST_PREFIX}{}", hex::encode(digest))
}

fn parse(body: &[u8]) -> Result<(ReleaseKey, Digest), Box<Problem>> {
    let body = body::json(body)?;
    let member = |name: &str| body.get(name).filter(|value| !value.is_null());
    let mut missing = Problem::new(ProblemCode::MissingFields);
    for name in ["repo", "release_tag", "digest"] {
        if member(name).is_none() {
            missing = missing.field(format!("/{name}"), "missing");
        }
    }
    if !missing.errors.is_empty() {
        return Err(missing.into());
    }
    let mut invalid = Problem::new(ProblemCode::InvalidField);
    let text = |name: &str| member(name).and_then(Value::as_str).unwrap_or_default();
    let repo = text("repo").parse::<Repo>();
    let tag = text("release_tag").parse::<ReleaseTag>();
    let digest = read_digest(text("digest"));
    for (name, wrong) in [
        ("repo", repo.is_err()),
        ("release_tag", tag.is_err()),
        ("digest", digest.is_none()),
    ] {
        if wrong {
            invalid = invalid.field(format!("/{name}"), "invalid");
        }
    }
    match (repo, tag, digest) {
        (Ok(repo), Ok(tag), Some(digest)) => Ok((ReleaseKey { repo, tag }, digest)),
        _ => Err(invalid.into()),
    }
}

fn read_digest(text: &str) -> Option<Digest> {
    let digits = text.strip_prefix(DIGEST_PREFIX).unwrap_or(text);
    let mut digest = Digest::default();
    hex::decode_to_slice(digits, &mut digest).ok()?;
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> (String, Vec<String>) {
        let problem = parse(body.as_bytes()).expect_err("refused");
        let pointers = problem.errors.iter().map(|error| error.pointer.clone());
        (problem.code.clone(), pointers.collect())
    }

    #[test]
    fn both_spellings_of_a_digest_are_read() {
        let digits = "ab".repeat(32);
        assert_eq!(read_digest(&digits), Some([0xab; 32]));
        assert_eq!(read_digest(&format!("sha256:{digits}")), Some([0xab; 32]));
        for bad in ["", "sha256:", "ab", "sha512:ab", &format!("{digits}00")] {
            assert_eq!(read_digest(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let all = ["/repo", "/release_tag", "/digest"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(refused("{}"), ("missing_fields".to_owned(), all.clone()));
        assert_eq!(refused("[]"), ("missing_fields".to_owned(), all.clone()));
        let wrong = r#"{"repo":"no-slash","release_tag":"a b","digest":7}"#;
        assert_eq!(refused(wrong), ("invalid_field".to_owned(), all));
        assert_eq!(refused("{").0, "invalid_json");
    }
}
