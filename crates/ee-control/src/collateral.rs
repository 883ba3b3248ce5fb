//! The collateral service: what Intel says about platforms, kept ready (ATTESTATION 6).
//!
//! Four kinds of items, each verified on arrival, kept on disk and verified again at boot, so
//! that booting offline works. Whoever needs a bundle for a quote takes it from memory; only an
//! item that is absent or expired is waited for. Everything else is refreshed behind the answers
//! by [`CollateralService::reconcile`].
//!
//! **Invariants**
//! - A bad mirror never evicts a good item; numbers and issue dates never go down, not even
//!   across restarts (the store keeps the marks).
//! - An item is served until its `nextUpdate`: there is no earlier age limit, because Intel once
//!   took 7.4 days and a limit of 7 stopped a fleet.
//! - No lock is held across an await; one fetch at a time per item.

mod arrival;
mod disk;
mod mirror;
mod slot;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ee_attest::{
    collateral::{BundleItems, CollateralBundle, CollateralItem, ItemKind},
    platform::Verifier,
    quote::PckCa,
};
use ee_core::attestation::Failure;
use ee_protocol::time::Timestamp;
use ee_store::{CollateralMark, Store, StoreError};
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, Shared},
    stream,
};
use serde_json::Value;
use tokio::sync::Notify;

use self::slot::Slot;
use crate::{
    ports::{CollateralSource, Offload},
    trusted_time::TrustedTime,
};

/// Platform families kept at once: there are a few dozen in the field, each TCB info has 20 KiB,
/// and each was earned by a genuine PCK chain. One more is `collateral_unavailable`.
const FAMILIES_MAX: usize = 1_024;
/// Endpoints are asked for at most this many items at once (ATTESTATION 11).
const AT_ONCE: usize = 8;
/// A pass at least this often, to keep the time and to warn.
const PASS_AT_LEAST: Duration = Duration::from_secs(60);

type Flight = Shared<BoxFuture<'static, ()>>;
/// A platform family and the authority that certifies its machines.
type Family = ([u8; 6], PckCa);

/// The state of one item, for `/health` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemStatus {
    /// `tcb-info-50806f000000`, `qe-identity`, …
    pub item: String,
    /// Until when it counts; `None` if there is none.
    pub valid_until: Option<Timestamp>,
    /// When an endpoint is asked next.
    pub next_try: Timestamp,
    /// Why the last try gave nothing.
    pub last_error: Option<String>,
}

/// What the service works with.
pub(crate) struct CollateralParts {
    pub(crate) store: Store,
    pub(crate) time: Arc<TrustedTime>,
    pub(crate) offload: Arc<dyn Offload>,
    pub(crate) source: Arc<dyn CollateralSource>,
    /// Every verifier, so that a replaced bundle drops its verdicts in each; all have one root.
    pub(crate) verifiers: Vec<Arc<Verifier>>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) seed: [u8; 32],
}

/// The service; one for a control plane.
pub struct CollateralService {
    inner: Arc<Inner>,
}

struct Inner {
    parts: CollateralParts,
    state: Mutex<State>,
    due: Notify,
}

#[derive(Default)]
struct State {
    slots: BTreeMap<ItemKind, Slot>,
    bundles: BTreeMap<Family, CollateralBundle>,
    marks: BTreeMap<String, CollateralMark>,
}

impl CollateralService {
    /// Starts from the marks in the store and the items on disk; asks no endpoint.
    pub(crate) async fn open(parts: CollateralParts) -> Result<Self, StoreError> {
        assert!(
            !parts.verifiers.is_empty(),
            "collateral is verified under a verifier's root"
        );
        let marks = parts.store.collateral_marks().await?;
        let inner = Arc::new(Inner {
            parts,
            state: Mutex::default(),
            due: Notify::new(),
        });
        inner.prepare(marks);
        disk::restore(&inner).await;
        Ok(Self { inner })
    }

