//! Many agents in one process: the real agent, each on a simulated machine of its own.
//!
//! It prints how many of them are active whenever that changes, and ends with its standard input,
//! so that it never outlives the benchmark.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use ee_agent::{Agent, AgentState, settings::AgentSettings};
use ee_protocol::settings::{SecretRule, Sources};
use ee_testbed::platform::{DEFAULT_SEED, SimOptions};
use ee_testbed::{DemoImage, QuoteVersion, SimPlatform, SimQuoteProvider};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often the active agents are counted; also how exact their number is in time.
const COUNTED_EVERY: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub struct Options {
    /// Tunnel endpoint.
    #[arg(long)]
    control: String,
    /// What all of them serve.
    #[arg(long)]
    backend: SocketAddr,
    #[arg(long)]
    count: u32,
}

/// The app that agent `number` serves, alone.
pub fn app(number: u32) -> String {
    format!("swarm-{number}")
}

/// Runs until standard input ends.
pub fn run(options: &Options) -> Result<()> {
    // As in the program itself: one thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime")?;
    let agents = agents(options)?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let states: Vec<_> = agents.iter().map(Agent::states).collect();
        let mut running = JoinSet::new();
        for agent in agents {
            running.spawn(agent.run(shutdown.clone()));
        }
        tokio::select! {
            counted = count(&states) => counted,
            ended = stdin_ends() => ended,
        }
    })
}

fn agents(options: &Options) -> Result<Vec<Agent>> {
    let platform = SimPlatform::new(DEFAULT_SEED, SimOptions::default());
    let image = DemoImage::new(DEFAULT_SEED);
    (0..options.count)
        .map(|number| {
            // Machine 0 is the one that agents started by hand are on.
            let machine = platform.sibling(number + 1);
            let provider = SimQuoteProvider::new(machine, &image, QuoteVersion::V4);
            let settings = settings(options, number)?;
            Agent::new(settings, Arc::new(provider)).map_err(|error| anyhow!(error))
        })
        .collect()
}

fn settings(options: &Options, number: u32) -> Result<AgentSettings> {
    let env = [
        ("EE_CONTROL_WS", options.control.clone()),
        ("EE_REPO", DemoImage::REPO.to_owned()),
        ("EE_RELEASE_TAG", DemoImage::TAG.to_owned()),
        ("EE_NETWORK", "sandbox-1".to_owned()),
        ("EE_APP_NAME", app(number)),
        ("EE_AGENT_ID", format!("swarm-agent-{number}")),
        ("EE_BACKEND_URL", format!("http://{}", options.backend)),
    ];
    let sources = Sources {
        env: BTreeMap::from(env.map(|(name, value)| (name.to_owned(), value))),
        ..Sources::default()
    };
    let read = AgentSettings::read(&sources, &[], SecretRule::AnyForDevelopment);
    Ok(read.map_err(|refused| anyhow!("{:?}", refused.0))?.settings)
}

/// Prints the number of active agents whenever it changes.
async fn count(states: &[watch::Receiver<AgentState>]) -> Result<()> {
    let mut told = None;
    loop {
        let is_active =
            |state: &&watch::Receiver<AgentState>| *state.borrow() == AgentState::Active;
        let active = states.iter().filter(is_active).count();
        if told.replace(active) != Some(active) {
            let mut out = std::io::stdout();
            writeln!(out, "{active}")
                .and_then(|()| out.flush())
                .context("telling")?;
        }
        tokio::time::sleep(COUNTED_EVERY).await;
    }
}

/// Resolves when standard input ends. The read blocks a thread of its own, which the exit of the
/// process ends.
async fn stdin_ends() -> Result<()> {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    end.await.context("watching standard input")
}
