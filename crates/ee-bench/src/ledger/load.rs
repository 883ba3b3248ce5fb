//! Commands handed to the sequencer, without HTTP.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use ee_control::books::BooksHandle;
use ee_core::books::Command;
use futures_util::{StreamExt, stream::FuturesOrdered};

use super::commands::{purchase, submission};
use super::samples::Samples;
use crate::stopwatch::Stopwatch;

/// Commands that are submitted together.
pub const BULK: i64 = 1_000;

/// Opens accounts, bulk by bulk.
pub async fn open_accounts(handle: &BooksHandle, accounts: i64) -> Result<()> {
    for from in (0..accounts).step_by(1_000) {
        let until = accounts.min(from + BULK);
        submit(handle, (from..until).map(purchase).collect()).await?;
    }
    Ok(())
}

/// Submits commands together and waits for every answer; a refusal is an error.
pub async fn submit(handle: &BooksHandle, commands: Vec<Command>) -> Result<()> {
    let submissions = commands.into_iter().map(submission);
    for reply in handle.submit_all(submissions.collect()).await {
        reply?.outcome?;
    }
    Ok(())
}

/// Clients that each send their next bulk when the last is answered, for as long as told.
/// `bulk` makes the commands from a number that nobody had before.
pub async fn bulks(
    handle: &BooksHandle,
    clients: usize,
    length: Duration,
    bulk: impl Fn(i64) -> Vec<Command>,
) -> Result<Samples> {
    let (bulk, number) = (&bulk, &std::cell::Cell::new(0));
    let started = Stopwatch::start();
    let client = || async move {
        let mut samples = Samples::default();
        while started.elapsed() < length {
            let first = number.get();
            number.set(first + BULK);
            let commands = bulk(first);
            let one = Stopwatch::start();
            submit(handle, commands).await?;
            let operations = usize::try_from(BULK)?;
            samples.add_bulk(one.elapsed(), operations);
        }
        Ok::<_, anyhow::Error>(samples)
    };
    let mut all = Samples::default();
    for one in together((0..clients).map(|_| client()).collect()).await {
        all.merge(one?);
    }
    all.end(started.elapsed());
    Ok(all)
}

/// Drives futures side by side on this task; only those that were woken are polled.
pub async fn together<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let futures: FuturesOrdered<F> = futures.into_iter().collect();
    futures.collect().await
}
