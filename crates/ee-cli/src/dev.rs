//! `easyenclave dev`: the whole network on one machine, over simulated TDX.
//!
//! The simulation stands below the verifier: what runs above is the production code, which is
//! given another root (EXPERIENCE, law 3). `dev server` and `dev agent` run the halves as
//! processes of their own under the same `EE_*` settings, for tests that kill processes and for
//! benchmarks that measure them.

mod agent;
mod backend;
mod child;
mod ledger;
mod network;
mod server;
mod simulation;
mod state;

use std::process::ExitCode;

use anyhow::Context;

use self::{agent::AgentArgs, network::NetworkArgs, server::ServerArgs, state::DevState};

/// Arguments of `easyenclave dev`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    half: Option<Half>,
    #[command(flatten)]
    network: NetworkArgs,
}

/// Parts of a development network.
#[derive(Debug, clap::Subcommand)]
enum Half {
    /// The control plane alone; prints its addresses as one line of JSON
    Server(ServerArgs),
    /// One agent alone, on a simulated machine
    Agent(AgentArgs),
    /// The demo backend alone; prints its address as one line of JSON
    Backend,
    /// Kill an agent of the running network, to see the others take over
    Kill {
        /// The agent's id, as `easyenclave dev` printed it
        agent: String,
        /// Port of the network's API; needed if several run
        #[arg(long)]
        control_port: Option<u16>,
    },
}

/// Runs what was asked for until it is told to stop.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    // As in the programs themselves: one thread for an agent, several for a control plane.
    let runtime = match args.half {
        Some(Half::Agent(_)) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        Some(Half::Server(_) | Half::Backend | Half::Kill { .. }) | None => {
            ee_server::runtime::runtime()
        }
    }
    .context("starting the runtime")?;
    match args.half {
        None => runtime.block_on(network::run(args.network)),
        Some(Half::Server(args)) => runtime.block_on(server::run(args)),
        Some(Half::Agent(args)) => runtime.block_on(agent::run(args)),
        Some(Half::Backend) => runtime.block_on(backend::run()),
        Some(Half::Kill {
            agent,
            control_port,
        }) => kill(&agent, DevState::port(control_port)?),
    }
}

fn kill(agent: &str, control_port: u16) -> anyhow::Result<ExitCode> {
    let pid = DevState::agent(control_port, agent)?;
    let status = std::process::Command::new("kill")
        .args(["-s", "KILL", &pid.to_string()])
        .status()
        .context("running kill")?;
    anyhow::ensure!(
        status.success(),
        "process {pid} of agent {agent} is not there any more"
    );
    Ok(ExitCode::SUCCESS)
}

/// Waits for Ctrl-C or SIGTERM.
async fn stop_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Starts the log of an agent or of the control plane on standard error.
fn log_to_stderr(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::new(filter);
    // An error means that the log was started before: one log is enough.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .try_init();
}

/// Every problem on a line of its own.
fn joined(problems: &[ee_protocol::settings::Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
