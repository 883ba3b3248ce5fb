//! What an idle tunnel costs the control plane: heap and resident memory at ten thousand agents.
//!
//! The control plane runs in a process of ee-bench that counts its allocations; the agents are
//! real ones in another. A count is what was asked of the allocator; what the allocator and the
//! kernel add shows in the resident memory beside it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::backend;
use crate::process::{Dialogue, Process};
use crate::swarm::Swarm;
use crate::sweep;
use crate::table::Table;

/// How long all agents together may take to be attested.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(clap::Args)]
pub struct Options {
    /// Agents, each with an app and a machine of its own.
    #[arg(long, default_value_t = 10_000)]
    agents: u32,
    /// Seconds between the last attestation and the measurement.
    #[arg(long, default_value_t = 10)]
    settle: u64,
    /// Sends a request through each tunnel, and measures again after so many seconds without any.
    #[arg(long)]
    used: Option<u64>,
    /// Inner TLS off, on, or both one after another.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = BOTH)]
    inner: Vec<Inner>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Inner {
    Off,
    Required,
}

const BOTH: [Inner; 2] = [Inner::Off, Inner::Required];

impl Inner {
    const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Required => "required",
        }
    }

    /// KiB of heap that a tunnel may take, and what it should.
    const fn goals(self) -> (f64, f64) {
        match self {
            Self::Off => (16.0, 4.0),
            Self::Required => (24.5, 12.0),
        }
    }
}

/// What the control plane takes at one moment.
#[derive(Clone, Copy)]
struct Reading {
    heap_bytes: f64,
    resident_bytes: f64,
}

pub fn run(options: &Options) -> Result<()> {
    let mut table = Table::new(&[
        "inner TLS",
        "tunnels",
        "state",
        "heap KiB each",
        "goal",
        "stretch",
        "resident KiB each",
    ]);
    for &inner in &options.inner {
        for row in measure(options, inner)? {
            eprintln!("{}", row.join("  "));
            table.row(row);
        }
    }
    println!("{}", table.markdown());
    Ok(())
}

fn measure(options: &Options, inner: Inner) -> Result<Vec<Vec<String>>> {
    let folder = tempfile::TempDir::with_prefix("ee-bench-idle-").context("a folder")?;
    let folder = folder.path();
    let (_backend, backend) = backend::start(folder)?;
    let mut server = Server::start(inner, folder)?;
    std::thread::sleep(Duration::from_secs(1));
    let empty = server.read()?;
    let mut swarm = Swarm::start(options.agents, server.control, backend, folder)?;
    let took = swarm.wait_until_all_active(PATIENCE)?;
    eprintln!(
        "{} agents after {:.1} s",
        options.agents,
        took.as_secs_f64()
    );
    std::thread::sleep(Duration::from_secs(options.settle));
    ensure!(swarm.active() == options.agents, "an agent was lost");
    let fresh = server.read()?;
    let mut rows = vec![row(options, inner, "never used", empty, fresh)];
    if let Some(rest) = options.used {
        let missed = sweep::run(server.proxy, options.agents)?;
        ensure!(missed.count == 0, "not routable: {}", missed.example);
        rows.push(row(options, inner, "just used", empty, server.read()?));
        std::thread::sleep(Duration::from_secs(rest));
        let state = format!("{rest} s after use");
        rows.push(row(options, inner, &state, empty, server.read()?));
    }
    let last = server.read()?;
    drop(swarm);
    server.wait_until_heap_rests()?;
    // What an agent leaves behind: registry, evidence kept for re-appraisal, caches, log lines.
    let left = server.read()?;
    rows.push(row(
        options,
        inner,
        "of it gone with the tunnel",
        left,
        last,
    ));
    Ok(rows)
}

fn row(options: &Options, inner: Inner, state: &str, from: Reading, to: Reading) -> Vec<String> {
    let each = |bytes: f64| bytes / f64::from(options.agents) / 1024.0;
    let (goal, stretch) = inner.goals();
    vec![
        inner.name().to_owned(),
        options.agents.to_string(),
        state.to_owned(),
        format!("{:.1}", each(to.heap_bytes - from.heap_bytes)),
        format!("{goal}"),
        format!("{stretch}"),
        format!("{:.1}", each(to.resident_bytes - from.resident_bytes)),
    ]
}

/// The control plane that counts.
struct Server {
    dialogue: Dialogue,
    process: Process,
    control: SocketAddr,
    proxy: SocketAddr,
}

impl Server {
    fn start(inner: Inner, folder: &Path) -> Result<Self> {
        let configuration = folder.join("server.toml");
        let policy = format!("[networks.sandbox-1]\ninner_tls = \"{}\"\n", inner.name());
        std::fs::write(&configuration, policy).context("server.toml")?;
        let own = std::env::current_exe().context("the path of ee-bench")?;
        let mut command = Command::new(own);
        command.arg("server").env_clear();
        command.env("EE_CONFIG", configuration);
        command.env("EE_LOG", "warn");
        let log = folder.join("server.log");
        let (process, dialogue) = Process::start_spoken("server", &mut command, &log)?;
        let addresses = dialogue.hear()?;
        let (control, proxy) = addresses.split_once(' ').context("two addresses")?;
        Ok(Self {
            control: control.parse().context("an address")?,
            proxy: proxy.parse().context("an address")?,
            dialogue,
            process,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
    fn read(&mut self) -> Result<Reading> {
        let heap: u64 = self.dialogue.ask()?.parse().context("a number of bytes")?;
        Ok(Reading {
            heap_bytes: heap as f64,
            resident_bytes: self.process.memory().resident_bytes as f64,
        })
    }

    /// Waits until the heap does not shrink any more: every tunnel is gone.
    fn wait_until_heap_rests(&mut self) -> Result<()> {
        let mut before = f64::INFINITY;
        for _ in 0..30 {
            std::thread::sleep(Duration::from_secs(1));
            let now = self.read()?.heap_bytes;
            if before - now < 4096.0 {
                return Ok(());
            }
            before = now;
        }
        Ok(())
    }
}
