//! A period of many usage records is settled by itself, while others go on moving money.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Result, ensure};
use ee_control::books::BooksHandle;
use ee_control::ports::Clock;
use ee_core::books::Command;
use ee_protocol::period::Period;
use ee_protocol::time::Timestamp;

use super::commands::{covered, register, submission, transfer, usage};
use super::load::{BULK, open_accounts, submit, together};
use super::place::{Hands, Place};
use super::report::{Report, millis, verdict};
use super::samples::Samples;
use crate::stopwatch::Stopwatch;

/// Records of one account: each needs a lock, so each is resolved on its own.
const RECORDS_EACH: i64 = 100;
/// Clients that move money meanwhile, one transfer at a time.
const OTHERS: usize = 4;
/// How long they are watched without a settlement.
const QUIET: Duration = Duration::from_secs(2);
/// How long the settlement may take (LEDGER 14).
const WITHIN: Duration = Duration::from_secs(12);
/// What others may wait, and how much longer than without it.
const P99: Duration = Duration::from_millis(25);
const P99_TIMES: u32 = 4;
/// What the settlement must exceed.
const NAIVE: f64 = 15.0;

/// Reports, settles, and watches others.
pub fn run(place: &Place, records: i64, report: &mut Report) -> Result<()> {
    let spot = place.fresh()?;
    let [reports, settled, before, during] = spot.with_books(async |handle, hands| {
        let period = fill(&handle, &hands, records).await;
        let (period, reports) = period?;
        let before = others(&handle, |elapsed| elapsed >= QUIET).await?;
        let (settled, during) = settle(&handle, &hands, period, records).await?;
        Ok([reports, settled, before, during])
    })?;
    spot.remove();
    let name = place.name();
    report.add(&format!("usage reports in process, {name}"), &reports, &[]);
    report.add(&format!("others before it, {name}"), &before, &[]);
    report.add(&format!("others during it, {name}"), &during, &[]);
    let took = settled.percentile(500);
    let (quiet, busy) = (before.percentile(990), during.percentile(990));
    let times = report.times_naive(settled.per_second());
    let verdicts = vec![
        format!("{records} records in {}", millis(took)),
        verdict(&format!("{NAIVE} x naive ({times:.1})"), times >= NAIVE),
        verdict(&format!("within {}", millis(WITHIN)), took <= WITHIN),
        verdict(&format!("others' p99 {}", millis(P99)), busy <= P99),
        verdict(
            &format!("{P99_TIMES} x quiet p99"),
            busy <= quiet * P99_TIMES,
        ),
    ];
    report.note(&format!("settlement, {name}"), verdicts);
    Ok(())
}

/// Accounts, a node, and its records in one period. How fast the records came.
async fn fill(handle: &BooksHandle, hands: &Hands, records: i64) -> Result<(Period, Samples)> {
    let payers = (records / RECORDS_EACH).max(BULK);
    open_accounts(handle, payers).await?;
    submit(handle, vec![register()]).await?;
    let start_ms = hands.now().unix_micros() / 1000;
    let period = Period::new(start_ms, start_ms + 3_600_000)?;
    let started = Stopwatch::start();
    let mut samples = Samples::default();
    for first in (0..records).step_by(1_000) {
        let one = Stopwatch::start();
        let bulk = first..records.min(first + BULK);
        let commands = bulk.map(|number| usage(number, payers, period));
        submit(handle, commands.collect()).await?;
        samples.add_bulk(one.elapsed(), usize::try_from(BULK)?);
    }
    samples.end(started.elapsed());
    Ok((period, samples))
}

/// Lets the period end and its grace pass, and waits until nothing of it is open.
async fn settle(
    handle: &BooksHandle,
    hands: &Hands,
    period: Period,
    records: i64,
) -> Result<(Samples, Samples)> {
    hands.forward(3_600);
    submit(handle, covered(period).into()).await?;
    hands.forward(3_600);
    let now = hands.now();
    let done = Cell::new(false);
    let started = Stopwatch::start();
    let settling = async {
        let first = handle.submit_fact(submission(Command::Tick)).await;
        let outcome = match first {
            Ok(_) => until_nothing_is_due(handle, now).await,
            Err(error) => Err(error.into()),
        };
        done.set(true);
        outcome?;
        let mut settled = Samples::default();
        settled.add_bulk(started.elapsed(), usize::try_from(records)?);
        settled.end(started.elapsed());
        Ok::<_, anyhow::Error>(settled)
    };
    let (settled, during) = tokio::join!(settling, others(handle, |_| done.get()));
    Ok((settled?, during?))
}

async fn until_nothing_is_due(handle: &BooksHandle, now: Timestamp) -> Result<()> {
    // A question is answered between two batches; a settlement has fewer batches than this.
    for _ in 0..1_000_000 {
        if !handle.read(move |books| books.is_due(now)).await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ensure!(false, "the settlement does not end");
    Ok(())
}

/// Single transfers, each client's next one after the answer to its last.
async fn others(handle: &BooksHandle, stop: impl Fn(Duration) -> bool) -> Result<Samples> {
    let started = Stopwatch::start();
    let (stop, number) = (&stop, &Cell::new(0));
    let client = || async move {
        let mut samples = Samples::default();
        while !stop(started.elapsed()) {
            let command = transfer(number.replace(number.get() + 1), BULK);
            let one = Stopwatch::start();
            let reply = handle.submit(submission(command)).await?;
            // An account may have spent all on its node.
            drop(reply);
            samples.add(one.elapsed());
        }
        Ok::<_, anyhow::Error>(samples)
    };
    let mut all = Samples::default();
    for one in together((0..OTHERS).map(|_| client()).collect()).await {
        all.merge(one?);
    }
    all.end(started.elapsed());
    Ok(all)
}
