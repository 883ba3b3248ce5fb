//! Opening large books: what a restart costs before anything is served.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ee_control::sequencer;
use ee_core::books::Policy;
use rusqlite::{Connection, OpenFlags};

use super::commands::batch;
use super::load::{BULK, open_accounts, submit};
use super::place::{Hands, Place, Spot};
use super::report::{Report, millis, verdict};
use super::server::tool;
use crate::load::count;
use crate::stopwatch::Stopwatch;

/// How long it may take (LEDGER 14).
const WITHIN: Duration = Duration::from_secs(2);
/// And how much longer than reading the same rows once.
const SCANS: f64 = 2.5;
/// Times the in-process rate that a replay of the journal must reach.
const REPLAY: f64 = 3.0;

/// Commands of many transfers that share a commit.
const BATCHES: i64 = 4;

/// Fills books, closes them, opens them again, and replays their journal.
pub fn run(
    place: &Place,
    accounts: i64,
    transfers: i64,
    program: Option<&PathBuf>,
    report: &mut Report,
) -> Result<()> {
    let spot = place.fresh()?;
    let started = Stopwatch::start();
    spot.with_books(async |handle, _| {
        open_accounts(&handle, accounts).await?;
        for first in (0..transfers).step_by(4_000) {
            let many = (0..BATCHES).map(|at| first + at * BULK);
            let many = many.map(|first| batch(first..first + BULK, accounts));
            submit(&handle, many.collect()).await?;
        }
        Ok(())
    })?;
    let filled = started.elapsed();
    let opened = open(&spot)?;
    let mut verdicts = vec![
        format!("open after {}", millis(opened)),
        verdict(&format!("within {}", millis(WITHIN)), opened <= WITHIN),
    ];
    if let Spot::Sqlite(path) = &spot {
        let scanned = scan(path)?;
        let times = opened.as_secs_f64() / scanned.as_secs_f64();
        let goal = format!("{SCANS} scans ({times:.1})");
        verdicts.push(verdict(&goal, times <= SCANS));
    }
    let what = format!(
        "{accounts} accounts, {transfers} transfers, {}",
        place.name()
    );
    report.note(&format!("restart, {what}"), verdicts);
    let replayed = replay(&spot, program)?;
    let commands = count(usize::try_from(accounts + transfers)?);
    let rates = [replayed, filled].map(|took| commands / took.as_secs_f64());
    let times = rates[0] / rates[1];
    report.note(
        &format!("replay, {what}"),
        vec![
            format!("{:.0} entries a second, all checked", rates[0]),
            verdict(
                &format!("{REPLAY} x the rate of filling ({times:.1})"),
                times >= REPLAY,
            ),
        ],
    );
    spot.remove();
    Ok(())
}

/// From nothing to books that take commands.
fn open(spot: &Spot) -> Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let started = Stopwatch::start();
        let (ledger, store) = spot.ledger().await?;
        let clock = Arc::new(Hands::default());
        let opened = sequencer::open(ledger, clock, Policy::documented()).await;
        let books = opened.context("opening the books")?;
        let elapsed = started.elapsed();
        drop(books);
        if let Some(store) = store {
            store.close().await;
        }
        Ok(elapsed)
    })
}

/// Reads every account once, and the transfers behind the sweep, as cheaply as SQLite can.
fn scan(path: &PathBuf) -> Result<Duration> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let started = Stopwatch::start();
    let mut statement = db.prepare("SELECT name, no, kind, posted, last FROM account")?;
    let mut rows = statement.query([])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        bytes += row.get_ref(0)?.as_str()?.len();
        for column in 1..5 {
            let _: Option<i64> = row.get(column)?;
        }
    }
    ensure!(bytes > 0, "there are no accounts");
    let mut statement = db.prepare(
        "SELECT no, kind, debit, credit, amount
         FROM transfer
         WHERE no >= ((SELECT COALESCE(MAX(through), 0) FROM sweep) + 1) << 22",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..5 {
            let _: i64 = row.get(column)?;
        }
    }
    Ok(started.elapsed())
}

/// `easyenclave audit verify replay`: the tables recomputed from the journal.
fn replay(spot: &Spot, program: Option<&PathBuf>) -> Result<Duration> {
    let database = match spot {
        Spot::Sqlite(path) => path.display().to_string(),
        Spot::Postgres(_, url) => url.clone(),
    };
    let mut command = tool(program)?;
    command.args(["audit", "verify", "--db", &database, "replay"]);
    let started = Stopwatch::start();
    let output = command.output().context("easyenclave audit")?;
    let elapsed = started.elapsed();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "audit: {}: {errors}",
        output.status
    );
    Ok(elapsed)
}
