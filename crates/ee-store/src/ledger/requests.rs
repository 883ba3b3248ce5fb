//! What was answered under idempotency keys is remembered for thirty days (LEDGER 11), and then
//! forgotten: by a batch with a tick, the oldest first, some at a time.
//!
//! Which rows go follows from the rows and the batch's time alone, so a replay forgets the same.

use std::time::Duration;

use ee_core::books::{Policy, known::RequestKey, rows::RequestRow};
use ee_protocol::time::Timestamp;

use super::{
    Direction, LedgerStore, Page,
    rows::{stored::Stored, tables::REQUEST},
};
use crate::error::StoreError;

/// How long an answer is kept under its key (LEDGER 11).
pub const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);
/// Rows that one batch forgets: what a tick may do besides (LEDGER 8).
pub const FORGOTTEN_AT_ONCE: u32 = 2_000;
/// Books under older rules kept every key.
const RULES_THAT_FORGET: u16 = 2;

/// What a batch does to the requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    /// What it answered under keys.
    pub remembered: Vec<RequestRow>,
    /// Keys that it forgets. One that is in both is remembered anew.
    pub forgotten: Vec<RequestKey>,
}

/// Whether an answer of `then` still stands for its key.
pub fn is_remembered(then: Timestamp, now: Timestamp) -> bool {
    then.after(REMEMBERED) > now
}

/// The keys that a batch with a tick forgets, begun under `policy` at `now`.
///
/// # Errors
/// When the store cannot be read, or holds what no server wrote.
pub async fn forgettable<S: LedgerStore>(
    store: &S,
    policy: &Policy,
    now: Timestamp,
) -> Result<Vec<RequestKey>, StoreError> {
    if policy.rules < RULES_THAT_FORGET || !is_due(store, now).await? {
        return Ok(Vec::new());
    }
    let oldest = oldest(store, FORGOTTEN_AT_ONCE).await?.into_iter();
    // Numbers and times of answers rise together.
    let old = oldest.take_while(|row| !is_remembered(row.at, now));
    Ok(old.map(|row| row.key).collect())
}

/// Whether a tick would forget something.
///
/// # Errors
/// When the store cannot be read, or holds what no server wrote.
pub async fn is_due<S: LedgerStore>(store: &S, now: Timestamp) -> Result<bool, StoreError> {
    let first = oldest(store, 1).await?;
    Ok(first.iter().any(|row| !is_remembered(row.at, now)))
}

async fn oldest<S: LedgerStore>(store: &S, limit: u32) -> Result<Vec<RequestRow>, StoreError> {
    let page = Page {
        table: &REQUEST,
        equals: Vec::new(),
        order: &["seq"],
        after: None,
        direction: Direction::Ascending,
        limit,
    };
    let rows = store.page(page).await?.into_iter();
    rows.map(RequestRow::from_row).collect()
}
