//! `easyenclave dev backend`: the demo backend as a process of its own.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use anyhow::Context;
use ee_testbed::DemoBackend;

/// Serves until SIGTERM or Ctrl-C.
pub async fn run() -> anyhow::Result<ExitCode> {
    let backend = DemoBackend::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .context("starting the demo backend")?;
    let ready = serde_json::json!({ "backend": backend.url() });
    writeln!(std::io::stdout(), "{ready}").context("printing the address")?;
    super::stop_signal().await?;
    Ok(ExitCode::SUCCESS)
}
