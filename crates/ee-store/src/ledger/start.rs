//! What a start reads: what the books hold in memory, and of what only grows no more than may still
//! be judged.

use std::{collections::BTreeMap, time::Duration};

use ee_core::books::{
    AccountNo, Rows, Seq,
    rows::{
        AbuseRow, AccountKind, AccountRow, FactRow, LockState, PolicyRow, SettlementRow,
        SettlementState, SlashRow,
    },
};
use ee_protocol::{period::PERIOD_MAX_MS, time::Timestamp};

use super::{
    Behind, Cell, LedgerStore,
    behind::current,
    rows::{field::Field, stored::Stored},
    walk::{Walk, all, each, rows},
};
use crate::error::StoreError;

/// Books that go on.
#[derive(Debug)]
pub struct Loaded {
    /// What they hold in memory.
    pub rows: Rows,
    /// Which account rows lag.
    pub behind: Behind,
}

/// What the books hold in memory, as of the last commit. What is over is not read: a start does
/// not get slower as history grows.
///
/// # Errors
/// When the store cannot be read, or holds what no server wrote.
pub async fn load<S: LedgerStore>(store: &S) -> Result<Loaded, StoreError> {
    let head = store.head().await?;
    let policies: Vec<PolicyRow> = all(store).await?;
    let recent = recent(&policies, head.at);
    let recent_ms = recent.unix_micros().div_euclid(1_000);
    let (accounts, behind) = current(store, Seq(head.seq)).await?;
    let rows = Rows {
        seq: Seq(head.seq),
        at: head.at,
        accounts,
        meters: beyond(
            store,
            &["end_ms", "node", "start_ms", "account"],
            recent_ms - 1,
        )
        .await?,
        locks: open(store, LockState::Open.number()).await?,
        payers: all(store).await?,
        policies,
        nodes: all(store).await?,
        prices: all(store).await?,
        facts: facts(store, recent).await?,
        observers: all(store).await?,
        settlements: settlements(store, recent_ms).await?,
        abuse: kept(store, |report: &AbuseRow| {
            let decided = report.decision.as_ref().map(|decision| decision.at);
            decided.is_none_or(|at| at >= recent)
        })
        .await?,
        slashes: kept(store, |slash: &SlashRow| slash.decision.is_none()).await?,
        unbondings: beyond(store, &["amount", "no"], 0).await?,
        holds: beyond(store, &["amount", "node", "start_ms", "end_ms"], 0).await?,
        claims: beyond(store, &["amount", "no"], 0).await?,
    };
    covered(&rows)?;
    Ok(Loaded { rows, behind })
}

/// No account holds less than its open locks set aside: what they do is summed from them alone.
fn covered(rows: &Rows) -> Result<(), StoreError> {
    let mut pending: BTreeMap<AccountNo, i128> = BTreeMap::new();
    for lock in &rows.locks {
        *pending.entry(lock.meter.account).or_default() += i128::from(lock.amount.micros());
        pending.entry(lock.meter.node).or_default();
    }
    for (no, pending) in pending {
        let place = rows.accounts.binary_search_by_key(&no, |row| row.no);
        let row = place.ok().map(|place| &rows.accounts[place]);
        let covers = |row: &AccountRow| {
            row.kind == AccountKind::Contra || i128::from(row.posted.micros()) >= pending
        };
        if !row.is_some_and(covers) {
            let what = format!("account {} holds less than its open locks set aside", no.0);
            return Err(StoreError::Corrupt(what));
        }
    }
    Ok(())
}

/// Facts that still hold, and those that ended lately.
async fn facts<S: LedgerStore>(store: &S, recent: Timestamp) -> Result<Vec<FactRow>, StoreError> {
    let lasting = Walk {
        equals: vec![("until_us", Cell::Null)],
        ..Walk::by_key::<FactRow>()
    };
    let mut facts = rows(store, lasting).await?;
    let ended = beyond(store, &["until_us", "no"], recent.unix_micros() - 1);
    facts.extend(ended.await?);
    Ok(facts)
}

/// Settlements under way, however old, and those of periods that ended lately.
async fn settlements<S: LedgerStore>(
    store: &S,
    recent_ms: i64,
) -> Result<Vec<SettlementRow>, StoreError> {
    let is_recent = |row: &SettlementRow| row.key.period.end_ms() >= recent_ms;
    let mut found: Vec<SettlementRow> = open(store, SettlementState::Settling.number()).await?;
    found.retain(|row| !is_recent(row));
    // No period is longer, so none that ended lately began before.
    let began = recent_ms - PERIOD_MAX_MS - 1;
    let lately = beyond(store, &["start_ms", "end_ms", "node"], began);
    found.extend(lately.await?.into_iter().filter(is_recent));
    Ok(found)
}

/// Whatever ended before this concerns no period that may still be judged: the longest period, and
/// the longest time that any policy gave for its settlement.
fn recent(policies: &[PolicyRow], now: Timestamp) -> Timestamp {
    let deadlines = policies.iter().map(|row| row.policy.settlement_deadline_s);
    let deadline = Duration::from_secs(deadlines.max().unwrap_or(0).into());
    let longest = Duration::from_millis(PERIOD_MAX_MS.unsigned_abs());
    now.before(deadline + longest)
}

async fn kept<S: LedgerStore, T: Stored>(
    store: &S,
    keep: impl Fn(&T) -> bool,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    let take = |row| {
        if keep(&row) {
            found.push(row);
        }
    };
    each(store, take).await?;
    Ok(found)
}

/// Rows in this state, which a partial index serves.
async fn open<S: LedgerStore, T: Stored>(store: &S, state: u8) -> Result<Vec<T>, StoreError> {
    let walk = Walk {
        equals: vec![("state", state.to_cell())],
        ..Walk::by_key::<T>()
    };
    rows(store, walk).await
}

/// Rows whose first column of `order` is above `least`.
async fn beyond<S: LedgerStore, T: Stored>(
    store: &S,
    order: &'static [&'static str],
    least: i64,
) -> Result<Vec<T>, StoreError> {
    let others = order.iter().skip(1).map(|_| i64::MAX);
    let after = std::iter::once(least).chain(others).map(Cell::Int);
    let walk = Walk {
        equals: Vec::new(),
        order,
        after: Some(after.collect()),
    };
    rows(store, walk).await
}
