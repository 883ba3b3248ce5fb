//! Books that do not add up are found by the audit of memory.

use std::sync::Arc;

use ee_control::{ports::Clock, sequencer};
use ee_core::books::{Policy, command::Purchase, principal::Role};
use ee_protocol::{
    account::AccountId,
    money::{Amount, MicroUsd},
};
use ee_store::ledger::{Cell, Ledger, MemoryLedger, TABLES};

use super::*;
use crate::clock::SystemClock;

/// What the audit makes of these books, after `work` with them.
async fn audited(ledger: &MemoryLedger, work: impl AsyncFnOnce(&BooksHandle)) -> bool {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ledger = Ledger::Memory(ledger.clone());
    let opened = sequencer::open(ledger, clock, Policy::documented()).await;
    let (handle, sequencer) = opened.expect("opens");
    let unsound = AtomicBool::new(false);
    let work = async {
        work(&handle).await;
        audit(&handle, &unsound).await;
    };
    tokio::select! {
        why = sequencer.run(std::future::pending()) => panic!("{why}"),
        () = work => {}
    }
    !unsound.into_inner()
}

#[tokio::test]
async fn a_balance_that_was_changed_behind_the_books_is_found() {
    let ledger = MemoryLedger::new([7; 16]);
    let purchase = Submission {
        principal: Principal::Role(Role::Admin),
        key: None,
        command: Command::Purchase(Purchase {
            account: AccountId::parse("alice").expect("an id"),
            amount: Amount::new(MicroUsd::from_micros(5)).expect("positive"),
            external_ref: None,
        }),
    };
    let bought = async |books: &BooksHandle| {
        let reply = books.submit(purchase).await.expect("taken");
        reply.outcome.expect("bought");
    };
    assert!(audited(&ledger, bought).await);

    let accounts = TABLES.iter().find(|table| table.name == "account");
    let accounts = accounts.expect("a table");
    let posted = accounts
        .columns
        .iter()
        .position(|column| column.name == "posted");
    let posted = posted.expect("a column");
    let rows = ledger.rows(accounts);
    let row = rows
        .iter()
        .find(|row| row[posted] == Cell::Int(5))
        .expect("alice");
    ledger.tamper(accounts, &row[..accounts.key], posted, Cell::Int(500));
    assert!(!audited(&ledger, async |_| {}).await, "500 from nowhere");
}
