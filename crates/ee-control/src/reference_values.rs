//! Reference values: the allowlists of releases, fetched once, pinned, revalidated (ATTESTATION 5).
//!
//! The first content seen under a (repository, tag) is pinned in the store and judges from then
//! on. A fetch of something new is *earned*: callers ask for it only when the evidence has shown
//! a genuine TD, and at most `NEW_PER_MINUTE` are made. What is pinned is served at once and
//! revalidated behind the answer, by [`ReferenceValues::reconcile`].
//!
//! **Invariants**
//! - No lock is held across an await; one fetch at a time per release.
//! - An outage never takes a pin away, and never fails an agent.
//! - Other content under a pinned name judges nobody before an admin acknowledged it, unless it
//!   says that the release is revoked, which counts at once. The operator's own directory is
//!   the exception: to write there is to acknowledge.

mod fetch;
mod pin;
mod refusals;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ee_attest::allowlist::Allowlist;
use ee_core::{
    attestation::{Failure, Provenance},
    session::Attested,
};
use ee_protocol::{report_data::Digest, time::Timestamp};
use ee_store::{Store, StoreError};
use futures_util::{
    FutureExt, StreamExt,
    future::{self, BoxFuture, Shared},
    stream,
};
use tokio::sync::Notify;

use self::pin::{Minute, Pin, Refused, Standing, restore};
use crate::ports::{Clock, ReleaseKey, ReleaseSource};

/// A release that does not exist, or cannot be used, is not asked for again before this.
const REFUSAL_KEPT: Duration = Duration::from_secs(30);
/// After an outage: agents are challenged again after 1, 2, 4 .. 60 s and would each ask.
const OUTAGE_KEPT: Duration = Duration::from_secs(5);
/// Refusals remembered; each was earned by a genuine TD, so more means that somebody plays.
/// The oldest goes first.
const REFUSALS_MAX: usize = 1_024;
/// Revalidations at once; GitHub is asked at most this often in parallel (ATTESTATION 11).
const AT_ONCE: usize = 16;

type Identity = (String, String);
type Flight = Shared<BoxFuture<'static, Result<PinnedRelease, Failure>>>;

/// An allowlist that may judge evidence.
#[derive(Debug, Clone)]
pub struct PinnedRelease {
    /// Which release.
    pub release: ReleaseKey,
    /// Its reference values.
    pub allowlist: Arc<Allowlist>,
    /// How well their origin is proved.
    pub provenance: Provenance,
}

/// What is known of a release without asking its source.
#[derive(Debug)]
pub enum Lookup {
    /// Its allowlist is pinned.
    Pinned(PinnedRelease),
    /// Nothing is known: [`ReferenceValues::obtain`] it once that is earned.
    Unpinned,
    /// What is known refuses this session.
    Refused(Failure),
}

/// A release that now shows other content than its pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinAlarm {
    /// Which release.
    pub release: ReleaseKey,
    /// SHA-256 of the pinned content.
    pub pinned: Digest,
    /// SHA-256 of what is published now.
    pub changed: Digest,
    /// When that was noticed.
    pub at: Timestamp,
}

/// What became of an admin's word on an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// The published content judges from now on.
    Replaced,
    /// The pinned content goes on judging; the alarm is over.
    Kept,
    /// There is no such release, or its alarm is about other content by now.
    NoSuchAlarm,
    /// The published content is no allowlist: it cannot judge anybody.
    Unusable,
}

/// What a pass of the reconciler did.
#[derive(Debug)]
pub struct Revalidated {
    /// When the next pass is due.
    pub next: Timestamp,
    /// Releases whose nodes would now be judged otherwise.
    pub reattest: Vec<ReleaseKey>,
}

/// The service; one for a control plane.
pub struct ReferenceValues {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    source: Arc<dyn ReleaseSource>,
    state: Mutex<State>,
    due: Notify,
}

#[derive(Default)]
struct State {
    pins: BTreeMap<Identity, Pin>,
    refused: BTreeMap<Identity, Refused>,
    flights: BTreeMap<Identity, Flight>,
    minute: Minute,
    quota_back_at: Timestamp,
    /// The source did not answer when it was last asked.
    silent: bool,
    /// Pins that judge otherwise than before: their nodes are to be challenged.
    judged_otherwise: BTreeSet<Identity>,
}

