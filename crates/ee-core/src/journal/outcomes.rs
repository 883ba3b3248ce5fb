//! How outcomes are written: their number (u16, from 100 on: below are the refusals), then their
//! fields in the order of their struct.

use super::canonical::{canonical_choice, canonical_struct};
use crate::books::outcome::{
    Balance, Filed, ItemResult, Locked, Moved, NodeRegistered, NodeSettlement, Outcome, Released,
    Renewed, RenewedLock, Ticked, UsageReported,
};

canonical_struct! {
    Balance { account, available, posted, locked, held }
    Moved { transfer, balances }
    Locked { lock, amount, price, expires_at, balances }
    Renewed { locks, short, runway_periods }
    RenewedLock { node, lock, is_new }
    Released { returned, balances }
    UsageReported { usage, lock, charge, state, balances }
    NodeRegistered { is_new, stake }
    Filed { id, state, moved }
    NodeSettlement {
        node,
        period,
        verdict,
        reasons,
        state,
        settled,
        failed,
        posted,
        returned,
        pending_abuse,
    }
    Ticked { judged, resolved, expired, released, more }
}

canonical_choice! { ItemResult, u8, "the result of an item" {
    0 => Moved(id),
    1 => Refused(refusal),
    2 => ChainBroken,
}}

canonical_choice! { Outcome, u16, "an outcome" {
    100 => Recorded,
    101 => Moved(fields),
    102 => Batch(fields),
    103 => Locked(fields),
    104 => Renewed(fields),
    105 => Released(fields),
    106 => PayerBound,
    107 => UsageReported(fields),
    113 => EpochOver,
    108 => NodeRegistered(fields),
    109 => Filed(fields),
    110 => Finalized(fields),
    111 => Ticked(fields),
}}
