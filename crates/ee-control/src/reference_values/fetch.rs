//! What happens when a release source answers: pinning, alarms, what is kept of a refusal.

use std::sync::Arc;

use ee_attest::allowlist::Allowlist;
use ee_core::attestation::{AttestationCode, Failure, Provenance};
use ee_protocol::{report_data::Digest, time::Timestamp};
use ee_store::{ChangedAsset, PinRow, StoreError};

use super::{
    Acknowledged, Identity, Inner, OUTAGE_KEPT, PinnedRelease, REFUSAL_KEPT, REFUSALS_MAX,
    pin::{Refused, Standing, pin_key, restore},
    refusals,
};
use crate::ports::{DigestSource, ReleaseAsset, ReleaseError, ReleaseFetch, ReleaseKey};

/// The first fetch of a release; ends its own flight.
pub(super) async fn first(
    inner: Arc<Inner>,
    release: ReleaseKey,
) -> Result<PinnedRelease, Failure> {
    let fetched = inner.source.fetch(&release, None).await;
    inner.note_answer(fetched.as_ref().err());
    let now = inner.clock.now();
    let outcome = match fetched {
        Ok(ReleaseFetch::Found(asset)) => pin_asset(&inner, &release, asset, now).await,
        Ok(ReleaseFetch::NotModified) => {
            let detail = "it says that nothing changed, but was not told what we have";
            let error = ReleaseError::Outage {
                detail: detail.to_owned(),
            };
            Err(refusals::of(&release, &inner.source.name(), &error))
        }
        Err(error) => {
            inner.note_quota(&error);
            Err(refusals::of(&release, &inner.source.name(), &error))
        }
    };
    inner.land(&release, &outcome, now);
    outcome
}

/// Pins an asset that parses. A broken upload is not pinned: its author must be able to mend it.
async fn pin_asset(
    inner: &Inner,
    release: &ReleaseKey,
    asset: ReleaseAsset,
    now: Timestamp,
) -> Result<PinnedRelease, Failure> {
    let allowlist = Allowlist::parse(&asset.content)?;
    let row = PinRow {
        key: pin_key(release),
        digest: asset.digest,
        content: asset.content.to_vec(),
        provenance: asset.provenance,
        digest_published: asset.digest_source == DigestSource::Published,
        first_seen: now,
        changed: None,
        revoked: allowlist.revoked(),
    };
    let kept = inner.store.pin_first_seen(row).await;
    let kept = kept.map_err(|error| refusals::store(release, &error))?;
    let Some((identity, mut pin)) = restore(kept) else {
        return Err(refusals::unreadable_pin(release));
    };
    pin.checked_at = Some(now);
    pin.etag = asset.etag;
    let pinned = pin.pinned.clone();
    let revoked = pin.standing == Standing::Revoked;
    inner.state().pins.insert(identity, pin);
    if revoked {
        return Err(refusals::revoked(release));
    }
    Ok(pinned)
}

impl Inner {
    /// Asks the source again about a pinned release.
    pub(super) async fn revalidate(&self, release: &ReleaseKey) {
        let etag = {
            let state = self.state();
            state
                .pins
                .get(&release.identity())
                .and_then(|pin| pin.etag.clone())
        };
        let fetched = self.source.fetch(release, etag.as_deref()).await;
        self.note_answer(fetched.as_ref().err());
        let now = self.clock.now();
        match fetched {
            Ok(ReleaseFetch::NotModified) => {}
            Ok(ReleaseFetch::Found(asset)) => self.compare(release, asset, now).await,
            Err(error) => {
                self.note_quota(&error);
                tracing::warn!(%release, %error, "allowlist not revalidated; its pin stands");
                self.note_moved(release, &error);
            }
        }
        if let Some(pin) = self.state().pins.get_mut(&release.identity()) {
            pin.checked_at = Some(now);
            pin.wanted = false;
        }
    }

    async fn compare(&self, release: &ReleaseKey, asset: ReleaseAsset, now: Timestamp) {
        let same = {
            let mut state = self.state();
            let Some(pin) = state.pins.get_mut(&release.identity()) else {
                return;
            };
            pin.etag.clone_from(&asset.etag);
            pin.digest == asset.digest
        };
        if same {
            return;
        }
        match Allowlist::parse(&asset.content) {
            Ok(changed) if changed.revoked() => self.revoke(release).await,
            Ok(_) if asset.provenance == Provenance::Local => {
                self.alarm(release, &asset, now).await;
                // The operator's own file: writing it was the acknowledgement.
                match self.settle(release, asset.digest).await {
                    Ok(_) => tracing::info!(%release, "allowlist replaced in the directory"),
                    Err(error) => tracing::error!(%release, %error, "allowlist not kept"),
                }
            }
            Ok(_) | Err(_) => self.alarm(release, &asset, now).await,
        }
    }

    /// Takes effect even if the store does not take it: the next pass finds it again.
    async fn revoke(&self, release: &ReleaseKey) {
        if let Err(error) = self.store.pin_revoked(pin_key(release)).await {
            tracing::error!(%release, %error, "revocation not kept");
        }
        let mut state = self.state();
        let Some(pin) = state.pins.get_mut(&release.identity()) else {
            return;
        };
        if pin.standing == Standing::Revoked {
            return;
        }
        pin.standing = Standing::Revoked;
        tracing::warn!(%release, "the release is revoked by its own allowlist");
        state.judged_otherwise.insert(release.identity());
        drop(state);
        self.due.notify_one();
    }

