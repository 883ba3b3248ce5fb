//! Rows that a command needs and memory does not have: read by key, all of a batch at once.

use std::collections::BTreeSet;

use ee_core::books::{
    AccountNo, EntryNo, Known, Need,
    known::RequestKey,
    rows::{AbuseRow, AccountRow, ClientRow, MeterRow, RequestRow, SettlementKey, SettlementRow},
};
use ee_protocol::{
    account::AccountId,
    period::{PERIOD_MAX_MS, Period},
    time::Timestamp,
};

use super::{
    Cell, LedgerStore, Lookup, Table,
    rows::{field::Field, stored::Stored, tables::*},
    walk::{Walk, walk},
};
use crate::error::StoreError;

/// The rows that commands need and memory does not have.
///
/// # Errors
/// When the store cannot be read, or holds what no server wrote.
pub async fn fetch<S: LedgerStore>(
    store: &S,
    needs: impl IntoIterator<Item = Need>,
) -> Result<Known, StoreError> {
    let needs: BTreeSet<Need> = needs.into_iter().collect();
    let mut known = Known::default();
    if needs.is_empty() {
        return Ok(known);
    }
    let wanted: Vec<Lookup> = needs.iter().map(lookup).collect();
    let answers = store.lookup(wanted).await?;
    for (need, rows) in needs.into_iter().zip(answers) {
        let Some(row) = rows.into_iter().next() else {
            continue;
        };
        match need {
            Need::Request(key) => {
                known.requests.insert(key, RequestRow::from_row(row)?);
            }
            Need::Client(key) => {
                known.clients.insert(key, ClientRow::from_row(row)?);
            }
            Need::Lock(no) => {
                known.locks.insert(no, Stored::from_row(row)?);
            }
            Need::Settlement(_, period) => {
                let node = AccountRow::from_row(row)?.no;
                add_settlement(store, SettlementKey { node, period }, &mut known).await?;
            }
            Need::Report(no) => {
                let report = AbuseRow::from_row(row)?;
                add_periods(store, &report, &mut known).await?;
                known.reports.insert(no, report);
            }
            Need::Slash(no) => {
                known.slashes.insert(no, Stored::from_row(row)?);
            }
        }
    }
    Ok(known)
}

fn lookup(need: &Need) -> Lookup {
    match need {
        Need::Request(key) => request_lookup(key),
        Need::Client(key) => {
            let (form, scope, node, id) = client_parts(key);
            Lookup {
                table: &CLIENT,
                columns: &["form", "scope", "node", "id"],
                values: vec![
                    form.to_cell(),
                    Cell::Text(scope),
                    Cell::Text(node),
                    id.to_cell(),
                ],
            }
        }
        Need::Lock(no) => by_number(&LOCK, *no),
        Need::Settlement(node, _) => by_name(node),
        Need::Report(no) => by_number(&ABUSE, *no),
        Need::Slash(no) => by_number(&SLASH, *no),
    }
}

fn request_lookup(key: &RequestKey) -> Lookup {
    Lookup {
        table: &REQUEST,
        columns: &["principal", "route", "key"],
        values: vec![
            key.principal.to_cell(),
            key.route.to_cell(),
            key.key.to_cell(),
        ],
    }
}

fn by_number(table: &'static Table, no: EntryNo) -> Lookup {
    Lookup {
        table,
        columns: &["no"],
        values: vec![no.to_cell()],
    }
}

fn by_name(id: &AccountId) -> Lookup {
    Lookup {
        table: &ACCOUNT,
        columns: &["name"],
        values: vec![id.to_cell()],
    }
}

async fn add_settlement<S: LedgerStore>(
    store: &S,
    key: SettlementKey,
    known: &mut Known,
) -> Result<(), StoreError> {
    let wanted = Lookup {
        table: &SETTLEMENT,
        columns: &["node", "start_ms", "end_ms"],
        values: vec![
            key.node.to_cell(),
            key.period.start_ms().to_cell(),
            key.period.end_ms().to_cell(),
        ],
    };
    for row in store.lookup(vec![wanted]).await?.into_iter().flatten() {
        known.settlements.insert(key, SettlementRow::from_row(row)?);
    }
    Ok(())
}

/// The settlements and meters that an abuse report may take back: those of periods that it
/// touches, however many the node has.
async fn add_periods<S: LedgerStore>(
    store: &S,
    report: &AbuseRow,
    known: &mut Known,
) -> Result<(), StoreError> {
    let until = report.until.unwrap_or(Timestamp::FAR_FUTURE);
    let began = |period: Period| period.start() < until;
    let touches = |period: Period| period.end() > report.from && began(period);
    let settlements = of_node(report, &["start_ms", "end_ms"]);
    walk(store, settlements, |row: SettlementRow| {
        let period = row.key.period;
        if touches(period) {
            known.settlements.insert(row.key, row);
        }
        began(period)
    })
    .await?;
    let meters = of_node(report, &["start_ms", "end_ms", "account"]);
    walk(store, meters, |row: MeterRow| {
        let (node, period): (AccountNo, _) = (row.key.node, row.key.period);
        if touches(period) {
            known.meters.or_default((node, period)).push(row);
        }
        began(period)
    })
    .await
}

/// Rows of the node from the first period that may touch the report.
fn of_node(report: &AbuseRow, order: &'static [&'static str]) -> Walk {
    let from_ms = report.from.unix_micros().div_euclid(1_000);
    let first = from_ms.saturating_sub(PERIOD_MAX_MS + 1);
    let others = order.iter().skip(1).map(|_| i64::MAX);
    let after = std::iter::once(first).chain(others).map(Cell::Int);
    Walk {
        equals: vec![("node", report.node.to_cell())],
        order,
        after: Some(after.collect()),
    }
}
