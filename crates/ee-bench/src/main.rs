//! Load generator and micro benchmarks: the only place where wall time is measured.
//!
//! Every number stands beside a yardstick of the same run (the backend asked directly, nginx in
//! between, one P-256 verification), because only ratios survive a change of machine.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its table, and its progress beside it"
)]

mod agents;
mod backend;
mod heap;
mod idle;
mod inherited;
mod ledger;
mod live;
mod load;
mod process;
mod restart;
mod server;
mod setup;
mod stopwatch;
mod storm;
mod swarm;
mod sweep;
mod table;
mod tunnel;
mod verdict;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Benchmarks of EasyEnclave; build with --release")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Requests through control plane and agent, beside the backend alone and nginx.
    Tunnel(tunnel::Options),
    /// Memory of the control plane for each idle tunnel.
    Idle(idle::Options),
    /// Ten thousand agents that come back at once after a restart.
    Storm(storm::Options),
    /// A rolling restart under load.
    Restart(restart::Options),
    /// Verdicts per second and core, beside one P-256 verification.
    Verdict(verdict::Options),
    /// The books: transfers, settlement, restart, beside raw fdatasync and a naive ledger.
    Ledger(ledger::Options),
    /// The backend of the tunnel benchmark, as a process of its own.
    #[command(hide = true)]
    Backend {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// The control plane of the idle benchmark, as a process of its own.
    #[command(hide = true)]
    Server,
    /// Many agents, as a process of their own.
    #[command(hide = true)]
    Agents(agents::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().what {
        What::Tunnel(options) => tunnel::run(&options),
        What::Idle(options) => idle::run(&options),
        What::Storm(options) => storm::run(&options),
        What::Restart(options) => restart::run(&options),
        What::Verdict(options) => verdict::run(&options),
        What::Ledger(options) => ledger::run(&options),
        What::Backend { listen } => backend::run(listen),
        What::Server => server::run(),
        What::Agents(options) => agents::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ee-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
