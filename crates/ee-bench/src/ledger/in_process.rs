//! Our books without HTTP: transfers handed to the sequencer in bulk, each batch one commit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ee_control::books::{BooksHandle, Submission};
use ee_control::{ports::Clock, sequencer};
use ee_core::books::command::{Purchase, Transfer};
use ee_core::books::{Command, Policy, Principal, principal::Role};
use ee_protocol::account::AccountId;
use ee_protocol::money::{Amount, MicroUsd};
use ee_protocol::time::Timestamp;
use ee_store::Store;
use ee_store::ledger::{Ledger, SqliteLedger};

use super::samples::Samples;
use crate::stopwatch::Stopwatch;

/// Transfers that are submitted together.
const BULK: i64 = 1_000;

/// Time is an argument of the books; a benchmark needs none that runs.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000)
    }
}

/// Moves money between accounts for as long as told; one sample a transfer.
pub fn run(directory: &Path, accounts: i64, length: Duration) -> Result<Samples> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let store = Store::open(&directory.join("books.db"))?;
        let ledger = Ledger::Sqlite(SqliteLedger::open(store.clone(), [7; 16]).await?);
        let opened = sequencer::open(ledger, Arc::new(Still), Policy::documented()).await;
        let (handle, sequencer) = opened.context("opening the books")?;
        let load = load(handle, accounts, length);
        let (_stopped, samples) = tokio::join!(sequencer.run(std::future::pending()), load);
        store.close().await;
        samples
    })
}

async fn load(handle: BooksHandle, accounts: i64, length: Duration) -> Result<Samples> {
    for from in (0..accounts).step_by(1_000) {
        let until = accounts.min(from + 1_000);
        submit(&handle, (from..until).map(purchase).collect()).await?;
    }
    let mut samples = Samples::default();
    let started = Stopwatch::start();
    let mut number = 0;
    while started.elapsed() < length {
        let bulk = (number..number + BULK).map(|one| transfer(one, accounts));
        let one = Stopwatch::start();
        submit(&handle, bulk.collect()).await?;
        let latency = one.elapsed();
        (0..BULK).for_each(|_| samples.add(latency));
        number += BULK;
    }
    samples.end(started.elapsed());
    Ok(samples)
}

async fn submit(handle: &BooksHandle, commands: Vec<Command>) -> Result<()> {
    let submissions = commands.into_iter().map(|command| Submission {
        principal: Principal::Role(Role::Admin),
        key: None,
        command,
    });
    for reply in handle.submit_all(submissions.collect()).await {
        reply?.outcome?;
    }
    Ok(())
}

fn account(number: i64) -> AccountId {
    AccountId::parse(&format!("account-{number}")).expect("a valid id")
}

fn amount(micros: i64) -> Amount {
    Amount::new(MicroUsd::from_micros(micros)).expect("in range")
}

fn purchase(number: i64) -> Command {
    Command::Purchase(Purchase {
        account: account(number),
        amount: amount(1_000_000),
        external_ref: None,
    })
}

fn transfer(number: i64, accounts: i64) -> Command {
    let debit = number.wrapping_mul(48_271).rem_euclid(accounts);
    Command::Transfer(Transfer {
        id: None,
        from: account(debit),
        to: account((debit + 1) % accounts),
        amount: amount(1),
        open_account: false,
    })
}