    async fn alarm(&self, release: &ReleaseKey, asset: &ReleaseAsset, now: Timestamp) {
        let changed = ChangedAsset {
            digest: asset.digest,
            content: asset.content.to_vec(),
            provenance: asset.provenance,
            at: now,
        };
        if let Err(error) = self.store.pin_changed(pin_key(release), changed).await {
            tracing::error!(%release, %error, "alarm not kept");
        }
        let mut state = self.state();
        let pin = state.pins.get_mut(&release.identity());
        // Another session may have seen the same change, and it was settled meanwhile.
        let Some(pin) = pin.filter(|pin| pin.digest != asset.digest) else {
            return;
        };
        let since = pin.changed.map_or(now, |(_, since)| since);
        let news = pin.changed.is_none_or(|(digest, _)| digest != asset.digest);
        pin.changed = Some((asset.digest, since));
        if news && asset.provenance != Provenance::Local {
            tracing::warn!(
                %release,
                pinned = hex::encode(pin.digest),
                published = hex::encode(asset.digest),
                "allowlist changed after it was first seen: new sessions are refused until an \
                 admin acknowledges it (easyenclave allowlist alarms)"
            );
        }
    }

    /// Settles an alarm by the digest of the content to go by.
    pub(super) async fn settle(
        &self,
        release: &ReleaseKey,
        digest: Digest,
    ) -> Result<Acknowledged, StoreError> {
        let identity = release.identity();
        let rows = self.store.pins().await?;
        let key = pin_key(release);
        let Some(row) = rows.into_iter().find(|row| row.key == key) else {
            return Ok(Acknowledged::NoSuchAlarm);
        };
        let Some(changed) = &row.changed else {
            return Ok(Acknowledged::NoSuchAlarm);
        };
        if digest == row.digest {
            let kept = self.store.pin_keep(key, changed.digest).await?;
            return Ok(self.after_settling(&identity, kept, None));
        }
        if digest != changed.digest {
            return Ok(Acknowledged::NoSuchAlarm);
        }
        let Ok(allowlist) = Allowlist::parse(&changed.content) else {
            return Ok(Acknowledged::Unusable);
        };
        let pinned = PinnedRelease {
            release: release.clone(),
            allowlist: Arc::new(allowlist),
            provenance: changed.provenance,
        };
        let replaced = self.store.pin_acknowledge(key, digest).await?;
        Ok(self.after_settling(&identity, replaced, Some((pinned, digest))))
    }

    /// `done` is false if the alarm was another one by then: nothing has changed.
    fn after_settling(
        &self,
        identity: &Identity,
        done: bool,
        replaced_by: Option<(PinnedRelease, Digest)>,
    ) -> Acknowledged {
        let mut state = self.state();
        let Some(pin) = state.pins.get_mut(identity).filter(|_| done) else {
            return Acknowledged::NoSuchAlarm;
        };
        pin.changed = None;
        // The source is asked again without the tag that names content we may not have.
        pin.etag = None;
        let Some((pinned, digest)) = replaced_by else {
            return Acknowledged::Kept;
        };
        pin.pinned = pinned;
        pin.digest = digest;
        state.judged_otherwise.insert(identity.clone());
        drop(state);
        self.due.notify_one();
        Acknowledged::Replaced
    }

    /// An answer that does not help is an answer.
    fn note_answer(&self, error: Option<&ReleaseError>) {
        self.state().silent = matches!(error, Some(ReleaseError::Outage { .. }));
    }

    fn note_quota(&self, error: &ReleaseError) {
        if let ReleaseError::RateLimited { until } = error {
            let mut state = self.state();
            state.quota_back_at = state.quota_back_at.max(*until);
        }
    }

    fn note_moved(&self, release: &ReleaseKey, error: &ReleaseError) {
        if let ReleaseError::RepoMoved { .. } = error
            && let Some(pin) = self.state().pins.get_mut(&release.identity())
            && pin.standing == Standing::Good
        {
            pin.standing = Standing::Moved;
        }
    }

    /// Ends a flight; keeps a refusal for a while.
    fn land(&self, release: &ReleaseKey, outcome: &Result<PinnedRelease, Failure>, now: Timestamp) {
        let identity = release.identity();
        let mut state = self.state();
        state.flights.remove(&identity);
        let Err(failure) = outcome else {
            state.refused.remove(&identity);
            return;
        };
        let kept = if failure.code == AttestationCode::AllowlistUnavailable {
            OUTAGE_KEPT
        } else {
            REFUSAL_KEPT
        };
        state.refused.retain(|_, refused| now < refused.until);
        if state.refused.len() >= REFUSALS_MAX {
            let oldest = state
                .refused
                .iter()
                .min_by_key(|(_, refused)| refused.until);
            let oldest: Option<Identity> = oldest.map(|(identity, _)| identity.clone());
            oldest.map(|identity| state.refused.remove(&identity));
        }
        let refused = Refused {
            failure: failure.clone(),
            until: now.after(kept),
        };
        state.refused.insert(identity, refused);
    }
}
