//! Account rows lag behind the books, and nobody can tell (ADR 0017): a start takes in what came
//! behind each row, and the audit sees through a row that was changed, lagging or not.

use std::collections::BTreeMap;

use ee_core::books::{EntryNo, Seq};
use ee_store::{
    StoreError,
    audit::{Check, verify},
    ledger::{
        Cell, Ledger, LedgerStore, MemoryLedger, Row, behind, books,
        tables::{ACCOUNT, SWEEP},
    },
};

use super::{LEDGER, accounts, tell};

/// Told often enough for rounds of the sweep to end, and stopped in the middle of one.
const STORY: u64 = 1;

/// Books whose account rows lag, and the newest transfer of each account: by its row, and in truth.
async fn lagging() -> (MemoryLedger, BTreeMap<Row, [Cell; 2]>) {
    let memory = MemoryLedger::new(LEDGER);
    tell(Ledger::Memory(memory.clone()), STORY, u64::MAX).await;
    let head = Seq(memory.head().await.unwrap().seq);
    let mut rows: BTreeMap<Row, [Cell; 2]> = BTreeMap::new();
    let last = ACCOUNT.position("last");
    let (current, _) = behind::current(&memory, head).await.unwrap();
    for (row, now) in memory.rows(&ACCOUNT).into_iter().zip(current) {
        let number =
            |no: EntryNo| Cell::Int(i64::try_from(no.seq.0 << 22 | u64::from(no.idx)).unwrap());
        let now = now.last.map_or(Cell::Null, number);
        rows.insert(row[..ACCOUNT.key].to_vec(), [row[last].clone(), now]);
    }
    (memory, rows)
}

#[tokio::test]
async fn rows_lag_and_the_sweep_goes_round() {
    let (memory, rows) = lagging().await;
    let stale = rows.values().filter(|[row, now]| row != now).count();
    let swept = rows.values().filter(|[row, now]| row == now).count();
    assert!(stale > 0 && swept > 0, "{stale} lag, {swept} do not");
    let [sweep] = &memory.rows(&SWEEP)[..] else {
        panic!("no round of the sweep has ended");
    };
    let Cell::Int(through) = sweep[1] else {
        panic!("{sweep:?}");
    };
    assert!(through > 0);
    // No row is older than the sweep says: whatever came up to there is in it.
    for [row, now] in rows.values() {
        let newer = |cell: &Cell| *cell > Cell::Int(((through + 1) << 22) - 1);
        assert!(row == now || newer(now), "{row} lags behind {now}");
    }
}

#[tokio::test]
async fn no_cell_of_an_account_can_be_changed_unseen_however_far_its_row_lags() {
    let (memory, rows) = lagging().await;
    for key in rows.keys() {
        for column in ACCOUNT.key..ACCOUNT.columns.len() {
            let row = memory.rows(&ACCOUNT);
            let row = row.iter().find(|row| row.starts_with(key)).unwrap();
            let changed = match &row[column] {
                Cell::Int(number) => Cell::Int(number ^ 1),
                Cell::Text(text) => Cell::Text(format!("{text}x")),
                Cell::Null | Cell::Blob(_) => Cell::Int(1),
            };
            memory.tamper(&ACCOUNT, key, column, changed);
            let report = verify(&memory, &[Check::Balances]).await.unwrap();
            memory.tamper(&ACCOUNT, key, column, row[column].clone());
            let name = ACCOUNT.columns[column].name;
            assert!(!report.is_sound(), "{name} of {key:?} {:?}", rows[key]);
        }
    }
    let report = verify(&memory, &Check::ALL).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_sweep_that_is_said_to_be_further_than_it_is_is_found() {
    let (memory, _) = lagging().await;
    let truth = accounts(&memory).await;
    let head = memory.head().await.unwrap().seq;
    for further in [head, head + 1] {
        let further = Cell::Int(i64::try_from(further).unwrap());
        let before = memory.rows(&SWEEP)[0][1].clone();
        memory.tamper(&SWEEP, &[Cell::Int(1)], 1, further);
        let report = verify(&memory, &[Check::Balances]).await.unwrap();
        assert!(!report.is_sound());
        memory.tamper(&SWEEP, &[Cell::Int(1)], 1, before);
    }
    assert_eq!(accounts(&memory).await, truth);
}

#[tokio::test]
async fn an_account_that_does_not_cover_its_locks_is_not_served() {
    let (memory, _) = lagging().await;
    let loaded = books::load(&memory).await.unwrap();
    let payer = loaded.rows.locks.first().unwrap().meter.account;
    let key = [Cell::Int(payer.0.into())];
    let nothing = Cell::Int(-1_000_000_000_000_000);
    memory.tamper(&ACCOUNT, &key, ACCOUNT.position("posted"), nothing);
    let refused = books::load(&memory).await.unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt(_)), "{refused}");
}
