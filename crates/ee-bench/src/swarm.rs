//! Ten thousand agents in a process of their own, at the lowest priority.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{Dialogue, Process};
use crate::stopwatch::Stopwatch;

/// A process with many agents. It ends when this is dropped.
pub struct Swarm {
    // Dropped first: its end is the process's.
    dialogue: Dialogue,
    process: Process,
    count: u32,
    active: u32,
}

impl Swarm {
    /// Starts `count` agents of the control plane at `control`.
    pub fn start(
        count: u32,
        control: SocketAddr,
        backend: SocketAddr,
        folder: &Path,
    ) -> Result<Self> {
        let own = std::env::current_exe().context("the path of ee-bench")?;
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(own).arg("agents");
        command.args(["--control", &format!("ws://{control}/v1/tunnel")]);
        command.args(["--backend", &backend.to_string()]);
        command.args(["--count", &count.to_string()]);
        let log = folder.join("agents.log");
        let (process, dialogue) = Process::start_spoken("agents", &mut command, &log)?;
        Ok(Self {
            dialogue,
            process,
            count,
            active: 0,
        })
    }

    /// How many of the agents the control plane has let serve, as of less than 0.1 s ago.
    pub fn active(&mut self) -> u32 {
        if let Some(told) = self.dialogue.latest() {
            self.active = told.parse().unwrap_or(0);
        }
        self.active
    }

    /// Waits until all agents are active; how long that took.
    pub fn wait_until_all_active(&mut self, patience: Duration) -> Result<Duration> {
        let waited = Stopwatch::start();
        while self.active() < self.count {
            if self.process.has_ended()? {
                bail!("the agents' process ended");
            }
            if waited.elapsed() > patience {
                bail!("only {} of {} agents are active", self.active, self.count);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(waited.elapsed())
    }

    /// CPU seconds that the agents have used.
    pub fn cpu_seconds(&self) -> f64 {
        self.process.cpu_seconds()
    }
}
