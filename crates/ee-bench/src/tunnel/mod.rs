//! Requests through control plane and agent, beside the same backend alone and behind nginx.
//!
//! Several chains over one backend, each program a process of its own so that its CPU can be read:
//! client → backend; client → nginx → backend; client → rathole → backend; client → control plane →
//! agent → backend, with the inner TLS off and on. The load generator is one more process on the
//! same cores, so rates are lower than the chain alone would reach; CPU seconds and ratios are what
//! to compare.

mod cells;
mod chain;
mod effects;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::chain::{WAYS, Way};
use crate::backend;

/// The app's name, one label below the domain the development server uses.
const APP: &str = "bench";

#[derive(clap::Args)]
pub struct Options {
    /// Seconds for each run of a cell of the table.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Runs of each cell; the one with the most requests counts, for the others were disturbed.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Bodies, in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 65_536, 1_048_576])]
    bytes: Vec<usize>,
    /// Kept connections.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// Which ways to the backend are measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = WAYS)]
    ways: Vec<Way>,
    /// Which tables.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Cells, Part::Effects])]
    parts: Vec<Part>,
    /// The command line tool whose `dev server` and `dev agent` are measured.
    #[arg(long)]
    easyenclave: Option<PathBuf>,
    /// nginx, to stand in between; left out where it is not installed.
    #[arg(long, default_value = "nginx")]
    nginx: PathBuf,
    /// rathole, another tunnel (`cargo install rathole`); left out where it is not installed.
    #[arg(long, default_value = "rathole")]
    rathole: PathBuf,
}

/// A table.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Bodies, connections and ways.
    Cells,
    /// New connections, slow answers, stalled readers, memory, forward-auth.
    Effects,
}

pub fn run(options: &Options) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("ee-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).context("a folder for logs")?;
    let outcome = measure(options, &folder);
    if outcome.is_ok() {
        std::fs::remove_dir_all(&folder).context("removing the folder of the logs")?;
    } else {
        eprintln!("logs: {}", folder.display());
    }
    outcome
}

fn measure(options: &Options, folder: &Path) -> Result<()> {
    let (_backend, address) = backend::start(folder)?;
    let mut chains = Vec::new();
    for &way in &options.ways {
        chains.extend(chain::start(way, options, folder, address)?);
    }
    let runtime = tokio::runtime::Runtime::new().context("the runtime")?;
    for part in &options.parts {
        let table = match part {
            // Memory first: what the processes held before any load.
            Part::Effects => effects::table(options, &runtime, &chains)?,
            Part::Cells => cells::table(options, &runtime, &chains)?,
        };
        println!("{}", table.markdown());
    }
    Ok(())
}