    /// The bundle for a platform family and its authority; `mirror` is what the agent sent along.
    ///
    /// Callers make sure that the quote's chain ends at the root before they ask for a family
    /// that [`CollateralService::knows`] not.
    ///
    /// # Errors
    /// `collateral_*` or `clock_untrusted`, with item, endpoint, date and next try.
    pub async fn bundle(
        &self,
        fmspc: [u8; 6],
        ca: PckCa,
        mirror: Option<&Value>,
    ) -> Result<CollateralBundle, Failure> {
        let inner = &self.inner;
        for kind in kinds(fmspc, ca) {
            if inner.holds(kind)? {
                continue;
            }
            if let Some(flight) = Arc::clone(inner).join_flight(kind)? {
                flight.await;
            }
            if !inner.holds(kind)? {
                mirror::try_item(inner, kind, mirror).await;
            }
            if !inner.holds(kind)? {
                return Err(inner.missing(kind));
            }
        }
        inner.assemble(fmspc, ca)
    }

    /// Whether TCB info of this family is here, so that no endpoint would be asked for it.
    pub fn knows(&self, fmspc: [u8; 6]) -> bool {
        self.inner
            .holds(ItemKind::TcbInfo { fmspc })
            .unwrap_or(false)
    }

    /// The newest evaluation number ever accepted, of TCB info and QE identities alike.
    pub fn newest_evaluation(&self) -> u32 {
        let state = self.inner.state();
        let signed = |name: &&String| name.starts_with("tcb-info-") || *name == "qe-identity";
        let numbers = state.marks.iter().filter(|(name, _)| signed(name));
        let newest = numbers.map(|(_, mark)| mark.number).max().unwrap_or(0);
        u32::try_from(newest).unwrap_or(u32::MAX)
    }

    /// The bundle of every family that is complete, whether or not it still counts.
    pub(crate) fn current(&self) -> BTreeMap<Family, CollateralBundle> {
        let held: Vec<ItemKind> = {
            let state = self.inner.state();
            state.slots.keys().copied().collect()
        };
        let families = held.iter().filter_map(|kind| match kind {
            ItemKind::TcbInfo { fmspc } => Some(*fmspc),
            ItemKind::QeIdentity | ItemKind::PckCrl { .. } | ItemKind::RootCrl => None,
        });
        let both = |fmspc| [PckCa::Platform, PckCa::Processor].map(|ca| (fmspc, ca));
        let complete = |(fmspc, ca)| Some(((fmspc, ca), self.inner.assemble(fmspc, ca).ok()?));
        families.flat_map(both).filter_map(complete).collect()
    }

    /// Refreshes what is due, keeps the time, warns of what is about to expire. Idempotent.
    /// Answers when the next pass is due.
    pub async fn reconcile(&self) -> Timestamp {
        let inner = &self.inner;
        if let Err(error) = inner.parts.time.keep().await {
            tracing::error!(%error, "time not kept");
        }
        let wall = inner.parts.time.wall();
        inner.warn_of_expiry(wall);
        // The root's list first: it is needed to verify the signers of the others.
        for root_first in [true, false] {
            let due = inner.due_at(wall, root_first);
            stream::iter(due)
                .for_each_concurrent(AT_ONCE, |kind| async move {
                    if let Ok(Some(flight)) = Arc::clone(inner).join_flight(kind) {
                        flight.await;
                    }
                })
                .await;
        }
        inner.next_due().min(wall.after(PASS_AT_LEAST))
    }

    /// Resolves when something became due before the reconciler's next pass.
    pub async fn wanted(&self) {
        self.inner.due.notified().await;
    }

    /// Whether something is wanted that no endpoint answers for.
    pub fn is_down(&self) -> bool {
        self.inner.state().slots.values().any(|slot| slot.silent)
    }

