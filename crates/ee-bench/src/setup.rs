//! Control planes and agents under measurement: `easyenclave dev server` and `dev agent`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::load::{self, Load};
use crate::process::{Process, free_address};

/// Where a control plane listens.
#[derive(Clone, Copy)]
pub struct Ports {
    /// The API and the tunnel endpoint.
    pub control: SocketAddr,
    /// The apps.
    pub proxy: SocketAddr,
}

impl Ports {
    pub fn free() -> Result<Self> {
        Ok(Self {
            control: free_address()?,
            proxy: free_address()?,
        })
    }
}

/// The command line tool, which lies beside ee-bench unless it is named.
pub fn easyenclave(named: Option<&Path>) -> Result<PathBuf> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()
            .context("the path of ee-bench")?
            .with_file_name("easyenclave"),
    };
    ensure!(
        path.is_file(),
        "{} is missing: cargo build --release -p ee-cli",
        path.display()
    );
    Ok(path)
}

/// Starts a control plane that keeps what it knows in `folder`, so that another one can follow
/// it. `name` names its log; `settings` are `EE_*` variables.
pub fn server(
    program: &Path,
    name: &str,
    ports: &Ports,
    folder: &Path,
    settings: &[(&str, &str)],
) -> Result<Process> {
    let mut command = Command::new(program);
    command.env_clear();
    settle(&mut command, ports, folder)?;
    // At the end of the benchmark nobody waits for requests.
    command.env("EE_DRAIN_SEC", "1");
    command.envs(settings.iter().copied());
    let log = folder.join(format!("{name}.log"));
    let mut server = Process::start(name, &mut command, &log)?;
    server.wait_for(ports.control)?;
    Ok(server)
}

/// What every control plane under measurement is told.
pub fn settle(command: &mut Command, ports: &Ports, folder: &Path) -> Result<()> {
    let data = folder.join(format!("data-{}", ports.control.port()));
    std::fs::create_dir_all(&data).context("a folder for data")?;
    command.args(["dev", "server"]);
    command.env("EE_CONTROL_PORT", ports.control.port().to_string());
    command.env("EE_PROXY_PORT", ports.proxy.port().to_string());
    command.env("EE_DATA_DIR", &data);
    command.env("EE_DB_PATH", data.join("control-plane.db"));
    Ok(())
}

/// Starts an agent, and waits until its app is served. `name` is its id, and names its log.
pub fn agent(
    program: &Path,
    name: &str,
    ports: &Ports,
    app: &str,
    backend: SocketAddr,
    folder: &Path,
) -> Result<Process> {
    let mut command = Command::new(program);
    command.env_clear().args(["dev", "agent"]);
    command.env("EE_CONTROL_WS", format!("ws://{}/v1/tunnel", ports.control));
    command.env("EE_APP_NAME", app);
    command.env("EE_AGENT_ID", name);
    command.env("EE_BACKEND_URL", format!("http://{backend}"));
    let log = folder.join(format!("{name}.log"));
    let mut agent = Process::start(name, &mut command, &log)?;
    let host = format!("{app}.localhost");
    agent.wait_until("the agent to be attested", || serves(ports.proxy, &host))?;
    Ok(agent)
}

/// Whether one request gets a 200.
fn serves(target: SocketAddr, host: &str) -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return false;
    };
    let probe = Load {
        requests_max: 1,
        ..Load::get(target, host, "/bytes/1")
    };
    runtime
        .block_on(load::run(&probe))
        .is_ok_and(|measured| measured.refused == 0)
}
