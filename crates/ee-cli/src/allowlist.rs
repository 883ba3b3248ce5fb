//! `easyenclave allowlist create|verify|diff`: the file that a release publishes; `alarms` and
//! `acknowledge`: what the control plane does when such a file changes.

mod alarms;
mod create;
mod diff;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use ee_protocol::http::allowlists::Acknowledgement;
use serde_json::Value;

use crate::{context::Target, evidence, output::Format, wait};

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
    /// Releases whose allowlist changed after it was first seen; exit status 3 if there are any
    Alarms,
    /// Settle an alarm by the digest of the allowlist to go by: the published or the pinned one
    Acknowledge {
        /// The repository, owner/name
        repo: String,
        /// The release
        tag: String,
        /// sha256:... as `allowlist alarms` shows it
        digest: String,
    },
}

/// Does it.
pub fn run(task: Task, target: &Target, format: Format) -> anyhow::Result<ExitCode> {
    match task {
        Task::Create(args) => create::run(&args),
        Task::Verify(args) => verify::run(&args, format),
        Task::Diff { old, new } => diff::run(&old, &new, format),
        Task::Alarms => wait(async { alarms::list(&target.client()?, format).await }),
        Task::Acknowledge { repo, tag, digest } => {
            let word = Acknowledgement {
                repo,
                release_tag: tag,
                digest,
            };
            wait(async { alarms::acknowledge(&word, &target.client()?, format).await })
        }
    }
}

fn json(path: &std::path::Path) -> anyhow::Result<Value> {
    let bytes = evidence::bytes(path)?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}
