//! The books under load, beside what the same disk and the same machine can do otherwise.
//!
//! Yardsticks of the same run: the raw rate of `fdatasync` and a ledger written row by row. Only
//! the ratios survive a change of machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::table::Table;

mod in_process;
mod naive;
mod raw;
mod samples;

use samples::Samples;

/// Accounts of the naive ledger, and of ours in the same comparison.
const ACCOUNTS: i64 = 10_000;

/// What to measure, and where.
#[derive(Args)]
pub struct Options {
    /// Seconds for each yardstick.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// A directory on the disk to be measured; a temporary one by default.
    #[arg(long)]
    directory: Option<PathBuf>,
}

/// Measures and prints the table.
pub fn run(options: &Options) -> Result<()> {
    let scratch = match &options.directory {
        Some(directory) => tempfile::tempdir_in(directory),
        None => tempfile::tempdir(),
    };
    let scratch = scratch.context("a directory to write to")?;
    let length = Duration::from_secs(options.seconds);
    let raw = raw::run(scratch.path(), length)?;
    let naive = naive::run(scratch.path(), ACCOUNTS, length)?;
    let ours = in_process::run(scratch.path(), ACCOUNTS, length)?;
    let mut table = Table::new(&["what", "per second", "p50 ms", "p99 ms", "x naive", "x raw"]);
    for (what, samples) in [
        ("raw fdatasync 8 KiB", &raw),
        ("naive ledger", &naive),
        ("books in process, bulks of 1 000", &ours),
    ] {
        table.row(row(what, samples, &naive, &raw));
    }
    println!("{}", table.markdown());
    Ok(())
}

fn row(what: &str, samples: &Samples, naive: &Samples, raw: &Samples) -> Vec<String> {
    let millis = |permille| samples.percentile(permille).as_secs_f64() * 1e3;
    vec![
        what.to_owned(),
        format!("{:.0}", samples.per_second()),
        format!("{:.3}", millis(500)),
        format!("{:.3}", millis(990)),
        format!("{:.2}", samples.per_second() / naive.per_second()),
        format!("{:.2}", samples.per_second() / raw.per_second()),
    ]
}
