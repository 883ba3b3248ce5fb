//! Why a release's allowlist cannot judge, in words that tell the reader what to do.

use ee_core::attestation::{AttestationCode, Failure};
use ee_protocol::{refusal::Refusal, report_data::Digest, time::Timestamp};
use ee_store::StoreError;

use crate::ports::{ReleaseError, ReleaseKey};

const CHECK: &str = "allowlist";
const NO_ACTION: &str = "no action needed: the agent is asked again by itself";

/// The source's answer as a failure. Only what its publisher can mend is held against a release.
pub(super) fn of(release: &ReleaseKey, source: &str, error: &ReleaseError) -> Failure {
    let actual = format!("{release} from {source}: {error}");
    match error {
        ReleaseError::NotFound { .. } => failure(
            AttestationCode::AllowlistNotFound,
            "a release with an allowlist asset",
            &actual,
            "publish the release with its allowlist (`easyenclave allowlist create`), or \
             register a tag that has one; a private repository needs EE_GITHUB_TOKEN",
        ),
        ReleaseError::RepoMoved { to } => moved(release, to),
        ReleaseError::Oversize { .. } => failure(
            AttestationCode::AllowlistInvalid,
            "an allowlist of at most 256 KiB",
            &actual,
            "publish a smaller allowlist: fewer entries, no embedded files",
        ),
        ReleaseError::RateLimited { until } => quota(release, source, *until),
        // The publisher's own digest is computed by the host: a mismatch is its or the line's.
        ReleaseError::DigestMismatch { .. } | ReleaseError::Outage { .. } => {
            unavailable("an answer of the release's source", &actual, NO_ACTION)
        }
    }
}

/// The repository has another name now.
pub(super) fn moved(release: &ReleaseKey, to: &str) -> Failure {
    failure(
        AttestationCode::AllowlistRepoMoved,
        release.repo.as_str(),
        &format!("the repository moved to {to}"),
        "register the repository's new name: the name is an identity, so a rename is not followed",
    )
}

/// The quota of the source is spent.
pub(super) fn quota(release: &ReleaseKey, source: &str, until: Timestamp) -> Failure {
    let actual = format!("{release} from {source}: rate limit reached until {until}");
    unavailable(
        "quota left at the release's source",
        &actual,
        "no action needed by the agent; the operator can set EE_GITHUB_TOKEN for a larger quota",
    )
}

/// Too many releases never seen before in one minute.
pub(super) fn too_many_new(release: &ReleaseKey, again_at: Timestamp) -> Failure {
    let actual = format!("{release} is new, and others were first; again at {again_at}");
    unavailable("at most 60 new releases a minute", &actual, NO_ACTION)
}

/// The pin could not be kept.
pub(super) fn store(release: &ReleaseKey, error: &StoreError) -> Failure {
    let actual = format!("{release}: {error}");
    unavailable(
        "a durable pin",
        &actual,
        "the operator mends the control plane's database",
    )
}

/// What was pinned by an earlier version of this program does not parse any more.
pub(super) fn unreadable_pin(release: &ReleaseKey) -> Failure {
    failure(
        AttestationCode::AllowlistInvalid,
        "a pinned allowlist of a known version",
        &format!("the pin of {release} does not parse any more"),
        "publish the allowlist under a new tag and register that",
    )
}

/// The release says that it is not to be trusted any more.
pub(super) fn revoked(release: &ReleaseKey) -> Failure {
    failure(
        AttestationCode::AllowlistRevoked,
        "a release that is not revoked",
        &format!("{release} says \"revoked\": true"),
        "deploy and register a newer release",
    )
}

/// The release shows other content than when it was first seen.
pub(super) fn changed(release: &ReleaseKey, pinned: &Digest, changed: &Digest) -> Failure {
    failure(
        AttestationCode::AllowlistDigestChanged,
        &format!("sha256:{}", hex::encode(pinned)),
        &format!("{release} now has sha256:{}", hex::encode(changed)),
        "publish changes under a new tag; if the change is intended, an admin acknowledges it",
    )
}

fn unavailable(expected: &str, actual: &str, hint: &str) -> Failure {
    failure(
        AttestationCode::AllowlistUnavailable,
        expected,
        actual,
        hint,
    )
}

fn failure(code: AttestationCode, expected: &str, actual: &str, hint: &str) -> Failure {
    let refusal = Refusal::new(code.as_str(), CHECK, hint).compared(expected, actual);
    Failure::new(code).explained(refusal)
}
