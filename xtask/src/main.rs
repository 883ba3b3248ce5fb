//! The project's own tasks: `cargo xtask test` is everything a reviewer would run.
//!
//! Each step is one function in `steps.rs`, each tidy rule one function in `tidy/`; a rule takes
//! the files as values, so that its unit tests show that it bites.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task runner talks to the person who started it"
)]

mod crash;
mod dependencies;
mod deploy;
mod dist;
mod fuzz;
// One file in two crates: xtask depends on nothing of ours, so that it builds in seconds.
#[path = "../../crates/ee-testbed/src/postgres.rs"]
#[expect(dead_code, reason = "only tests of the books need all of it")]
mod postgres;
mod programs;
mod steps;
mod tidy;
mod tree;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::postgres::{PostgresCluster, TEST_URL};
use crate::steps::{Step, TestOptions};
use crate::tree::Tree;

#[derive(Parser)]
#[command(about = "EasyEnclave's own tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything a reviewer would run: format, lints, tidy, tests, documents, deploy files.
    Test {
        /// A missing outside program is a failure, not a skipped step.
        #[arg(long)]
        require_all: bool,
        /// Run only these steps.
        #[arg(long, value_enum)]
        only: Vec<Step>,
        /// Where property tests begin: the same cases in every run, so that a change alone can
        /// fail one. `PROPTEST_CASES` asks for more of them.
        #[arg(long, default_value_t = 20_261_123)]
        seed: u64,
    },
    /// The repository's own rules.
    Tidy,
    /// Write the generated documents: docs/config.md, openapi.json.
    Generate,
    /// Kill, cut off from power and starve the real server many times; counts go to the terminal.
    Crash(crash::CrashOptions),
    /// Give each reader of foreign bytes to libFuzzer for a minute.
    Fuzz(fuzz::FuzzOptions),
    /// Run a throw-away PostgreSQL for single tests until standard input ends.
    Postgres,
    /// Build the release binaries and check that the production ones hold no simulator.
    Dist,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<bool> {
    let root = root();
    match task {
        Task::Test {
            require_all,
            only,
            seed,
        } => {
            let options = TestOptions {
                require_all,
                only,
                seed,
            };
            Ok(steps::test(root, &options))
        }
        Task::Tidy => {
            let findings = tidy::check(&Tree::of_repository(root)?)?;
            for finding in &findings {
                println!("{finding}");
            }
            println!("tidy: {} findings", findings.len());
            Ok(findings.is_empty())
        }
        Task::Generate => steps::generate(root).map(|()| true),
        Task::Crash(options) => crash::run(root, &options),
        Task::Fuzz(options) => fuzz::run(root, &options),
        Task::Postgres => {
            let cluster = PostgresCluster::start().context("the throw-away PostgreSQL")?;
            println!("export {TEST_URL}={}", cluster.url());
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
            Ok(true)
        }
        Task::Dist => dist::dist(root).map(|()| true),
    }
}

/// The repository's root, which is where this package's folder lies.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("xtask lies in the repository's root")
}
