//! Agents of the development network: processes of their own, so that killing one is real.
//!
//! A child reads its standard input and leaves when that ends, so no agent outlives the network,
//! whatever ends it.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context;

use super::simulation::Seed;

/// Which image an agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Image {
    /// The one that the release allows.
    Good,
    /// The same claims over other measurements.
    Rogue,
}

/// One agent to start.
#[derive(Debug, Clone)]
pub struct AgentPlan {
    /// The agent's id.
    pub id: String,
    /// What it runs.
    pub image: Image,
    /// Which simulated machine it runs on.
    pub machine: u32,
    /// The token of its node, if that is registered.
    pub node_token: Option<String>,
}

/// What all agents of one network share.
#[derive(Debug, Clone)]
pub struct AgentSettings<'a> {
    /// The seed of the simulation.
    pub seed: Seed,
    /// The app they serve.
    pub app: &'a str,
    /// The tunnel endpoint.
    pub control_ws: &'a str,
    /// The program behind them.
    pub backend: &'a str,
    /// Where their logs go.
    pub log_dir: &'a Path,
}

/// Starts an agent as a child process.
pub fn start(plan: &AgentPlan, shared: &AgentSettings<'_>) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("finding this program")?;
    let log = shared.log_dir.join(format!("{}.log", plan.id));
    let log = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let mut command = Command::new(program);
    for name in std::env::vars_os().map(|(name, _)| name) {
        if name.to_string_lossy().starts_with("EE_") {
            command.env_remove(name);
        }
    }
    command
        .args(["dev", "agent", "--leave-with-stdin"])
        .args(["--seed", &shared.seed.seed.to_string()])
        .args(["--machine", &plan.machine.to_string()])
        .args([
            "--image",
            if plan.image == Image::Good {
                "good"
            } else {
                "rogue"
            },
        ])
        .env("EE_CONTROL_WS", shared.control_ws)
        .env("EE_APP_NAME", shared.app)
        .env("EE_AGENT_ID", &plan.id)
        .env("EE_BACKEND_URL", shared.backend)
        .env("EE_HEALTH_INTERVAL_SEC", "2")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log);
    if let Some(token) = &plan.node_token {
        command.env("EE_NODE_TOKEN", token);
    }
    command
        .spawn()
        .with_context(|| format!("starting agent {}", plan.id))
}

/// Asks an agent to leave by closing its standard input, then waits; kills it if it does not.
pub fn stop(mut child: Child) {
    const PATIENCE_MS: u64 = 3_000;
    drop(child.stdin.take());
    for _ in 0..PATIENCE_MS / 20 {
        match child.try_wait() {
            Ok(Some(_)) => return,
            Ok(None) => std::thread::sleep(std::time::Duration::from_millis(20)),
            Err(_) => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}