    /// Every item's state, in the order of names.
    pub fn status(&self) -> Vec<ItemStatus> {
        let state = self.inner.state();
        let status = |(kind, slot): (&ItemKind, &Slot)| ItemStatus {
            item: kind.to_string(),
            valid_until: slot.item.as_ref().map(|item| item.window().until),
            next_try: slot.try_at,
            last_error: slot.last_error.as_ref().map(slot::text),
        };
        state.slots.iter().map(status).collect()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the maps whole, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Slots for what every quote needs and for every family known before.
    fn prepare(&self, marks: Vec<CollateralMark>) {
        let mut state = self.state();
        for kind in [ItemKind::RootCrl, ItemKind::QeIdentity] {
            state.slots.insert(kind, Slot::default());
        }
        for mark in marks {
            self.parts.time.raise_floor(mark.issued_at);
            if let Some(kind) = slot::kind_named(&mark.item) {
                state.slots.entry(kind).or_default();
            }
            state.marks.insert(mark.item.clone(), mark);
        }
    }

    /// Whether the item is here and counts now.
    fn holds(&self, kind: ItemKind) -> Result<bool, Failure> {
        let now = self.parts.time.now()?;
        Ok(self
            .item(kind)
            .is_some_and(|item| item.window().contains(now)))
    }

    fn item(&self, kind: ItemKind) -> Option<Arc<CollateralItem>> {
        self.state().slots.get(&kind)?.item.clone()
    }

    /// The running fetch of an item, or a new one; `None` while it is not to be tried again.
    fn join_flight(self: Arc<Self>, kind: ItemKind) -> Result<Option<Flight>, Failure> {
        let wall = self.parts.time.wall();
        let mut state = self.state();
        if !state.slots.contains_key(&kind) && state.slots.len() >= FAMILIES_MAX {
            return Err(slot::too_many_families(kind));
        }
        let slot = state.slots.entry(kind).or_default();
        if let Some(flight) = &slot.flight {
            return Ok(Some(flight.clone()));
        }
        if wall < slot.try_at && slot.last_error.is_some() {
            return Ok(None);
        }
        let flight = arrival::fetch(Arc::clone(&self), kind).boxed().shared();
        slot.flight = Some(flight.clone());
        // The reconciler sees it to its end when whoever asked first went away.
        self.due.notify_one();
        Ok(Some(flight))
    }

    /// The bundle of items that are all here; the same one until an item is replaced, so that
    /// the verifier's remembered verdicts stay good.
    fn assemble(&self, fmspc: [u8; 6], ca: PckCa) -> Result<CollateralBundle, Failure> {
        let mut state = self.state();
        if let Some(bundle) = state.bundles.get(&(fmspc, ca)) {
            return Ok(bundle.clone());
        }
        let [root_crl, qe_identity, pck_crl, tcb_info] = kinds(fmspc, ca).map(|kind| {
            let slot = state.slots.get(&kind);
            slot.and_then(|slot| slot.item.clone())
                .ok_or_else(|| slot::unavailable(kind, slot))
        });
        let (root_crl, qe_identity) = (root_crl?, qe_identity?);
        let (pck_crl, tcb_info) = (pck_crl?, tcb_info?);
        let bundle = CollateralBundle::from_items(BundleItems {
            tcb_info: tcb_info.as_ref(),
            qe_identity: qe_identity.as_ref(),
            pck_crl: pck_crl.as_ref(),
            root_crl: root_crl.as_ref(),
        })?;
        state.bundles.insert((fmspc, ca), bundle.clone());
        Ok(bundle)
    }

    fn missing(&self, kind: ItemKind) -> Failure {
        slot::unavailable(kind, self.state().slots.get(&kind))
    }

    fn due_at(&self, wall: Timestamp, root: bool) -> Vec<ItemKind> {
        let state = self.state();
        let due = state
            .slots
            .iter()
            .filter(|(kind, slot)| (**kind == ItemKind::RootCrl) == root && slot.try_at <= wall);
        due.map(|(kind, _)| *kind).collect()
    }

    fn next_due(&self) -> Timestamp {
        let state = self.state();
        state
            .slots
            .values()
            .map(|slot| slot.try_at)
            .min()
            .unwrap_or(Timestamp::FAR_FUTURE)
    }

    fn warn_of_expiry(&self, wall: Timestamp) {
        for (kind, slot) in &mut self.state().slots {
            if let Some(days) = slot.expiry_to_warn_of(wall) {
                let error = slot.last_error.as_ref().map(slot::text).unwrap_or_default();
                tracing::warn!(item = %kind, days, error, "collateral expires soon");
            }
        }
    }
}

/// What a quote of this family and authority takes, in the order in which it is fetched.
fn kinds(fmspc: [u8; 6], ca: PckCa) -> [ItemKind; 4] {
    [
        ItemKind::RootCrl,
        ItemKind::QeIdentity,
        ItemKind::PckCrl { ca },
        ItemKind::TcbInfo { fmspc },
    ]
}
