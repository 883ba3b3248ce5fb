//! `easyenclave dev`: the development network on one machine.

use std::process::ExitCode;

/// What `easyenclave dev` takes.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the development network until it is interrupted.
pub fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the development network is not built in yet")
}
