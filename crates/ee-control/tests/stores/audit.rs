//! The audit: sound after any story, and no cell of any table can be changed unseen.

use ee_store::{
    audit::{Check, verify},
    ledger::{Cell, ColumnKind, Ledger, MemoryLedger, Row, TABLES, Table},
};

use super::{LEDGER, tell};

/// A story in which every kind of row is written, and how it was told.
const STORY: u64 = 1;

#[tokio::test]
async fn every_table_is_what_the_journal_makes_of_it() {
    let memory = MemoryLedger::new(LEDGER);
    tell(Ledger::Memory(memory.clone()), STORY, 50).await;
    let report = verify(&memory, &Check::ALL).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    assert!(report.records > 500 && report.rows > report.batches);
}

#[tokio::test]
async fn one_changed_cell_of_any_table_is_found_and_named() {
    let memory = MemoryLedger::new(LEDGER);
    tell(Ledger::Memory(memory.clone()), STORY, u64::MAX).await;
    let mut changed = 0;
    for (number, table) in TABLES.iter().enumerate() {
        let rows = memory.rows(table);
        let Some(row) = rows.get(number % rows.len().max(1)) else {
            continue;
        };
        let column = table.key + number % (table.columns.len() - table.key);
        let key = row[..table.key].to_vec();
        memory.tamper(table, &key, column, other(table, column, row));
        let report = verify(&memory, &Check::ALL).await.unwrap();
        memory.tamper(table, &key, column, row[column].clone());
        let found = report
            .findings
            .iter()
            .any(|finding| finding.what.starts_with(table.name) || finding.check == Check::Chain);
        assert!(
            found,
            "{} {}: {:?}",
            table.name, table.columns[column].name, report.findings
        );
        changed += 1;
    }
    assert!(changed * 5 > TABLES.len() * 4, "{changed} tables");
}

/// A value that the cell does not have.
fn other(table: &Table, column: usize, row: &Row) -> Cell {
    match (&row[column], table.columns[column].kind) {
        (Cell::Int(number), _) => Cell::Int(number ^ 1),
        (Cell::Text(text), _) => Cell::Text(format!("{text}x")),
        (Cell::Blob(bytes), _) => {
            let mut bytes = bytes.clone();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            Cell::Blob(bytes)
        }
        (Cell::Null, ColumnKind::Int) => Cell::Int(1),
        (Cell::Null, ColumnKind::Text) => Cell::Text("x".to_owned()),
        (Cell::Null, ColumnKind::Blob) => Cell::Blob(vec![1]),
    }
}
