//! What is remembered of a release: its pin, a refusal, how many were new this minute.

use std::{sync::Arc, time::Duration};

use ee_attest::allowlist::Allowlist;
use ee_core::attestation::{Failure, Provenance};
use ee_protocol::{report_data::Digest, time::Timestamp};
use ee_store::{PinKey, PinRow};

use super::{Identity, PinnedRelease};
use crate::ports::ReleaseKey;

/// Pinned content is trusted this long before its source is asked again (ATTESTATION 5).
const FRESH: Duration = Duration::from_secs(300);
/// The operator's directory is read again after this long: a person edits and tries again.
const FRESH_LOCAL: Duration = Duration::from_secs(2);
/// Releases never seen before that may be asked for in a minute: GitHub's quota is 60 an hour
/// without a token and 5 000 with one, and each costs two calls (ATTESTATION 5, rule 7).
const NEW_PER_MINUTE: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// A pinned allowlist and what is known of its source.
pub(super) struct Pin {
    pub(super) pinned: PinnedRelease,
    pub(super) digest: Digest,
    pub(super) etag: Option<String>,
    pub(super) changed: Option<(Digest, Timestamp)>,
    pub(super) standing: Standing,
    /// When its source was last asked; never, since the start, if `None`.
    pub(super) checked_at: Option<Timestamp>,
    /// It was used after it went stale.
    pub(super) wanted: bool,
}

/// What the source has said of a pinned release since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    Moved,
    Revoked,
}

/// A refusal that is kept for a while.
pub(super) struct Refused {
    pub(super) failure: Failure,
    pub(super) until: Timestamp,
}

/// How many new releases were asked for in the running minute.
#[derive(Default)]
pub(super) struct Minute {
    began: Timestamp,
    spent: u32,
}

impl Minute {
    /// Counts one, or says when there is room again.
    pub(super) fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        if now >= self.began.after(MINUTE) || now < self.began {
            *self = Self {
                began: now,
                spent: 0,
            };
        }
        if self.spent >= NEW_PER_MINUTE {
            return Err(self.began.after(MINUTE));
        }
        self.spent += 1;
        Ok(())
    }
}

impl Pin {
    /// When the source is to be asked again.
    pub(super) fn stale_at(&self) -> Timestamp {
        let fresh = match self.pinned.provenance {
            Provenance::Local => FRESH_LOCAL,
            Provenance::Release | Provenance::ReleaseImmutable => FRESH,
        };
        self.checked_at
            .map_or(Timestamp::EPOCH, |checked| checked.after(fresh))
    }
}

/// The key in the store.
pub(super) fn pin_key(release: &ReleaseKey) -> PinKey {
    let (repo_key, tag) = release.identity();
    PinKey { repo_key, tag }
}

/// A pin as it was kept. Content was parsed before it was pinned; a row that does not parse any
/// more (an older parser took it) counts as never seen.
pub(super) fn restore(row: PinRow) -> Option<(Identity, Pin)> {
    let allowlist = Allowlist::parse(&row.content).ok()?;
    let release = ReleaseKey {
        repo: row.key.repo_key.parse().ok()?,
        tag: row.key.tag.parse().ok()?,
    };
    let standing = match row.revoked {
        true => Standing::Revoked,
        false => Standing::Good,
    };
    let pinned = PinnedRelease {
        release,
        allowlist: Arc::new(allowlist),
        provenance: row.provenance,
    };
    let pin = Pin {
        pinned,
        digest: row.digest,
        etag: None,
        changed: row.changed.map(|changed| (changed.digest, changed.at)),
        standing,
        checked_at: None,
        wanted: false,
    };
    Some(((row.key.repo_key, row.key.tag), pin))
}
