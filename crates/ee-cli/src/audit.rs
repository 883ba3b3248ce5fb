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
    failure::{Exit, Failure},
    output::{self, Format},
};

/// What to do with the books.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Recompute the books from the journal and compare; exit status 3 if anything differs
    Verify {
        /// The database: a file, or a postgresql:// URL without a password; a running server is
        /// not disturbed. Without it: EE_DATABASE_URL, or the file in EE_DATABASE_URL_FILE
        #[arg(long, value_name = "PATH|URL")]
        db: Option<String>,
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
    let ledger = open(db.as_deref()).await?;
    let report = audit::verify(&ledger, &checks).await?;
    output::print(format, &Shown::from(&report), text);
    Ok(if report.is_sound() {
        ExitCode::SUCCESS
    } else {
        Exit::No.into()
    })
}

async fn open(db: Option<&str>) -> anyhow::Result<Ledger> {
    let Some(db) = db else {
        let url = database_url()?;
        let ledger = PostgresLedger::open_at_one_moment(&url).await;
        return Ok(Ledger::Postgres(ledger.context("EE_DATABASE_URL")?));
    };
    if is_url(db) {
        if has_password(db) {
            let failure = Failure::new(
                Exit::Usage,
                "password_on_argv",
                "the URL holds a password, and everybody on this machine sees arguments",
                "EE_DATABASE_URL_FILE=<file with the URL> easyenclave audit verify",
            );
            return Err(failure.into());
        }
        let ledger = PostgresLedger::open_at_one_moment(db).await;
        return Ok(Ledger::Postgres(ledger.context("--db")?));
    }
    let store = Store::open_read_only(Path::new(db)).context("--db")?;
    Ok(Ledger::Sqlite(SqliteLedger::read_only(store)))
}

/// The URL from the environment, as the server takes it.
fn database_url() -> anyhow::Result<String> {
    let text = |name: &str| std::env::var_os(name).and_then(|text| text.into_string().ok());
    if let Some(url) = text("EE_DATABASE_URL").filter(|url| !url.is_empty()) {
        return Ok(url);
    }
    let Some(path) = text("EE_DATABASE_URL_FILE").filter(|path| !path.is_empty()) else {
        let what = "which database? --db, EE_DATABASE_URL and EE_DATABASE_URL_FILE are unset";
        let next = "easyenclave audit verify --db PATH";
        return Err(Failure::new(Exit::Usage, "no_database", what, next).into());
    };
    let url = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    Ok(url.trim_end().to_owned())
}

fn is_url(db: &str) -> bool {
    db.starts_with("postgres://") || db.starts_with("postgresql://")
}

/// Whether a URL says a password: between user and host, or as a parameter.
fn has_password(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    user.is_some_and(|user| user.contains(':'))
        || query.split('&').any(|pair| pair.starts_with("password="))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_seen_wherever_it_stands() {
        for url in [
            "postgres://ee:secret@db/ee",
            "postgresql://ee:p@ss@[::1]:5433/ee?sslmode=disable",
            "postgresql://ee@db/ee?application_name=a&password=secret",
        ] {
            assert!(has_password(url), "{url}");
        }
        for url in [
            "postgresql://ee@db:5433/ee",
            "postgresql://[::1]:5433/ee",
            "postgresql:///ee?host=/run/postgresql",
        ] {
            assert!(!has_password(url), "{url}");
        }
    }
}
