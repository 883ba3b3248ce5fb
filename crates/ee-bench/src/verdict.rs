//! Verdicts per second and core, in units of one P-256 verification of the same run.

use anyhow::Result;

#[derive(clap::Args)]
pub struct Options {
    /// Batches; the best one counts, for the others were disturbed.
    #[arg(long, default_value_t = 30)]
    batches: usize,
}

pub fn run(_options: &Options) -> Result<()> {
    anyhow::bail!("not measured yet")
}
