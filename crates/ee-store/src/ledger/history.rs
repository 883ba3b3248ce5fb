//! What lies in the tables of the books, page by page, for those who ask: entries, locks, usage,
//! verdicts, facts, reports.
//!
//! Everything here reads committed rows and nothing waits for the writer's queue. Lists go from the
//! newest row to the oldest unless said otherwise; a page begins behind the row that the last one
//! ended with.

use ee_core::books::{
    AccountNo, EntryNo, NodeNo,
    rows::{
        AbuseRow, FactRow, LockRow, LockState, SettlementKey, SettlementRow, SlashRow, TransferRow,
        UsageRow,
    },
};
use ee_protocol::{period::Period, time::Timestamp};

use super::{
    Cell, Direction, LedgerStore, Lookup, Page, Trail,
    rows::{field::Field, stored::Stored},
};
use crate::error::StoreError;

/// Facts of one node that are looked through for the evidence of a period: facts are changes only,
/// so a month of a node that loses its line every hour is far below.
const FACTS_MAX: u32 = 10_000;

/// The transfers of an account from this one back. What the account does not stand in is not its
/// history.
pub async fn transfers(
    ledger: &impl LedgerStore,
    account: AccountNo,
    from: EntryNo,
    limit: u32,
) -> Result<Vec<TransferRow>, StoreError> {
    typed(ledger.trail(Trail::of(account, from, limit)).await?)
}

/// One transfer.
pub async fn transfer(
    ledger: &impl LedgerStore,
    no: EntryNo,
) -> Result<Option<TransferRow>, StoreError> {
    by_number(ledger, no).await
}

/// Which locks are asked for; what is not named is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LockFilter {
    /// Who pays.
    pub account: Option<AccountNo>,
    /// Who works.
    pub node: Option<NodeNo>,
    /// What became of them.
    pub state: Option<LockState>,
}

/// Locks that fit a filter.
pub async fn locks(
    ledger: &impl LedgerStore,
    filter: LockFilter,
    before: Option<EntryNo>,
    limit: u32,
) -> Result<Vec<LockRow>, StoreError> {
    let LockFilter {
        account,
        node,
        state,
    } = filter;
    let equals = [
        account.map(|account| ("account", account.to_cell())),
        node.map(|node| ("node", node.to_cell())),
        state.map(|state| ("state", state.to_cell())),
    ];
    newest(
        ledger,
        equals.into_iter().flatten().collect(),
        before,
        limit,
    )
    .await
}

/// One lock, open or resolved.
pub async fn lock(ledger: &impl LedgerStore, no: EntryNo) -> Result<Option<LockRow>, StoreError> {
    by_number(ledger, no).await
}

/// Reports of usage that an account pays for.
pub async fn usage(
    ledger: &impl LedgerStore,
    account: AccountNo,
    before: Option<EntryNo>,
    limit: u32,
) -> Result<Vec<UsageRow>, StoreError> {
    let equals = vec![("account", account.to_cell())];
    newest(ledger, equals, before, limit).await
}

/// Verdicts of a period, in the order of the nodes' numbers.
pub async fn settlements(
    ledger: &impl LedgerStore,
    period: Period,
    after: Option<NodeNo>,
    limit: u32,
) -> Result<Vec<SettlementRow>, StoreError> {
    let page = Page {
        table: SettlementRow::TABLE,
        equals: bounds(period),
        order: &["node"],
        after: after.map(|node| vec![node.to_cell()]),
        direction: Direction::Ascending,
        limit,
    };
    typed(ledger.page(page).await?)
}

/// Verdicts on a node, the latest period first.
pub async fn settlements_of(
    ledger: &impl LedgerStore,
    node: NodeNo,
    before: Option<Period>,
    limit: u32,
) -> Result<Vec<SettlementRow>, StoreError> {
    let page = Page {
        table: SettlementRow::TABLE,
        equals: vec![("node", node.to_cell())],
        order: &["start_ms", "end_ms"],
        after: before.map(|period| bounds_of(period).map(|(_, cell)| cell).to_vec()),
        direction: Direction::Descending,
        limit,
    };
    typed(ledger.page(page).await?)
}

