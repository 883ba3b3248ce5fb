//! `easyenclave allowlist create|verify|diff`: the file that a release publishes.

mod create;
mod diff;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use serde_json::Value;

use crate::{evidence, output::Format};

/// What to do with allowlists.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Write the allowlist of a release from a quote of its image
    Create(Box<create::Args>),
    /// Check an allowlist, and whether a quote fits it; exit status 3 if not
    Verify(verify::Args),
    /// Compare two allowlists field by field; exit status 3 if they differ
    Diff {
        /// The old one
        old: PathBuf,
        /// The new one
        new: PathBuf,
    },
}

/// Does it.
pub fn run(task: &Task, format: Format) -> anyhow::Result<ExitCode> {
    match task {
        Task::Create(args) => create::run(args),
        Task::Verify(args) => verify::run(args, format),
        Task::Diff { old, new } => diff::run(old, new, format),
    }
}

fn json(path: &std::path::Path) -> anyhow::Result<Value> {
    let bytes = evidence::bytes(path)?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}
