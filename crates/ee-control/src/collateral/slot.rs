//! One item's place: what is there, when it is tried again, what to say when it is missing.

use std::{sync::Arc, time::Duration};

use ee_attest::{
    collateral::{CollateralItem, ItemKind},
    quote::PckCa,
};
use ee_core::attestation::{AttestationCode, Failure};
use ee_protocol::{refusal::Refusal, report_data::sha256, time::Timestamp};

use super::Flight;
use crate::ports::{self, CollateralKey};

/// Items are refreshed at least this often (ATTESTATION 6).
const REFRESH_AT_MOST: Duration = Duration::from_secs(24 * 3_600);
/// And not more often than this, however short the rest of their life is.
const REFRESH_AT_LEAST: Duration = Duration::from_secs(60);
/// Pause after the first failure; doubles from there.
const BACKOFF_FIRST: Duration = Duration::from_secs(5);
/// The longest pause (ATTESTATION 6).
const BACKOFF_MAX: Duration = Duration::from_secs(15 * 60);
/// Days before expiry at which a warning is logged, once each (ATTESTATION 6).
const WARN_DAYS: [u32; 3] = [1, 3, 7];
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Why no endpoint gave a usable item.
pub(super) struct Missing {
    pub(super) error: Failure,
    /// None answered: an outage, while an answer that does not help is not.
    pub(super) silent: bool,
}

/// One item's place.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) item: Option<Arc<CollateralItem>>,
    /// When an endpoint is asked next; at once for a new slot.
    pub(super) try_at: Timestamp,
    pub(super) last_error: Option<Failure>,
    pub(super) flight: Option<Flight>,
    failures: u32,
    /// No endpoint answered at all.
    pub(super) silent: bool,
    /// The smallest number of days warned of for this item.
    warned_days: Option<u32>,
}

impl Slot {
    /// An item arrived, or the one that is here was confirmed.
    pub(super) fn accepted(&mut self, item: Arc<CollateralItem>, wall: Timestamp, seed: &[u8]) {
        let rest = item.window().until.since(wall) / 2;
        let pause = rest.clamp(REFRESH_AT_LEAST, REFRESH_AT_MOST);
        let kind = item.kind().to_string();
        self.try_at = wall.after(jittered(pause, &kind, wall, seed));
        self.failures = 0;
        self.silent = false;
        self.last_error = None;
        self.warned_days = None;
        self.item = Some(item);
    }

    /// No endpoint gave a usable item.
    pub(super) fn failed(&mut self, Missing { error, silent }: Missing, wall: Timestamp) {
        let doublings = self.failures.min(16);
        self.failures += 1;
        let pause = BACKOFF_FIRST
            .saturating_mul(1 << doublings)
            .min(BACKOFF_MAX);
        self.try_at = wall.after(pause);
        self.last_error = Some(error);
        self.silent = silent;
    }

    /// The number of days to warn of now, if that was not done yet.
    pub(super) fn expiry_to_warn_of(&mut self, wall: Timestamp) -> Option<u32> {
        let left = self.item.as_ref()?.window().until.since(wall);
        let days = WARN_DAYS.into_iter().find(|days| left < DAY * *days)?;
        let news = self.warned_days.is_none_or(|warned| days < warned);
        self.warned_days = Some(days);
        news.then_some(days)
    }
}

/// `pause` +-10 %, so that a fleet of control planes does not ask in step. Drawn from the seed
/// by hashing: the draw needs no secrecy, only spread.
fn jittered(pause: Duration, kind: &str, wall: Timestamp, seed: &[u8]) -> Duration {
    let draw = sha256(&[seed, kind.as_bytes(), &wall.unix_micros().to_be_bytes()].concat());
    let permille = 900 + u32::from(u16::from_be_bytes([draw[0], draw[1]])) % 201;
    pause * permille / 1_000
}

/// What to say when an item is not here or counts no more.
pub(super) fn unavailable(kind: ItemKind, slot: Option<&Slot>) -> Failure {
    let error = slot.and_then(|slot| slot.last_error.as_ref());
    let next = slot.map_or(Timestamp::EPOCH, |slot| slot.try_at);
    let expired = slot
        .and_then(|slot| slot.item.as_ref())
        .map(|item| item.window().until);
    let (code, state) = match (expired, error) {
        (Some(until), _) => (
            AttestationCode::CollateralExpired,
            format!("{kind} counted until {until}"),
        ),
        (None, Some(error)) => (error.code, format!("no {kind}")),
        (None, None) => (AttestationCode::CollateralUnavailable, format!("no {kind}")),
    };
    let why = error.map(text).unwrap_or_default();
    failure(code, kind, &format!("{state}; {why}; next try {next}"))
}

/// There is no room for another family.
pub(super) fn too_many_families(kind: ItemKind) -> Failure {
    failure(
        AttestationCode::CollateralUnavailable,
        kind,
        "too many platform families at once",
    )
}

/// A failure of an item on arrival or on the way.
pub(super) fn failure(code: AttestationCode, kind: ItemKind, actual: &str) -> Failure {
    let hint = "no action needed on the agent: it is asked again; the operator checks \
                EE_PCCS_URL if this lasts";
    let row = Refusal::new(code.as_str(), format!("collateral: {kind}"), hint)
        .compared("a current item from a collateral endpoint", actual);
    Failure::new(code).explained(row)
}

/// A failure in one line.
pub(super) fn text(failure: &Failure) -> String {
    match failure.refusals.first() {
        Some(row) if !row.actual.is_empty() => format!("{}: {}", failure.reason(), row.actual),
        Some(_) | None => failure.reason(),
    }
}

/// Reads an item's name.
pub(super) fn kind_named(name: &str) -> Option<ItemKind> {
    if let Some(digits) = name.strip_prefix("tcb-info-") {
        let mut fmspc = [0; 6];
        hex::decode_to_slice(digits, &mut fmspc).ok()?;
        return Some(ItemKind::TcbInfo { fmspc });
    }
    [
        ItemKind::QeIdentity,
        ItemKind::RootCrl,
        ItemKind::PckCrl {
            ca: PckCa::Platform,
        },
        ItemKind::PckCrl {
            ca: PckCa::Processor,
        },
    ]
    .into_iter()
    .find(|kind| kind.to_string() == name)
}

/// The key an endpoint is asked with.
pub(super) fn key(kind: ItemKind) -> CollateralKey {
    match kind {
        ItemKind::TcbInfo { fmspc } => CollateralKey::TcbInfo { fmspc },
        ItemKind::QeIdentity => CollateralKey::QeIdentity,
        ItemKind::PckCrl {
            ca: PckCa::Platform,
        } => CollateralKey::PckCrl {
            ca: ports::PckCa::Platform,
        },
        ItemKind::PckCrl {
            ca: PckCa::Processor,
        } => CollateralKey::PckCrl {
            ca: ports::PckCa::Processor,
        },
        ItemKind::RootCrl => CollateralKey::RootCrl,
    }
}
