//! A rolling restart under load: the control plane, then each agent, while clients ask.
//!
//! The listening sockets belong to this process, as they belong to systemd where a socket unit
//! starts the control plane: whoever connects between two processes waits in the queue. Clients
//! are of both kinds, with kept connections and with a new one for each request; a request counts
//! as failed if it gets no answer or another than 200, and no client tries again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::backend;
use crate::inherited::Sockets;
use crate::live::LiveClient;
use crate::load::{Load, Reuse};
use crate::process::Process;
use crate::setup::{self, Ports};
use crate::stopwatch::Stopwatch;
use crate::table::{Table, duration};

/// The app of the clients, served by two agents.
const APP: &str = "bench";
const AGENTS: [&str; 2] = ["first", "second"];
/// Clients of each kind; each pauses between its requests.
const CONNECTIONS: usize = 8;
const PAUSE: Duration = Duration::from_millis(2);
/// Calm before and after each restart: agents reconnect, breakers close.
const CALM: Duration = Duration::from_secs(4);
/// How long a process may take to leave: its drain, and some.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(45);

#[derive(clap::Args)]
pub struct Options {
    /// The command line tool whose `dev server` and `dev agent` are measured.
    #[arg(long)]
    easyenclave: Option<PathBuf>,
}

pub fn run(options: &Options) -> Result<()> {
    let folder = tempfile::TempDir::with_prefix("ee-bench-restart-").context("a folder")?;
    let folder = folder.path();
    let program = setup::easyenclave(options.easyenclave.as_deref())?;
    let (_backend, backend) = backend::start(folder)?;
    let sockets = Sockets::bind()?;
    let ports = sockets.ports();
    let start = |name: &str| sockets.server(&program, name, folder);
    let mut server = start("server")?;
    server.wait_for(ports.control)?;
    let agent = |name: &str| setup::agent(&program, name, &ports, APP, backend, folder);
    let mut agents = AGENTS.map(agent).into_iter().collect::<Result<Vec<_>>>()?;
    std::thread::sleep(CALM);
    let clients = Clients::start(&ports);
    let mut phases = vec![("calm", clients.now())];
    std::thread::sleep(CALM);
    phases.push(("the control plane restarts", clients.now()));
    leave(&mut server)?;
    // As a service manager does: the next process starts when this one has ended.
    server = start("server-again")?;
    std::thread::sleep(2 * CALM);
    for (name, process) in AGENTS.into_iter().zip(&mut agents) {
        phases.push(("an agent of two restarts", clients.now()));
        leave(process)?;
        *process = agent(name)?;
        std::thread::sleep(CALM);
    }
    phases.push(("end", clients.now()));
    println!("{}", clients.table(&phases).markdown());
    clients.stop()?;
    drop(server);
    Ok(())
}

fn leave(process: &mut Process) -> Result<()> {
    process.terminate()?;
    let waited = Stopwatch::start();
    while !process.has_ended()? {
        if waited.elapsed() > LEAVE_TIMEOUT {
            bail!("a process does not leave");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Clients of both kinds.
struct Clients {
    kept: LiveClient,
    fresh: LiveClient,
}

impl Clients {
    fn start(ports: &Ports) -> Self {
        let load = |reuse| Load {
            connections: CONNECTIONS,
            reuse,
            ..Load::get(ports.proxy, format!("{APP}.localhost"), "/bytes/100")
        };
        Self {
            kept: LiveClient::start(&load(Reuse::Kept), PAUSE),
            fresh: LiveClient::start(&load(Reuse::Never), PAUSE),
        }
    }

    fn now(&self) -> Duration {
        self.kept.now()
    }

    fn table(&self, phases: &[(&str, Duration)]) -> Table {
        let mut table = Table::new(&["phase", "clients", "served", "failed", "p99", "longest"]);
        for pair in phases.windows(2) {
            let [(phase, from), (_, until)] = pair else {
                continue;
            };
            for (kind, client) in [("kept", &self.kept), ("new", &self.fresh)] {
                let span = client.span(*from, *until);
                table.row(vec![
                    (*phase).to_owned(),
                    kind.to_owned(),
                    span.served.to_string(),
                    span.failed.to_string(),
                    duration(span.p99),
                    duration(span.longest),
                ]);
            }
        }
        table
    }

    fn stop(self) -> Result<()> {
        self.kept.stop()?;
        self.fresh.stop()
    }
}
