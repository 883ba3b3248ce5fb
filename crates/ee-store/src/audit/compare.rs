//! A table beside what it must be, row by row and cell by cell.

use std::cmp::Ordering;

use super::{Check, Report};
use crate::{
    error::StoreError,
    ledger::{Cell, Direction, LedgerStore, MemoryLedger, Page, Row, Table, books::key_order},
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
    for missing in expected {
        report.add(
            check,
            format!("{} lacks {}", table.name, named(table, &missing)),
        );
    }
    Ok(())
}

fn one(
    table: &Table,
    check: Check,
    found: Row,
    expected: &mut std::iter::Peekable<std::vec::IntoIter<Row>>,
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
