//! `easyenclave dev agent`: one agent alone, on a machine of the simulated platform.
//!
//! The same settings as `easyenclave-agent`; repository, tag and network default to the demo
//! image's. Only the source of quotes differs from the real agent.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context;
use ee_agent::{Agent, settings::AgentSettings};
use ee_protocol::settings::{SecretRule, Sources};
use ee_testbed::{DemoImage, QuoteVersion, SimQuoteProvider};
use tokio_util::sync::CancellationToken;

use super::{
    child::Image,
    simulation::{Seed, default},
};

/// Arguments of `easyenclave dev agent`.
#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    #[command(flatten)]
    seed: Seed,
    /// What the simulated machine runs
    #[arg(long, value_enum, default_value_t = Image::Good)]
    image: Image,
    /// Which machine of the simulated platform
    #[arg(long, default_value_t = 0)]
    machine: u32,
    /// Leave when standard input ends: agents of `easyenclave dev` never outlive it
    #[arg(long)]
    leave_with_stdin: bool,
}

/// Serves until SIGTERM, Ctrl-C, or the end of standard input if that was asked for.
pub async fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    let mut sources = Sources::from_process();
    for (name, value) in [
        ("EE_REPO", DemoImage::REPO),
        ("EE_RELEASE_TAG", DemoImage::TAG),
        ("EE_NETWORK", "sandbox-1"),
    ] {
        default(&mut sources, name, value);
    }
    let read = AgentSettings::read(&sources, &[], SecretRule::AnyForDevelopment)
        .map_err(|refused| anyhow::anyhow!(super::joined(&refused.0)))?;
    super::log_to_stderr(&read.settings.log.filter);
    let agent = Agent::new(read.settings, Arc::new(args.provider()))?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let leave_with_stdin = args.leave_with_stdin;
    let told = async move {
        let outcome = told_to_stop(leave_with_stdin).await;
        stop.cancel();
        outcome
    };
    let ((), outcome) = tokio::join!(agent.run(shutdown), told);
    outcome.map(|()| ExitCode::SUCCESS)
}

impl AgentArgs {
    fn provider(&self) -> SimQuoteProvider {
        let image = match self.image {
            Image::Good => self.seed.image(),
            Image::Rogue => self.seed.image().rogue(),
        };
        let machine = self.seed.platform().sibling(self.machine);
        SimQuoteProvider::new(machine, &image, QuoteVersion::V4)
    }
}

async fn told_to_stop(leave_with_stdin: bool) -> anyhow::Result<()> {
    if !leave_with_stdin {
        return super::stop_signal().await;
    }
    tokio::select! {
        told = super::stop_signal() => told,
        ended = stdin_ends() => ended,
    }
}

/// Resolves when standard input ends. The read blocks a thread of its own, which the exit of the
/// process ends.
async fn stdin_ends() -> anyhow::Result<()> {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    end.await.context("watching standard input")
}
