//! Our books without HTTP: transfers handed to the sequencer in bulks of 1 000.

use std::time::Duration;

use anyhow::Result;

use super::commands::transfer;
use super::load::{BULK, bulks, open_accounts};
use super::place::Place;
use super::report::{Goal, Report};
use super::samples::Samples;

/// One client at a time, then four: then a bulk is applied while the one before it is written.
pub fn run(place: &Place, accounts: i64, length: Duration, report: &mut Report) -> Result<()> {
    let goals = match place.is_sqlite() {
        true => vec![Goal::Naive(12.0), Goal::Pgbench(15.0), Goal::Raw(8.0)],
        false => vec![Goal::Pgbench(14.0)],
    };
    for clients in [1, 4] {
        let samples = measure(place, clients, accounts, length)?;
        let what = format!(
            "in process, bulks of {BULK}, {clients} at once, {}",
            place.name()
        );
        report.add(&what, &samples, &goals);
    }
    Ok(())
}

/// Moves money between accounts for as long as told.
pub fn measure(place: &Place, clients: usize, accounts: i64, length: Duration) -> Result<Samples> {
    let spot = place.fresh()?;
    let samples = spot.with_books(async |handle, _| {
        open_accounts(&handle, accounts).await?;
        let bulk = |first| {
            (first..first + BULK)
                .map(|one| transfer(one, accounts))
                .collect()
        };
        bulks(&handle, clients, length, bulk).await
    });
    spot.remove();
    samples
}