impl ReferenceValues {
    /// Starts from the store's pins; asks no source.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(
        store: Store,
        clock: Arc<dyn Clock>,
        source: Arc<dyn ReleaseSource>,
    ) -> Result<Self, StoreError> {
        let pins = store.pins().await?;
        let inner = Inner {
            store,
            clock,
            source,
            state: Mutex::default(),
            due: Notify::new(),
        };
        inner.state().pins = pins.into_iter().filter_map(restore).collect();
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What is known of a release. Only the operator's directory may be read for it.
    pub async fn lookup(&self, release: &ReleaseKey, attested_before: Attested) -> Lookup {
        if self.inner.mark_used(release) == Some(Provenance::Local) {
            self.inner.revalidate(release).await;
        }
        self.inner.standing(release, attested_before)
    }

    /// Asks the source for a release that has no pin, and pins what it answers.
    ///
    /// # Errors
    /// `allowlist_*`, with what to do.
    pub async fn obtain(&self, release: &ReleaseKey) -> Result<PinnedRelease, Failure> {
        let flight = Arc::clone(&self.inner).join_flight(release)?;
        flight.await
    }

    /// Whether the source did not answer when it was last asked, or grants no more questions.
    pub fn is_down(&self) -> bool {
        let now = self.inner.clock.now();
        let state = self.inner.state();
        state.silent || now < state.quota_back_at
    }

    /// Revalidates what was used while stale. Idempotent.
    pub async fn reconcile(&self) -> Revalidated {
        // A fetch goes on when whoever asked first went away.
        let flights: Vec<Flight> = self.inner.state().flights.values().cloned().collect();
        future::join_all(flights).await;
        let inner = &self.inner;
        stream::iter(inner.due_now())
            .for_each_concurrent(AT_ONCE, |release| async move {
                inner.revalidate(&release).await;
            })
            .await;
        Revalidated {
            next: inner.next_due(),
            reattest: inner.take_judged_otherwise(),
        }
    }

    /// Resolves when something became due before the reconciler's next pass.
    pub async fn wanted(&self) {
        self.inner.due.notified().await;
    }

    /// Releases that show other content than their pin.
    pub fn alarms(&self) -> Vec<PinAlarm> {
        let state = self.inner.state();
        let alarm = |pin: &Pin| {
            pin.changed.map(|(changed, at)| PinAlarm {
                release: pin.pinned.release.clone(),
                pinned: pin.digest,
                changed,
                at,
            })
        };
        state.pins.values().filter_map(alarm).collect()
    }

    /// Other pinned releases of the same repository: where else a measurement may be from.
    pub fn siblings(&self, release: &ReleaseKey) -> Vec<PinnedRelease> {
        let (repo, tag) = release.identity();
        let state = self.inner.state();
        let of_repo = state.pins.range((repo.clone(), String::new())..);
        of_repo
            .take_while(|((other, _), _)| *other == repo)
            .filter(|((_, other_tag), _)| *other_tag != tag)
            .map(|(_, pin)| pin.pinned.clone())
            .collect()
    }

    /// An admin settles an alarm by the digest of the content to go by from now on: what is
    /// published now takes the pin's place, or the pin stays and the alarm ends.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn acknowledge(
        &self,
        release: &ReleaseKey,
        digest: Digest,
    ) -> Result<Acknowledged, StoreError> {
        self.inner.settle(release, digest).await
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the maps whole, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the use of a pin; its provenance if it is stale now.
    fn mark_used(&self, release: &ReleaseKey) -> Option<Provenance> {
        let now = self.clock.now();
        let mut state = self.state();
        let pin = state.pins.get_mut(&release.identity())?;
        if now < pin.stale_at() {
            return None;
        }
        if !pin.wanted {
            pin.wanted = true;
            self.due.notify_one();
        }
        Some(pin.pinned.provenance)
    }

    fn standing(&self, release: &ReleaseKey, attested_before: Attested) -> Lookup {
        let state = self.state();
        let Some(pin) = state.pins.get(&release.identity()) else {
            return Lookup::Unpinned;
        };
        let refused = match (pin.standing, pin.changed, attested_before) {
            (Standing::Revoked, _, _) => refusals::revoked(release),
            (Standing::Moved, _, Attested::No) => refusals::moved(release, "another name"),
            (Standing::Good, Some((changed, _)), Attested::No) => {
                refusals::changed(release, &pin.digest, &changed)
            }
            (Standing::Good | Standing::Moved, _, Attested::Yes)
            | (Standing::Good, None, Attested::No) => {
                return Lookup::Pinned(pin.pinned.clone());
            }
        };
        Lookup::Refused(refused)
    }

    fn take_judged_otherwise(&self) -> Vec<ReleaseKey> {
        let mut state = self.state();
        let judged = std::mem::take(&mut state.judged_otherwise);
        let pins = judged
            .iter()
            .filter_map(|identity| state.pins.get(identity));
        pins.map(|pin| pin.pinned.release.clone()).collect()
    }

    fn due_now(&self) -> Vec<ReleaseKey> {
        let now = self.clock.now();
        let state = self.state();
        if now < state.quota_back_at {
            return Vec::new();
        }
        let due = state
            .pins
            .values()
            .filter(|pin| pin.wanted && now >= pin.stale_at());
        due.map(|pin| pin.pinned.release.clone()).collect()
    }

    fn next_due(&self) -> Timestamp {
        let state = self.state();
        let due = state
            .pins
            .values()
            .filter(|pin| pin.wanted)
            .map(Pin::stale_at)
            .min();
        due.unwrap_or(Timestamp::FAR_FUTURE)
            .max(state.quota_back_at)
    }

    /// The running fetch of a release, or a new one if that is allowed now.
    fn join_flight(self: Arc<Self>, release: &ReleaseKey) -> Result<Flight, Failure> {
        let now = self.clock.now();
        let identity = release.identity();
        let mut state = self.state();
        if let Some(flight) = state.flights.get(&identity) {
            return Ok(flight.clone());
        }
        if let Some(pin) = state.pins.get(&identity) {
            return Ok(future::ready(Ok(pin.pinned.clone())).boxed().shared());
        }
        if let Some(refused) = state.refused.get(&identity).filter(|kept| now < kept.until) {
            return Err(refused.failure.clone());
        }
        if now < state.quota_back_at {
            return Err(refusals::quota(
                release,
                &self.source.name(),
                state.quota_back_at,
            ));
        }
        state
            .minute
            .take(now)
            .map_err(|again_at| refusals::too_many_new(release, again_at))?;
        let flight = fetch::first(Arc::clone(&self), release.clone())
            .boxed()
            .shared();
        state.flights.insert(identity, flight.clone());
        self.due.notify_one();
        Ok(flight)
    }
}