/// Verdicts on all nodes, the latest period first.
pub async fn latest_settlements(
    ledger: &impl LedgerStore,
    before: Option<SettlementKey>,
    limit: u32,
) -> Result<Vec<SettlementRow>, StoreError> {
    let after = before.map(|SettlementKey { node, period }| {
        let [(_, start), (_, end)] = bounds_of(period);
        vec![start, end, node.to_cell()]
    });
    let page = Page {
        table: SettlementRow::TABLE,
        equals: Vec::new(),
        order: &["start_ms", "end_ms", "node"],
        after,
        direction: Direction::Descending,
        limit,
    };
    typed(ledger.page(page).await?)
}

/// The verdict on one node and period.
pub async fn settlement(
    ledger: &impl LedgerStore,
    key: SettlementKey,
) -> Result<Option<SettlementRow>, StoreError> {
    let [(_, start), (_, end)] = bounds_of(key.period);
    let lookup = Lookup {
        table: SettlementRow::TABLE,
        columns: &["node", "start_ms", "end_ms"],
        values: vec![key.node.to_cell(), start, end],
    };
    one(ledger, lookup).await
}

/// Facts about a node that touch a span, in the order in which they were written.
pub async fn facts(
    ledger: &impl LedgerStore,
    node: NodeNo,
    from: Timestamp,
    until: Timestamp,
) -> Result<Vec<FactRow>, StoreError> {
    let equals = vec![("node", Some(node).to_cell())];
    let mut facts: Vec<FactRow> = newest(ledger, equals, None, FACTS_MAX).await?;
    facts.retain(|fact| fact.from < until && fact.until.is_none_or(|end| end >= from));
    facts.reverse();
    Ok(facts)
}

/// Reports of abuse.
pub async fn abuse_reports(
    ledger: &impl LedgerStore,
    before: Option<EntryNo>,
    limit: u32,
) -> Result<Vec<AbuseRow>, StoreError> {
    newest(ledger, Vec::new(), before, limit).await
}

/// Slashes.
pub async fn slashes(
    ledger: &impl LedgerStore,
    before: Option<EntryNo>,
    limit: u32,
) -> Result<Vec<SlashRow>, StoreError> {
    newest(ledger, Vec::new(), before, limit).await
}

fn bounds(period: Period) -> Vec<(&'static str, Cell)> {
    bounds_of(period).to_vec()
}

fn bounds_of(period: Period) -> [(&'static str, Cell); 2] {
    [
        ("start_ms", period.start_ms().to_cell()),
        ("end_ms", period.end_ms().to_cell()),
    ]
}

/// A page of a table whose key is an [`EntryNo`], newest first.
async fn newest<T: Stored>(
    ledger: &impl LedgerStore,
    equals: Vec<(&'static str, Cell)>,
    before: Option<EntryNo>,
    limit: u32,
) -> Result<Vec<T>, StoreError> {
    let page = Page {
        table: T::TABLE,
        equals,
        order: &["no"],
        after: before.map(|no| vec![no.to_cell()]),
        direction: Direction::Descending,
        limit,
    };
    typed(ledger.page(page).await?)
}

async fn by_number<T: Stored>(
    ledger: &impl LedgerStore,
    no: EntryNo,
) -> Result<Option<T>, StoreError> {
    let lookup = Lookup {
        table: T::TABLE,
        columns: &["no"],
        values: vec![no.to_cell()],
    };
    one(ledger, lookup).await
}

async fn one<T: Stored>(
    ledger: &impl LedgerStore,
    lookup: Lookup,
) -> Result<Option<T>, StoreError> {
    let answers = ledger.lookup(vec![lookup]).await?;
    let rows: Vec<T> = typed(answers.into_iter().flatten().collect())?;
    Ok(rows.into_iter().next())
}

fn typed<T: Stored>(rows: Vec<super::Row>) -> Result<Vec<T>, StoreError> {
    rows.into_iter().map(T::from_row).collect()
}
