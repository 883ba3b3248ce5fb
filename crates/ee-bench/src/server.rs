//! The control plane over a simulated platform, in a process that counts its heap.
//!
//! It prints its addresses as the first line. For each line on standard input it prints the bytes
//! that are allocated; with the end of standard input it ends.

use std::io::{BufRead, Write};

use anyhow::{Context, Result, anyhow};
use ee_attest::TrustRoot;
use ee_control::ports::Clock;
use ee_protocol::settings::{SecretRule, Sources};
use ee_server::clock::SystemClock;
use ee_server::{RunningServer, Server, ServerOptions, Settings};
use ee_testbed::platform::{DEFAULT_SEED, SimOptions};
use ee_testbed::world::default;
use ee_testbed::{DemoImage, SimPlatform, World};

/// Name of the allowlist asset.
const ASSET: &str = "allowlist.json";

/// Runs until standard input ends.
pub fn run() -> Result<()> {
    let runtime = ee_server::runtime::runtime().context("the runtime")?;
    let dir = tempfile::TempDir::with_prefix("ee-bench-server-").context("a folder")?;
    let (_world, server) = runtime.block_on(start(dir.path()))?;
    say(&format!("{} {}", server.api_addr, server.proxy_addr))?;
    for line in std::io::stdin().lock().lines() {
        line.context("standard input")?;
        say(&crate::heap::allocated_bytes().to_string())?;
    }
    runtime.block_on(async {
        server.shutdown();
        server.join().await
    })?;
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("standard output")
}

async fn start(dir: &std::path::Path) -> Result<(World, RunningServer)> {
    let mut sources = Sources::from_process();
    let platform = SimPlatform::new(DEFAULT_SEED, SimOptions::default());
    let root = TrustRoot::new("simulated", platform.root_der())?;
    let image = DemoImage::new(DEFAULT_SEED);
    let now = || SystemClock.now().unix_seconds().unsigned_abs();
    let world = World::start(platform, &image, dir, ASSET, now)
        .await
        .context("the simulated world")?;
    world.provide(&mut sources, dir);
    for (name, value) in [
        ("EE_ALLOWLIST_ASSET", ASSET.to_owned()),
        ("EE_CONTROL_BIND", "127.0.0.1".to_owned()),
        ("EE_PROXY_BIND", "127.0.0.1".to_owned()),
        ("EE_CONTROL_PORT", "0".to_owned()),
        ("EE_PROXY_PORT", "0".to_owned()),
        ("EE_APP_DOMAIN", "localhost".to_owned()),
        ("EE_DRAIN_SEC", "1".to_owned()),
        (
            "EE_DB_PATH",
            dir.join("control-plane.db").display().to_string(),
        ),
    ] {
        default(&mut sources, name, value);
    }
    let settings = Settings::from_sources(&sources, SecretRule::AnyForDevelopment)
        .map_err(|problems| anyhow!("{problems:?}"))?;
    let server = Box::pin(Server::start(settings, ServerOptions::new(root))).await?;
    Ok((world, server))
}
