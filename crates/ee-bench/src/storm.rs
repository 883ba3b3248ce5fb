//! Ten thousand agents come back at once after the control plane was killed and started again.
//!
//! Every agent is on a machine of its own and proves itself anew; the control plane has lost what
//! it remembered of platforms. Beside them one app is asked all the time by a client that pauses
//! between requests, as a live client would notice it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::backend;
use crate::live::{LiveClient, Span};
use crate::load::Load;
use crate::setup::{self, Ports};
use crate::stopwatch::Stopwatch;
use crate::swarm::Swarm;
use crate::sweep::{self, Missed};
use crate::table::{Table, duration, seconds};

/// How long all agents may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(90);
/// The live client: so many connections, each with this pause between its requests.
const CONNECTIONS: usize = 4;
const PAUSE: Duration = Duration::from_millis(4);
/// The app of the live client.
const APP: &str = "bench";

#[derive(clap::Args)]
pub struct Options {
    /// Agents that come back.
    #[arg(long, default_value_t = 10_000)]
    agents: u32,
    /// Seconds of the live client before and after the storm.
    #[arg(long, default_value_t = 8)]
    calm: u64,
    /// The command line tool whose `dev server` and `dev agent` are measured.
    #[arg(long)]
    easyenclave: Option<PathBuf>,
}

/// What a storm showed.
struct Storm {
    agents: u32,
    first_join: Duration,
    /// From the start of the new process until the live app was served, and until all agents were
    /// active.
    live_back: Duration,
    all_back: Duration,
    before: Span,
    during: Span,
    after: Span,
    server_cpu_s: f64,
    agents_cpu_s: f64,
    peak_mib: u64,
    /// What the sweep over all apps did not reach when their agents said that they serve.
    missed: Missed,
}

pub fn run(options: &Options) -> Result<()> {
    let storm = measure(options)?;
    println!("{}", storm.table().markdown());
    Ok(())
}

fn measure(options: &Options) -> Result<Storm> {
    let folder = tempfile::TempDir::with_prefix("ee-bench-storm-").context("a folder")?;
    let folder = folder.path();
    let program = setup::easyenclave(options.easyenclave.as_deref())?;
    let (_backend, backend) = backend::start(folder)?;
    let ports = Ports::free()?;
    let server = setup::server(&program, "server", &ports, folder, &[])?;
    let _agent = setup::agent(&program, "live", &ports, APP, backend, folder)?;
    let mut swarm = Swarm::start(options.agents, ports.control, backend, folder)?;
    let first_join = swarm.wait_until_all_active(PATIENCE)?;
    let load = Load {
        connections: CONNECTIONS,
        ..Load::get(ports.proxy, format!("{APP}.localhost"), "/bytes/100")
    };
    let calm = Duration::from_secs(options.calm);
    std::thread::sleep(Duration::from_secs(3));
    let client = LiveClient::start(&load, PAUSE);
    std::thread::sleep(calm);
    let (before, agents_cpu) = (client.now(), swarm.cpu_seconds());
    server.kill()?;
    let started = client.now();
    let mut server = setup::server(&program, "server-again", &ports, folder, &[])?;
    wait_until_back(&mut swarm, options.agents)?;
    let all = client.now();
    let (server_cpu_s, agents_cpu_s) = (server.cpu_seconds(), swarm.cpu_seconds() - agents_cpu);
    let live = client
        .first_served(started)
        .context("the live app was never served again")?;
    let missed = sweep::run(ports.proxy, options.agents)?;
    std::thread::sleep(calm);
    let end = client.now();
    let storm = Storm {
        agents: options.agents,
        first_join,
        live_back: live.saturating_sub(started),
        all_back: all.saturating_sub(started),
        before: client.span(Duration::from_secs(1), before),
        during: client.span(live, all),
        after: client.span(end.saturating_sub(calm), end),
        server_cpu_s,
        agents_cpu_s,
        missed,
        peak_mib: server.memory().peak_bytes >> 20,
    };
    client.stop()?;
    ensure!(!server.has_ended()?, "the control plane ended");
    Ok(storm)
}

/// Waits until the agents have noticed that the control plane is gone, and are all back.
fn wait_until_back(swarm: &mut Swarm, count: u32) -> Result<()> {
    let waited = Stopwatch::start();
    while swarm.active() > count / 2 {
        if waited.elapsed() > PATIENCE {
            bail!("the agents do not notice that the control plane is gone");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    swarm.wait_until_all_active(PATIENCE).map(drop)
}

impl Storm {
    fn table(&self) -> Table {
        let mut table = Table::new(&["what", "measured", "goal"]);
        let mut row = |what: &str, measured: String, goal: &str| {
            table.row(vec![what.to_owned(), measured, goal.to_owned()]);
        };
        let client = |span: &Span| {
            let Span { served, failed, .. } = span;
            let (p50, p99) = (duration(span.p50), duration(span.p99));
            let longest = duration(span.longest);
            format!("p50 {p50}, p99 {p99}, longest {longest}; {served} served, {failed} failed")
        };
        let ratio = self.during.p99.as_secs_f64() / self.before.p99.as_secs_f64();
        let agents = self.agents;
        row("agents", agents.to_string(), "10000");
        row(
            "all joined for the first time",
            seconds(self.first_join),
            "–",
        );
        row("live app served again", seconds(self.live_back), "–");
        row("all back", seconds(self.all_back), "<= 15 s");
        let Missed { count, example } = &self.missed;
        row(
            "apps that did not answer then",
            format!("{count} {example}"),
            "0",
        );
        row("live client before", client(&self.before), "–");
        row("live client during the storm", client(&self.during), "–");
        row("its p99 during / before", format!("{ratio:.1}"), "<= 2");
        row("live client after", client(&self.after), "–");
        let cpu = |cpu_s: f64| {
            format!(
                "{cpu_s:.1} s, {:.2} ms each",
                cpu_s * 1e3 / f64::from(agents)
            )
        };
        row("CPU of the control plane", cpu(self.server_cpu_s), "–");
        row("CPU of the agents", cpu(self.agents_cpu_s), "–");
        row(
            "its resident memory at most",
            format!("{} MiB", self.peak_mib),
            "–",
        );
        table
    }
}
