//! The one-time bootstrap token: how the first admin token comes to exist without a setting.
//!
//! Made at a start without any admin credential, valid for 24 hours and once, good only for
//! `POST /v1/auth/bootstrap`. It goes to the terminal, or to a file that its owner alone may read.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::Duration,
};

use anyhow::Context;
use ee_protocol::time::Timestamp;

use super::token::Digest;
use crate::keys::write_private;

/// The file in the data directory, where no terminal is attached.
pub const BOOTSTRAP_FILE: &str = "bootstrap-token";
/// An operator sets up a server within a day, or starts it again.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A bootstrap token that has not been spent.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap {
    /// SHA-256 of the token.
    pub digest: Digest,
    until: Timestamp,
}

impl Bootstrap {
    /// A token made now.
    pub fn new(digest: Digest, now: Timestamp) -> Self {
        Self {
            digest,
            until: now.after(LIFE),
        }
    }

    /// Whether it may still be spent.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

/// Where the token goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announce {
    /// To the terminal if there is one, else to the file.
    Terminal,
    /// To the file, for programs that run the server in process.
    File,
}

/// Hands the token to the operator. In the file's case its path is logged; the token itself never
/// enters the log.
pub fn announce(
    token: &str,
    to: Announce,
    data_dir: &Path,
    public_url: &str,
) -> anyhow::Result<()> {
    let next = format!("curl -X POST -H 'Authorization: Bearer …' {public_url}/v1/auth/bootstrap");
    if to == Announce::Terminal && std::io::stderr().is_terminal() {
        let line = format!("bootstrap token, good once within 24 h: {token}\n  {next}\n");
        return std::io::stderr()
            .write_all(line.as_bytes())
            .context("writing to the terminal");
    }
    let path = data_dir.join(BOOTSTRAP_FILE);
    write_private(&path, format!("{token}\n").as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    tracing::warn!(event = "bootstrap_token_written", path = %path.display(), next);
    Ok(())
}
