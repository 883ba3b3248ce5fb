//! The ledger that one writes first: rows in SQLite, one transaction a transfer.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::{Connection, TransactionBehavior};

use super::samples::Samples;
use crate::stopwatch::Stopwatch;

/// What a naive ledger has: balances, and transfers that can be found by either side and by time.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE account (
        id INTEGER PRIMARY KEY,
        balance INTEGER NOT NULL CHECK (balance >= 0)
    ) STRICT;
    CREATE TABLE transfer (
        id TEXT NOT NULL PRIMARY KEY,
        debit INTEGER NOT NULL,
        credit INTEGER NOT NULL,
        amount INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX transfer_by_debit ON transfer (debit, at);
    CREATE INDEX transfer_by_credit ON transfer (credit, at);
";

/// Moves money between accounts for as long as told.
pub fn run(directory: &Path, accounts: i64, length: Duration) -> Result<Samples> {
    let path = directory.join("naive.db");
    let mut db = Connection::open(&path).with_context(|| format!("{}", path.display()))?;
    db.execute_batch(SCHEMA)?;
    let fill = db.transaction()?;
    for id in 0..accounts {
        fill.execute("INSERT INTO account VALUES (?1, 1000000)", [id])?;
    }
    fill.commit()?;
    let started = Stopwatch::start();
    let mut samples = Samples::default();
    let mut number = 0;
    while started.elapsed() < length {
        let one = Stopwatch::start();
        transfer(&mut db, number, accounts)?;
        samples.add(one.elapsed());
        number += 1;
    }
    samples.end(started.elapsed());
    drop(db);
    for name in ["naive.db", "naive.db-wal", "naive.db-shm"] {
        // The log files are gone already if SQLite has tidied up.
        let _ = std::fs::remove_file(directory.join(name));
    }
    Ok(samples)
}

fn transfer(db: &mut Connection, number: i64, accounts: i64) -> Result<()> {
    let debit = number.wrapping_mul(48_271).rem_euclid(accounts);
    let credit = (debit + 1) % accounts;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let balance: i64 = tx
        .prepare_cached("SELECT balance FROM account WHERE id = ?1")?
        .query_row([debit], |row| row.get(0))?;
    anyhow::ensure!(balance >= 1, "an account is empty");
    tx.prepare_cached("UPDATE account SET balance = balance - ?2 WHERE id = ?1")?
        .execute((debit, 1))?;
    tx.prepare_cached("UPDATE account SET balance = balance + ?2 WHERE id = ?1")?
        .execute((credit, 1))?;
    tx.prepare_cached("INSERT INTO transfer VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((format!("{number:032x}"), debit, credit, 1, number))?;
    tx.commit()?;
    Ok(())
}
