//! Fetching an item and deciding whether it may take its place.

use std::sync::Arc;

use ee_attest::collateral::{CollateralItem, ItemKind};
use ee_core::attestation::{AttestationCode, Failure};
use ee_protocol::time::Timestamp;
use ee_store::CollateralMark;

use super::{
    Inner, State, disk,
    slot::{self, Missing},
};
use crate::ports::{CollateralError, FetchedItem, Turn, on_pool};

/// Asks the endpoints in order until one gives an item that may be used; ends its own flight.
pub(super) async fn fetch(inner: Arc<Inner>, kind: ItemKind) {
    let outcome = from_endpoints(&inner, kind).await;
    let wall = inner.parts.time.wall();
    let mut state = inner.state();
    let slot = state.slots.entry(kind).or_default();
    slot.flight = None;
    if let Err(missing) = outcome {
        let error = slot::text(&missing.error);
        tracing::warn!(item = %kind, error, "collateral not refreshed");
        slot.failed(missing, wall);
    }
}

async fn from_endpoints(inner: &Inner, kind: ItemKind) -> Result<(), Missing> {
    let source = &inner.parts.source;
    let key = slot::key(kind);
    let none = "no endpoint is configured";
    let mut error = slot::failure(AttestationCode::CollateralUnavailable, kind, none);
    let mut answered = false;
    for (index, endpoint) in source.endpoints().iter().enumerate() {
        let refused = match source.fetch(index, &key).await {
            Ok(fetched) => {
                answered = true;
                let date = fetched.date;
                match accept(inner, kind, fetched, Keep::OnDisk).await {
                    Ok(()) => {
                        confirm_clock(inner, date).await;
                        return Ok(());
                    }
                    Err(refused) => located(refused, kind, endpoint),
                }
            }
            Err(failed) => {
                answered |= failed == CollateralError::NotFound;
                let actual = format!("{endpoint}: {failed}");
                slot::failure(AttestationCode::CollateralUnavailable, kind, &actual)
            }
        };
        // What an endpoint sent says more than that another was silent.
        let silent = refused.code == AttestationCode::CollateralUnavailable;
        if !silent || error.code == AttestationCode::CollateralUnavailable {
            error = refused;
        }
    }
    let silent = !answered;
    Err(Missing { error, silent })
}

/// The date of an answer whose content was genuine confirms our clock.
async fn confirm_clock(inner: &Inner, date: Option<Timestamp>) {
    let Some(date) = date else {
        return;
    };
    if let Err(error) = inner.parts.time.confirm(date).await {
        tracing::error!(%error, "confirmed time not kept");
    }
}

/// Whether an accepted item is written to disk, or was just read from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    OnDisk,
    InMemory,
}

/// Verifies an item and puts it in its place, unless an older one must stay there.
pub(super) async fn accept(
    inner: &Inner,
    kind: ItemKind,
    fetched: FetchedItem,
    keep: Keep,
) -> Result<(), Failure> {
    let item = Arc::new(verify(inner, kind, fetched).await?);
    let mark = CollateralMark {
        item: kind.to_string(),
        number: item.number(),
        issued_at: item.issued_at(),
    };
    refuse_rollback(&inner.state(), &item, &mark)?;
    let unkept =
        |actual: String| slot::failure(AttestationCode::CollateralUnavailable, kind, &actual);
    let raised = inner.parts.store.raise_collateral_mark(mark.clone()).await;
    raised.map_err(|error| unkept(format!("its number was not kept: {error}")))?;
    if keep == Keep::OnDisk {
        disk::write(inner, Arc::clone(&item)).await;
    }
    inner.parts.time.raise_floor(item.issued_at());
    inner.install(item, mark)
}

async fn verify(
    inner: &Inner,
    kind: ItemKind,
    fetched: FetchedItem,
) -> Result<CollateralItem, Failure> {
    let now = inner.parts.time.now()?;
    let root = inner.parts.verifiers[0].root().clone();
    let root_crl = inner.item(ItemKind::RootCrl);
    let verified = on_pool(inner.parts.offload.as_ref(), Turn::Serving, move || {
        let chain = fetched.issuer_chain_pem.as_deref();
        CollateralItem::verify(&root, kind, &fetched.body, chain, root_crl.as_deref(), now)
    });
    verified.await.unwrap_or_else(|| {
        Err(slot::failure(
            AttestationCode::CollateralUnavailable,
            kind,
            "the server is stopping",
        ))
    })
}

/// Numbers and dates of issue never go down, or a mirror could bring back withdrawn levels.
fn refuse_rollback(
    state: &State,
    item: &CollateralItem,
    mark: &CollateralMark,
) -> Result<(), Failure> {
    let Some(reached) = state.marks.get(&mark.item) else {
        return Ok(());
    };
    if mark.number >= reached.number && mark.issued_at >= reached.issued_at {
        return Ok(());
    }
    let actual = format!(
        "rolled back: number {} of {}, {} of {} was accepted before",
        mark.number, mark.issued_at, reached.number, reached.issued_at
    );
    Err(slot::failure(
        AttestationCode::CollateralInvalid,
        item.kind(),
        &actual,
    ))
}

impl Inner {
    /// Puts an accepted item in its place and drops what rested on the one before.
    fn install(&self, item: Arc<CollateralItem>, mark: CollateralMark) -> Result<(), Failure> {
        let wall = self.parts.time.wall();
        let kind = item.kind();
        let mut state = self.state();
        // Another arrival may have been faster since the check.
        refuse_rollback(&state, &item, &mark)?;
        state.marks.insert(mark.item.clone(), mark);
        let slot = state.slots.entry(kind).or_default();
        let same = slot
            .item
            .as_ref()
            .is_some_and(|held| held.body() == item.body());
        slot.accepted(item, wall, &self.parts.seed);
        if same {
            return Ok(());
        }
        let (dropped, kept) = std::mem::take(&mut state.bundles)
            .into_iter()
            .partition(|((fmspc, ca), _)| super::kinds(*fmspc, *ca).contains(&kind));
        state.bundles = kept;
        drop(state);
        let dropped: std::collections::BTreeMap<_, _> = dropped;
        for bundle in dropped.values() {
            self.parts
                .verifiers
                .iter()
                .for_each(|verifier| verifier.forget(bundle));
        }
        self.due.notify_one();
        Ok(())
    }
}

/// Adds where a refused item came from.
fn located(mut refused: Failure, kind: ItemKind, endpoint: &str) -> Failure {
    match refused.refusals.first_mut() {
        Some(row) => row.actual = format!("{endpoint}: {}", row.actual),
        None => refused = slot::failure(refused.code, kind, endpoint),
    }
    refused
}
