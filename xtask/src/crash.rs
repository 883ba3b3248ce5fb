//! `cargo xtask crash`: the crash tests of `ee-cli/tests/crash`, in their long forms.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{
    postgres::{INSTALL, PostgresCluster, TEST_URL},
    steps::{Outcome, cargo_with},
};

/// How much to break.
#[derive(clap::Args)]
pub struct CrashOptions {
    /// Kills of the server, on SQLite and on PostgreSQL each; a release wants 10000.
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// Images of the disk after a power cut.
    #[arg(long, default_value_t = 1_000)]
    images: u64,
    /// What the random moments follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only tests whose names contain this.
    #[arg(long)]
    only: Option<String>,
}

/// True when nothing was lost.
pub fn run(root: &Path, options: &CrashOptions) -> Result<bool> {
    let cluster = match PostgresCluster::programs() {
        Some(_) => Some(PostgresCluster::start().context("the throw-away PostgreSQL")?),
        None => {
            println!("without PostgreSQL, which is missing: {INSTALL}");
            None
        }
    };
    let mut arguments = vec!["test", "--locked", "-p", "ee-cli", "--test", "crash"];
    arguments.extend(options.only.as_deref());
    // One after the other: two servers under load would share the processors, not add kills.
    arguments.extend(["--", "--nocapture", "--test-threads=1"]);
    let (rounds, images) = (options.rounds.to_string(), options.images.to_string());
    let (seed, url) = (
        options.seed.to_string(),
        cluster.as_ref().map(PostgresCluster::url),
    );
    let mut environment = vec![
        ("EE_CRASH_ROUNDS", rounds.as_str()),
        ("EE_CRASH_IMAGES", &images),
        ("EE_CRASH_SEED", &seed),
    ];
    environment.extend(url.as_deref().map(|url| (TEST_URL, url)));
    Ok(matches!(
        cargo_with(root, &arguments, &environment)?,
        Outcome::Passed
    ))
}
