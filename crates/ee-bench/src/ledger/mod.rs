//! The books under load, beside what the same disk and the same machine can do otherwise.
//!
//! Yardsticks of the same run: the raw rate of `fdatasync`, a ledger written row by row, and
//! pgbench. Only the ratios survive a change of machine; the goals are those of LEDGER 14.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

mod commands;
mod growth;
mod http;
mod in_process;
mod load;
mod naive;
mod pgbench;
mod place;
mod raw;
mod report;
mod restart;
mod samples;
mod server;
mod settlement;

use place::{Place, Places};
use report::Report;

/// Accounts of the naive ledger, and of ours in the same comparison.
const ACCOUNTS: i64 = 10_000;

/// What to measure, and where.
#[derive(Args)]
pub struct Options {
    /// Only these; the yardsticks come with them.
    #[arg(long, value_enum)]
    only: Vec<Row>,
    /// Only this store.
    #[arg(long, value_enum)]
    store: Option<Store>,
    /// A tenth of everything: to see that it works, not to compare.
    #[arg(long)]
    quick: bool,
    /// Seconds for each rate.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// A directory on the disk to be measured; a temporary one by default.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// The command line tool; beside ee-bench by default.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Usage records of the settlement.
    #[arg(long, default_value_t = 1_000_000)]
    usage: i64,
    /// Accounts of the large books: restart and growth.
    #[arg(long, default_value_t = 1_000_000)]
    accounts: i64,
    /// Transfers in the books that are opened again; LEDGER 14 says 10 million.
    #[arg(long, default_value_t = 1_000_000)]
    transfers: i64,
}

/// A part of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    /// Bulks of 1 000 without HTTP.
    InProcess,
    /// Transfers over HTTP, 1, 16 and 64 connections.
    Http,
    /// Bulks of 1 000 over HTTP.
    Bulk,
    /// Usage reports over HTTP.
    Usage,
    /// The settlement of many usage records, and what others notice of it.
    Settlement,
    /// The same bulks with few and with many accounts.
    Growth,
    /// Opening large books.
    Restart,
}

/// Where the books lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Store {
    Sqlite,
    Postgres,
}

impl Options {
    fn wants(&self, row: Row) -> bool {
        self.only.is_empty() || self.only.contains(&row)
    }

    fn tenth(&self, count: i64) -> i64 {
        if self.quick { count / 10 } else { count }
    }

    fn length(&self) -> Duration {
        let whole = Duration::from_secs(self.seconds);
        if self.quick { whole / 10 } else { whole }
    }
}

/// Measures and prints the table.
pub fn run(options: &Options) -> Result<()> {
    let scratch = match &options.directory {
        Some(directory) => tempfile::tempdir_in(directory),
        None => tempfile::tempdir(),
    };
    let scratch = scratch.context("a directory to write to")?;
    let places = Places::new(scratch.path(), options.store)?;
    let report = yardsticks(options, scratch.path(), &places)?;
    let report = places
        .iter()
        .try_fold(report, |report, place| measure(options, place, report))?;
    println!("{}", report.table());
    Ok(())
}

fn yardsticks(options: &Options, scratch: &Path, places: &Places) -> Result<Report> {
    let raw = raw::run(scratch, options.length())?;
    let naive = naive::run(scratch, ACCOUNTS, options.length())?;
    let pgbench = places
        .cluster()
        .map(|cluster| pgbench::run(cluster, options.length()))
        .transpose()?;
    Ok(Report::new(raw, naive, pgbench))
}

fn measure(options: &Options, place: &Place, mut report: Report) -> Result<Report> {
    let length = options.length();
    if options.wants(Row::InProcess) {
        in_process::run(place, ACCOUNTS, length, &mut report)?;
    }
    if options.wants(Row::Growth) {
        let many = options.tenth(options.accounts);
        growth::run(place, [ACCOUNTS, many], length, &mut report)?;
    }
    let over_http = [Row::Http, Row::Bulk, Row::Usage];
    if over_http.iter().any(|row| options.wants(*row)) {
        http::run(place, options, length, &mut report)?;
    }
    if options.wants(Row::Settlement) {
        settlement::run(place, options.tenth(options.usage), &mut report)?;
    }
    if options.wants(Row::Restart) {
        let (accounts, transfers) = (
            options.tenth(options.accounts),
            options.tenth(options.transfers),
        );
        let program = options.program.as_ref();
        restart::run(place, accounts, transfers, program, &mut report)?;
    }
    Ok(report)
}
