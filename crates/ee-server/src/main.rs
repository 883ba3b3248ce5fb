//! `easyenclave-server`: the control plane as a process.
//!
//! Settings come from flags, environment and file; the trust root is Intel's, compiled in.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Arg, ArgMatches, Command, FromArgMatches, Subcommand};
use ee_attest::TrustRoot;
use ee_protocol::settings::{EXIT_CONFIG, Problem, SecretRule, Setting, Sources};
use ee_server::{
    Inherited, Server, ServerOptions, Signals, StartError,
    backup::{self, UntilArg},
    config::{self, ConfigCommand, Settings, TABLE},
    healthcheck,
    http::openapi,
    logging,
};

/// glibc's allocator returns the top of the heap after each large body and faults it in again for
/// the next one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What to do.
#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Run the control plane (default)
    Serve,
    /// Check, show or explain the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask the server on this machine for /health; exit status 0 if it answers
    Healthcheck,
    /// Copy the database into one verified file; the server may be running
    Backup {
        /// The file to make; without it, one in EE_BACKUP_DIR
        file: Option<PathBuf>,
    },
    /// Put a backup, verified again and brought forward with what EE_BACKUP_DIR holds behind it,
    /// where EE_DB_PATH says; nothing may be there
    Restore {
        /// The file that `backup` or the server made; without it, the newest in EE_BACKUP_DIR
        file: Option<PathBuf>,
        /// How far to go: an instant (RFC 3339), a batch or a root; without it, to the end
        #[arg(long)]
        until: Option<UntilArg>,
    },
    /// Print the description of the API (OpenAPI 3.1)
    Openapi,
    /// Print the version
    Version,
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    let mut sources = Sources::from_process();
    sources.flags = flags(&matches);
    let action = Action::from_arg_matches(&matches).unwrap_or(Action::Serve);
    match action {
        Action::Serve => serve(&sources),
        Action::Config(command) => answered(command.run(&sources)),
        Action::Healthcheck => check_health(&sources),
        Action::Backup { file } => with_settings(&sources, async |settings| {
            backup::back_up(settings, file.as_deref()).await
        }),
        Action::Restore { file, until } => with_settings(&sources, async |settings| {
            backup::restore(settings, file.as_deref(), until.unwrap_or_default()).await
        }),
        Action::Openapi => answered(Ok(format!("{:#}\n", openapi::document()))),
        Action::Version => answered(Ok(format!(
            "easyenclave-server {}\n",
            env!("CARGO_PKG_VERSION")
        ))),
    }
}

/// The command line: the subcommands, and a flag for every setting that is no secret (the
/// arguments of a process are visible to everybody on the machine).
fn command() -> Command {
    let flag = |row: &Setting| {
        let name = row.name;
        // clap wants names that live as long as the program, and so do these.
        let long: &'static str = row.file_key().replace('_', "-").leak();
        Arg::new(name)
            .long(long)
            .value_name(name)
            .help(row.meaning)
            .global(true)
    };
    let command = Command::new("easyenclave-server")
        .version(env!("CARGO_PKG_VERSION"))
        .args(TABLE.iter().filter(|row| !row.secret).map(flag));
    Action::augment_subcommands(command).about("The control plane of EasyEnclave")
}

fn flags(matches: &ArgMatches) -> std::collections::BTreeMap<String, String> {
    let plain = TABLE.iter().filter(|row| !row.secret);
    let given = |row: &Setting| {
        let text = matches.get_one::<String>(row.name)?;
        Some((row.name.to_owned(), text.clone()))
    };
    plain.filter_map(given).collect()
}

fn serve(sources: &Sources) -> ExitCode {
    let loaded = match config::load(sources, SecretRule::Strong) {
        Ok(loaded) => loaded,
        Err(problems) => return refused(&problems),
    };
    logging::start(&loaded.settings);
    for unknown in loaded.reader.unknown_variables() {
        tracing::warn!(event = "unknown_variable", name = %unknown.name, why = %unknown.message);
    }
    match ee_server::runtime::runtime() {
        Ok(runtime) => runtime.block_on(run(loaded.settings)),
        Err(error) => failed(&format!("cannot start the runtime: {error}")),
    }
}

async fn run(settings: Settings) -> ExitCode {
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("cannot listen for signals: {error}")),
    };
    let mut options = ServerOptions::new(TrustRoot::intel());
    options.sockets = match Inherited::from_service_manager() {
        Ok(sockets) => sockets,
        Err(error) => return failed(&format!("LISTEN_FDS: {error}")),
    };
    let server = match Server::start(settings, options).await {
        Ok(server) => server,
        Err(StartError::Config(problem)) => return refused(&[problem]),
        Err(StartError::Failed(error)) => return failed(&format!("{error:#}")),
    };
    server.shutdown_on(signals);
    match server.join().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(died) => failed(&died.to_string()),
    }
}

/// Runs a command that needs the settings and no server.
fn with_settings(
    sources: &Sources,
    command: impl AsyncFnOnce(&Settings) -> anyhow::Result<String>,
) -> ExitCode {
    let loaded = match config::load(sources, SecretRule::Strong) {
        Ok(loaded) => loaded,
        Err(problems) => return refused(&problems),
    };
    let runtime = match ee_server::runtime::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(command(&loaded.settings)) {
        Ok(text) => answered(Ok(text)),
        Err(error) => failed(&format!("{error:#}")),
    }
}

fn check_health(sources: &Sources) -> ExitCode {
    match config::load(sources, SecretRule::Strong) {
        Ok(loaded) => match healthcheck::check(&loaded.settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => failed(&message),
        },
        Err(problems) => refused(&problems),
    }
}

fn answered(answer: Result<String, Vec<Problem>>) -> ExitCode {
    match answer {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format!("cannot write: {error}")),
        },
        Err(problems) => refused(&problems),
    }
}

/// Every problem on a line of its own; exit status 78.
fn refused(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        complain(&format!("error[config]: {problem}"));
    }
    complain("next: easyenclave-server config explain NAME");
    ExitCode::from(EXIT_CONFIG)
}

fn failed(message: &str) -> ExitCode {
    complain(&format!("error: {message}"));
    ExitCode::FAILURE
}

fn complain(line: &str) {
    // With standard error gone, the exit status is all that can be said.
    let _ = writeln!(std::io::stderr(), "{line}");
}
