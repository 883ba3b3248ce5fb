//! `easyenclave-agent`: reads the settings, makes quotes with the kernel, keeps the tunnel up.
//!
//! Exit status: 0 after a clean shutdown, 1 when it cannot start, 2 for wrong usage, 78 for
//! refused settings (EXPERIENCE 3).

use std::{io::IsTerminal as _, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use ee_agent::{
    Agent, claims,
    settings::{AgentSettings, LogFormat, LogSettings, SettingsRefused},
    tsm::TsmProvider,
};
use ee_protocol::settings::EXIT_CONFIG;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// glibc's allocator returns the top of the heap after each large body and faults it in again for
/// the next one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Proves what this VM runs and serves its app through an outbound tunnel. Settings are read
/// from `EE_*` variables.
#[derive(Debug, Parser)]
#[command(name = "easyenclave-agent", version)]
struct Args {
    #[command(subcommand)]
    command: Option<Sub>,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Connect and serve (default).
    Run,
    /// Look at the settings.
    Config {
        #[command(subcommand)]
        command: ConfigSub,
    },
    /// Print the version.
    Version,
}

#[derive(Debug, Subcommand)]
enum ConfigSub {
    /// Say what is wrong with the settings, unknown variables included.
    Check,
}

fn main() -> ExitCode {
    match Args::parse().command.unwrap_or(Sub::Run) {
        Sub::Run => run(),
        Sub::Config {
            command: ConfigSub::Check,
        } => check(),
        Sub::Version => {
            print_line(&format!("easyenclave-agent {}", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
    }
}

fn run() -> ExitCode {
    let read = match AgentSettings::from_process(&[]) {
        Ok(read) => read,
        Err(refused) => return refuse(&refused),
    };
    start_logging(&read.settings.log);
    for unknown in &read.unknown {
        tracing::warn!(
            event = "unknown_variable",
            name = unknown.name,
            unknown.message
        );
    }
    match serve(read.settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(event = "agent_failed", error = format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(settings: AgentSettings) -> anyhow::Result<()> {
    let executable = std::env::current_exe().context("finding the running executable")?;
    let claims = claims::of_executable(&executable, &settings.claims)
        .with_context(|| format!("hashing {}", executable.display()))?;
    let provider = TsmProvider::new(settings.tsm_path.clone(), claims);
    // A tunnel and the requests it serves are one task; with more threads each wake-up may end on
    // another core, which costs more than the work of a small request. Quotes are made aside.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let agent = Agent::new(settings, Arc::new(provider))?;
        let shutdown = CancellationToken::new();
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let on_signal = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!(event = "shutting_down");
            shutdown.cancel();
        };
        tokio::join!(agent.run(shutdown.clone()), on_signal);
        Ok(())
    })
}

fn check() -> ExitCode {
    match AgentSettings::from_process(&[]) {
        Ok(read) if read.unknown.is_empty() => {
            print_line("ok");
            ExitCode::SUCCESS
        }
        Ok(read) => refuse(&SettingsRefused(read.unknown)),
        Err(refused) => refuse(&refused),
    }
}

#[expect(clippy::print_stderr, reason = "before there is a log to write to")]
fn refuse(SettingsRefused(problems): &SettingsRefused) -> ExitCode {
    for problem in problems {
        eprintln!("error[config]: {problem}");
    }
    eprintln!("next: easyenclave-agent config check");
    ExitCode::from(EXIT_CONFIG)
}

fn start_logging(settings: &LogSettings) {
    let json = match settings.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(&settings.filter))
        .with_writer(std::io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.init();
    }
}

#[expect(clippy::print_stdout, reason = "this is the command's output")]
fn print_line(text: &str) {
    println!("{text}");
}
