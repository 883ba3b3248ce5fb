//! The control plane as it is deployed: a process of its own, reached over loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::place::Spot;
use crate::process::{Process, free_address};

/// The operator's token under measurement.
pub const TOKEN: &str = "bench-admin-token-0123456789abcdef";

/// A running control plane; it ends with this value.
pub struct Server {
    pub address: SocketAddr,
    _process: Process,
}

impl Server {
    /// Starts it on these books; returns once it serves.
    pub fn start(spot: &Spot, program: Option<&PathBuf>) -> Result<Self> {
        let (address, proxy) = (free_address()?, free_address()?);
        let mut command = tool(program)?;
        command
            .args(["dev", "server"])
            .env("EE_CONTROL_PORT", address.port().to_string())
            .env("EE_PROXY_PORT", proxy.port().to_string())
            .env("EE_ADMIN_TOKEN", TOKEN)
            .env("EE_LOG", "warn")
            .env("EE_DRAIN_SEC", "1");
        let log = match spot {
            Spot::Sqlite(path) => {
                command.env("EE_DB_PATH", path);
                path.with_extension("log")
            }
            Spot::Postgres(folder, url) => {
                std::fs::create_dir_all(folder)?;
                command
                    .env("EE_DATABASE_URL", url)
                    .env("EE_DATA_DIR", folder);
                folder.join("log")
            }
        };
        let mut process = Process::start("easyenclave", &mut command, &log)?;
        let listens = process.wait_for(address);
        listens.with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Self {
            address,
            _process: process,
        })
    }
}

/// The command line tool, with an environment of its own.
pub fn tool(program: Option<&PathBuf>) -> Result<Command> {
    let beside = || -> Result<PathBuf> {
        let own = std::env::current_exe().context("the path of ee-bench")?;
        Ok(own.with_file_name("easyenclave"))
    };
    let path = program.cloned().map_or_else(beside, Ok)?;
    ensure!(
        path.exists(),
        "{} is missing: cargo build --release -p ee-cli, or name it with --program",
        path.display()
    );
    let mut command = Command::new(path);
    command.env_clear();
    Ok(command)
}
