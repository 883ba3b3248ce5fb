//! `easyenclave audit verify`: the books recomputed from their journal, read-only.

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use ee_store::{
    Store,
    audit::{self, Check, Report},
    ledger::{Ledger, SqliteLedger},
    postgres::PostgresLedger,
};
use serde::Serialize;

use crate::{
    failure::Exit,
    output::{self, Format},
};

/// What to do with the books.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Recompute the books from the journal and compare; exit status 3 if anything differs
    Verify {
        /// The database: a file, or a postgresql:// URL; a running server is not disturbed
        #[arg(long, value_name = "PATH|URL")]
        db: String,
        /// balances, transfers, locks, verdicts, requests, facts, stake, chain, replay, backup,
        /// or all
        #[arg(default_value = "all")]
        check: String,
    },
}

/// Runs the task.
pub async fn run(task: &Task, format: Format) -> anyhow::Result<ExitCode> {
    let Task::Verify { db, check } = task;
    let checks = match check.as_str() {
        "all" => Check::ALL.to_vec(),
        one => vec![one.parse()?],
    };
    let ledger = open(db).await?;
    let report = audit::verify(&ledger, &checks).await?;
    output::print(format, &Shown::from(&report), text);
    Ok(if report.is_sound() {
        ExitCode::SUCCESS
    } else {
        Exit::No.into()
    })
}

async fn open(db: &str) -> anyhow::Result<Ledger> {
    if db.starts_with("postgres://") || db.starts_with("postgresql://") {
        let ledger = PostgresLedger::open_existing(db).await;
        return Ok(Ledger::Postgres(ledger.context("--db")?));
    }
    let store = Store::open_read_only(Path::new(db)).context("--db")?;
    Ok(Ledger::Sqlite(SqliteLedger::read_only(store)))
}

/// What `audit verify -o json` prints.
#[derive(Debug, Serialize)]
struct Shown {
    sound: bool,
    batches: u64,
    records: u64,
    rows_compared: u64,
    findings: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct Difference {
    check: &'static str,
    what: String,
}

impl From<&Report> for Shown {
    fn from(report: &Report) -> Self {
        let findings = report.findings.iter().map(|finding| Difference {
            check: finding.check.as_str(),
            what: finding.what.clone(),
        });
        Self {
            sound: report.is_sound(),
            batches: report.batches,
            records: report.records,
            rows_compared: report.rows,
            findings: findings.collect(),
        }
    }
}

fn text(shown: &Shown) -> String {
    let Shown {
        sound,
        batches,
        records,
        rows_compared,
        findings,
    } = shown;
    let differences = findings
        .iter()
        .map(|one| format!("{}: {}", one.check, one.what));
    let verdict = if *sound { "sound" } else { "BROKEN" };
    let end = format!("{verdict}: {batches} batches, {records} records, {rows_compared} rows");
    differences.chain([end]).collect::<Vec<_>>().join("\n")
}
