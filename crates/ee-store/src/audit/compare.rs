//! A table beside what it must be, row by row and cell by cell.

use std::{cmp::Ordering, iter::Peekable, vec::IntoIter};

use ee_core::books::Seq;

use super::{Check, Report};
use crate::{
    error::StoreError,
    ledger::{
        Cell, Direction, LedgerStore, MemoryLedger, Page, Row, Table, behind, books::key_order,
        rows::stored::Stored, tables::ACCOUNT,
    },
};

/// Rows read at once.
const PAGE_ROWS: u32 = 10_000;
/// The journal's rows are large.
const PAGE_BATCHES: u32 = 32;

/// Compares a table of the store with the replayed one.
pub(super) async fn table<S: LedgerStore>(
    store: &S,
    archive: &MemoryLedger,
    (check, table): (Check, &'static Table),
    report: &mut Report,
) -> Result<(), StoreError> {
    let mut expected = archive.rows(table).into_iter().peekable();
    if *table == ACCOUNT {
        return accounts(store, check, expected, report).await;
    }
    let mut after: Option<Row> = None;
    let limit = match check {
        Check::Chain | Check::Backup => PAGE_BATCHES,
        Check::Balances
        | Check::Transfers
        | Check::Locks
        | Check::Verdicts
        | Check::Requests
        | Check::Facts
        | Check::Stake
        | Check::Replay => PAGE_ROWS,
    };
    loop {
        let rows = store
            .page(Page {
                table,
                equals: Vec::new(),
                order: key_order(table),
                after: after.take(),
                direction: Direction::Ascending,
                limit,
            })
            .await?;
        let more = rows.len() == limit as usize;
        after = rows.last().map(|row| table.key_of(row).to_vec());
        for row in rows {
            report.rows += 1;
            one(table, check, row, &mut expected, report);
        }
        if !more {
            break;
        }
    }
    absent(table, check, expected, report);
    Ok(())
}

/// Compares the accounts as a start makes them out of their rows and the transfers behind them.
async fn accounts<S: LedgerStore>(
    store: &S,
    check: Check,
    mut expected: Peekable<IntoIter<Row>>,
    report: &mut Report,
) -> Result<(), StoreError> {
    let head = store.head().await?;
    let rows = match behind::current(store, Seq(head.seq)).await {
        Ok((rows, _)) => rows,
        Err(StoreError::Corrupt(what)) => {
            report.add(check, format!("account: {what}"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for row in rows {
        report.rows += 1;
        one(&ACCOUNT, check, row.to_row(), &mut expected, report);
    }
    absent(&ACCOUNT, check, expected, report);
    Ok(())
}

fn absent(table: &Table, check: Check, expected: Peekable<IntoIter<Row>>, report: &mut Report) {
    for row in expected {
        let what = format!("{} lacks {}", table.name, named(table, &row));
        report.add(check, what);
    }
}

fn one(
    table: &Table,
    check: Check,
    found: Row,
    expected: &mut Peekable<IntoIter<Row>>,
    report: &mut Report,
) {
    let key = table.key_of(&found).to_vec();
    while let Some(next) = expected.peek() {
        match table.key_of(next).cmp(&key) {
            Ordering::Less => {
                report.add(
                    check,
                    format!("{} lacks {}", table.name, named(table, next)),
                );
                expected.next();
            }
            Ordering::Equal => {
                let next = expected.next().unwrap_or_default();
                return cells(table, check, &found, &next, report);
            }
            Ordering::Greater => break,
        }
    }
    let what = format!(
        "{} has {}, which no command made",
        table.name,
        named(table, &found)
    );
    report.add(check, what);
}

fn cells(table: &Table, check: Check, found: &[Cell], expected: &[Cell], report: &mut Report) {
    let row = named(table, expected);
    for (column, (found, expected)) in table.columns.iter().zip(found.iter().zip(expected)) {
        if found != expected {
            let (table, column) = (table.name, column.name);
            let what = format!("{table}: {column} of {row} is {found} and must be {expected}");
            report.add(check, what);
        }
    }
}

fn named(table: &Table, row: &[Cell]) -> String {
    let key = table.key_of(row).iter().map(Cell::to_string);
    key.collect::<Vec<_>>().join("/")
}
