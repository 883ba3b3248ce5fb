//! `easyenclave`: the command line of operators, providers and developers, and `dev`.

mod abuse;
mod account;
mod allowlist;
mod app;
mod audit;
mod client;
mod context;
mod credits;
mod dev;
mod evidence;
mod failure;
mod lock;
mod login;
mod money;
mod node;
mod output;
mod path;
mod payer;
mod period;
mod quote;
mod settle;
mod status;
mod token;
mod usage;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::{
    context::Target,
    failure::{Exit, Failure},
    output::Format,
};

/// glibc's allocator returns the top of the heap after each large body and faults it in again for
/// the next one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The coordinator of a network for attested compute.
#[derive(Debug, Parser)]
#[command(name = "easyenclave", version, propagate_version = true)]
struct Cli {
    /// Form of the output
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    target: Target,
    /// Key of a write whose answer got lost: under the same key it has no second effect
    #[arg(long, global = true)]
    idempotency_key: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run the whole network on this machine, over simulated TDX
    Dev(Box<dev::Args>),
    /// The control plane and its apps at a glance
    Status,
    /// Apps: who serves, and why not
    #[command(subcommand)]
    App(app::Question),
    /// Quotes: what they say, and whether they hold
    #[command(subcommand)]
    Quote(quote::Question),
    /// Allowlists: what a release publishes about itself
    #[command(subcommand)]
    Allowlist(allowlist::Task),
    /// Nodes: prices, stake, registration
    #[command(subcommand)]
    Node(node::Task),
    /// Accounts: what they hold and what moved
    #[command(subcommand)]
    Account(account::Question),
    /// Credits: buy and move them
    #[command(subcommand)]
    Credits(credits::Task),
    /// Compute that was used
    #[command(subcommand)]
    Usage(usage::Task),
    /// Credits set aside before compute runs
    #[command(subcommand)]
    Lock(lock::Task),
    /// Who pays for an app, period by period
    #[command(subcommand)]
    Payer(payer::Task),
    /// How periods were judged and paid
    #[command(subcommand)]
    Settle(settle::Task),
    /// Abuse reports
    #[command(subcommand)]
    Abuse(abuse::Task),
    /// The books, recomputed from their journal
    #[command(subcommand)]
    Audit(audit::Task),
    /// Managed tokens
    #[command(subcommand)]
    Token(token::Task),
    /// Who the token in use is
    Whoami,
    /// Try a token and remember it with its control plane
    Login(login::Login),
    /// Forget the current context and its token
    Logout,
    /// Remembered control planes
    #[command(subcommand)]
    Context(login::Remembered),
}

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    // An error only means that a provider is set already; there is one in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli.target.token = token();
    match run(cli) {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli {
        output,
        target,
        idempotency_key,
        command,
    } = cli;
    let client = || Ok::<_, anyhow::Error>(target.client()?.with_key(idempotency_key.clone()));
    match command {
        Command::Dev(args) => dev::run(*args),
        Command::Status => wait(async { status::run(&target.client()?, output).await }),
        Command::Quote(question) => quote::run(&question, output),
        Command::Allowlist(task) => allowlist::run(task, &target, output),
        Command::Login(args) => wait(login::login(args)),
        Command::Logout => login::logout(target.context.as_deref()),
        Command::Context(task) => login::context(task, output),
        Command::App(question) => wait(async { app::run(question, &client()?, output).await }),
        Command::Node(task) => wait(async { node::run(task, &client()?, output).await }),
        Command::Account(question) => {
            wait(async { account::run(question, &client()?, output).await })
        }
        Command::Credits(task) => wait(async { credits::run(task, &client()?, output).await }),
        Command::Usage(task) => wait(async { usage::run(task, &client()?, output).await }),
        Command::Lock(task) => wait(async { lock::run(task, &client()?, output).await }),
        Command::Payer(task) => wait(async { payer::run(task, &client()?, output).await }),
        Command::Settle(task) => wait(async { settle::run(task, &client()?, output).await }),
        Command::Abuse(task) => wait(async { abuse::run(task, &client()?, output).await }),
        Command::Audit(task) => wait(async { audit::run(&task, output).await }),
        Command::Token(task) => wait(async { token::run(task, &client()?, output).await }),
        Command::Whoami => wait(async { token::whoami(&client()?, output).await }),
    }
}

/// Runs one request to its end.
fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(work)
}

fn token() -> Option<String> {
    std::env::var_os("EE_TOKEN")?
        .into_string()
        .ok()
        .filter(|token| !token.is_empty())
}

#[expect(
    clippy::print_stderr,
    reason = "the one place that reports a failed command"
)]
fn report(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<Failure>() {
        Some(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
        None => {
            eprintln!("error: {error:#}");
            Exit::Failure.into()
        }
    }
}
