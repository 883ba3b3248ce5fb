//! Stage 7, collateral: what Intel says about platforms, and when it counts.
//!
//! Two forms: an *item* as one endpoint answers it, verified on arrival, so that a bad mirror
//! never evicts a good item; and a *bundle* of four items as a verification needs it. Windows
//! are half-open and cover every date: an item that says `nextUpdate` is expired at that second.

mod bundle;
mod checks;
mod item;
mod signed_text;

pub use bundle::{BundleItems, CollateralBundle};
pub use item::{CollateralItem, ItemKind};

use ee_core::attestation::{AttestationCode as Code, Failure};
use ee_protocol::{refusal::Refusal, time::Timestamp};

use crate::window::Window;

/// Bytes of a bundle that an agent sends (ATTESTATION 11): Intel's have 21 KiB.
pub const AGENT_COLLATERAL_BYTES_MAX: usize = 128 * 1024;
/// Bytes of one item (ATTESTATION 11); endpoints answer with 15 KiB.
pub const ITEM_BYTES_MAX: usize = 1024 * 1024;

/// A piece of collateral that cannot be used, and why.
pub(crate) fn invalid(item: &str, actual: impl Into<String>) -> Failure {
    let code = Code::CollateralInvalid;
    Failure::new(code).explained(
        Refusal::new(
            code.as_str(),
            format!("collateral: {item}"),
            "Nothing to do for the agent: the control plane asks its next collateral endpoint.",
        )
        .compared("signed by the trust root's PKI and complete", actual),
    )
}

/// Refuses items that do not count yet or no longer; the first one speaks.
pub(crate) fn check_dates<'a>(
    dates: impl IntoIterator<Item = (&'a str, Window)>,
    now: Timestamp,
) -> Result<(), Failure> {
    let mut expired = None;
    for (item, window) in dates {
        if now < window.from {
            return Err(outside(Code::CollateralNotYetValid, item, window, now));
        }
        if now >= window.until && expired.is_none() {
            expired = Some(outside(Code::CollateralExpired, item, window, now));
        }
    }
    expired.map_or(Ok(()), Err)
}

fn outside(code: Code, item: &str, window: Window, now: Timestamp) -> Failure {
    Failure::new(code).explained(
        Refusal::new(
            code.as_str(),
            format!("collateral: {item}"),
            "No action needed on the agent: the control plane fetches newer collateral and asks \
             again.",
        )
        .compared(
            format!("a time from {} until before {}", window.from, window.until),
            now.rfc3339_seconds(),
        ),
    )
}
