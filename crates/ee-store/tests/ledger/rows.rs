//! Batches that any store takes: a journal row, rows of kept tables, a moved head.

use ee_core::journal::sha256;
use ee_protocol::time::Timestamp;
use ee_store::ledger::{
    Batch, Cell, Direction, Head, JOURNAL, LedgerStore, Page, REQUEST, Row, Table, TableChange,
};

/// A batch of `count` records on top of `before`, with its journal row.
pub fn batch_on(before: &Head, count: u64) -> Batch {
    let number = before.batch + 1;
    let next = Head {
        ledger_id: before.ledger_id,
        batch: number,
        seq: before.seq + count,
        epoch: before.epoch,
        root: sha256(&[&before.root, &number.to_le_bytes()]),
        at: Timestamp::from_unix_seconds(1_763_800_000 + i64::try_from(number).unwrap()),
    };
    let row = journal_row(before, &next);
    Batch {
        expected: before.clone(),
        next,
        changes: vec![put(&JOURNAL, vec![row])],
    }
}

pub fn journal_row(before: &Head, next: &Head) -> Row {
    let int = |value: u64| Cell::Int(i64::try_from(value).unwrap());
    vec![
        int(next.batch),
        int(before.seq + 1),
        int(next.seq - before.seq),
        Cell::Int(next.at.unix_micros()),
        int(next.epoch),
        Cell::Int(next.at.unix_micros()),
        Cell::Blob(format!("records of batch {}", next.batch).into_bytes()),
        Cell::Blob(next.root.to_vec()),
    ]
}

/// What was answered under `key`, as of `at` µs.
pub fn request_row(key: &str, outcome: &[u8], at: i64) -> Row {
    vec![
        text("role:admin"),
        text("POST /v1/credits/purchase"),
        text(key),
        Cell::Blob(vec![7; 32]),
        Cell::Blob(outcome.to_vec()),
        Cell::Int(1),
        Cell::Int(at),
    ]
}

pub fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

pub fn put(table: &'static Table, rows: Vec<Row>) -> TableChange {
    TableChange {
        table,
        put: rows,
        delete: Vec::new(),
    }
}

/// Commits `batches` batches, each with one request row of its own; the head afterwards.
pub async fn commit_batches(store: &impl LedgerStore, batches: u64) -> Head {
    let mut head = store.head().await.unwrap();
    for _ in 0..batches {
        let mut batch = batch_on(&head, 1);
        let key = format!("key {:04}", batch.next.batch);
        let at = batch.next.at.unix_micros();
        batch
            .changes
            .push(put(&REQUEST, vec![request_row(&key, b"done", at)]));
        head = batch.next.clone();
        store.commit(batch).await.unwrap();
    }
    head
}

/// All rows of a table, by its key.
pub async fn all(store: &impl LedgerStore, table: &'static Table) -> Vec<Row> {
    store.page(whole(table)).await.unwrap()
}

/// A page that holds all of a small table.
pub fn whole(table: &'static Table) -> Page {
    Page {
        table,
        equals: Vec::new(),
        order: &table.order[..table.key],
        after: None,
        direction: Direction::Ascending,
        limit: 10_000,
    }
}
