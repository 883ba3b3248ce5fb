//! What happens when a release source answers: pinning, alarms, what is kept of a refusal.

use std::sync::Arc;

use ee_attest::allowlist::Allowlist;
use ee_core::attestation::{AttestationCode, Failure, Provenance};
use ee_protocol::time::Timestamp;
use ee_store::{ChangedAsset, PinRow};

use super::{
    Identity, Inner, OUTAGE_KEPT, PinnedRelease, REFUSAL_KEPT, REFUSALS_MAX,
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
    /// Asks the source again about a pinned release; true if its nodes are now judged otherwise.
    pub(super) async fn revalidate(&self, release: &ReleaseKey) -> bool {
        let etag = {
            let state = self.state();
            state
                .pins
                .get(&release.identity())
                .and_then(|pin| pin.etag.clone())
        };
        let fetched = self.source.fetch(release, etag.as_deref()).await;
        let now = self.clock.now();
        let judged_otherwise = match fetched {
            Ok(ReleaseFetch::NotModified) => false,
            Ok(ReleaseFetch::Found(asset)) => self.compare(release, asset, now).await,
            Err(error) => {
                self.note_quota(&error);
                tracing::warn!(%release, %error, "allowlist not revalidated; its pin stands");
                self.note_moved(release, &error);
                false
            }
        };
        if let Some(pin) = self.state().pins.get_mut(&release.identity()) {
            pin.checked_at = Some(now);
            pin.wanted = false;
        }
        judged_otherwise
    }

    async fn compare(&self, release: &ReleaseKey, asset: ReleaseAsset, now: Timestamp) -> bool {
        let same = {
            let mut state = self.state();
            let Some(pin) = state.pins.get_mut(&release.identity()) else {
                return false;
            };
            pin.etag.clone_from(&asset.etag);
            pin.digest == asset.digest
        };
        if same {
            return false;
        }
        let parsed = Allowlist::parse(&asset.content);
        match parsed {
            Ok(changed) if changed.revoked() => self.revoke(release).await,
            Ok(_) if asset.provenance == Provenance::Local => {
                self.alarm(release, &asset, now).await;
                self.adopt(release, &asset).await
            }
            Ok(_) | Err(_) => self.alarm(release, &asset, now).await,
        }
    }

    /// Takes effect even if the store does not take it: the next pass finds it again.
    async fn revoke(&self, release: &ReleaseKey) -> bool {
        if let Err(error) = self.store.pin_revoked(pin_key(release)).await {
            tracing::error!(%release, %error, "revocation not kept");
        }
        let mut state = self.state();
        let Some(pin) = state.pins.get_mut(&release.identity()) else {
            return false;
        };
        let news = pin.standing != Standing::Revoked;
        pin.standing = Standing::Revoked;
        if news {
            tracing::warn!(%release, "the release is revoked by its own allowlist");
        }
        news
    }

    async fn alarm(&self, release: &ReleaseKey, asset: &ReleaseAsset, now: Timestamp) -> bool {
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
        if let Some(pin) = state.pins.get_mut(&release.identity()) {
            let since = pin.changed.map_or(now, |(_, since)| since);
            let news = pin.changed.is_none_or(|(digest, _)| digest != asset.digest);
            pin.changed = Some((asset.digest, since));
            if news && asset.provenance != Provenance::Local {
                tracing::warn!(
                    %release,
                    pinned = hex::encode(pin.digest),
                    published = hex::encode(asset.digest),
                    "allowlist changed after it was first seen: new sessions are refused until \
                     an admin acknowledges it"
                );
            }
        }
        false
    }

    /// The operator's own file: writing it was the acknowledgement.
    async fn adopt(&self, release: &ReleaseKey, asset: &ReleaseAsset) -> bool {
        let accepted = self
            .store
            .pin_acknowledge(pin_key(release), asset.digest)
            .await;
        let Ok(allowlist) = Allowlist::parse(&asset.content) else {
            return false;
        };
        if !matches!(accepted, Ok(true)) {
            return false;
        }
        tracing::info!(%release, "allowlist replaced in the operator's directory");
        let mut state = self.state();
        if let Some(pin) = state.pins.get_mut(&release.identity()) {
            pin.pinned.allowlist = Arc::new(allowlist);
            pin.pinned.provenance = asset.provenance;
            pin.digest = asset.digest;
            pin.changed = None;
        }
        true
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
