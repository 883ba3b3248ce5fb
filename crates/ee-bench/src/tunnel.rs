//! Requests through control plane and agent, beside the same backend alone and behind nginx.
//!
//! Four chains over one backend, each program a process of its own so that its CPU can be read:
//! client → backend; client → nginx → backend; client → control plane → agent → backend, with the
//! inner TLS off and on. The load generator is the fifth process on the same cores, so rates are
//! lower than the chain alone would reach; CPU seconds and ratios are what to compare.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::{self, Load, Measured};
use crate::process::{Process, free_address};
use crate::table::Table;

/// The app's name, one label below the domain the development server uses.
const APP: &str = "bench";

#[derive(clap::Args)]
pub struct Options {
    /// Seconds for each run of a cell of the table.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Runs of each cell; the one with the most requests counts, for the others were disturbed.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Bodies, in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 65_536, 1_048_576])]
    bytes: Vec<usize>,
    /// Kept connections.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// Which ways to the backend are measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = WAYS)]
    ways: Vec<Way>,
    /// The command line tool whose `dev server` and `dev agent` are measured.
    #[arg(long)]
    easyenclave: Option<PathBuf>,
    /// nginx, to stand in between; left out where it is not installed.
    #[arg(long, default_value = "nginx")]
    nginx: PathBuf,
}

/// A way from the client to the backend.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    Direct,
    Nginx,
    /// Without TLS inside the WebSocket.
    Tunnel,
    /// With it.
    TunnelTls,
}

const WAYS: [Way; 4] = [Way::Direct, Way::Nginx, Way::Tunnel, Way::TunnelTls];

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Tunnel => "tunnel",
            Self::TunnelTls => "tunnel, inner TLS",
        }
    }
}

/// A way with its processes running.
struct Chain {
    way: Way,
    target: SocketAddr,
    host: String,
    /// The processes whose CPU counts: all between client and backend.
    between: Vec<Process>,
}

/// One cell of the table.
struct Cell {
    way: Way,
    measured: Measured,
    cpu_seconds_per_10k: f64,
}

pub fn run(options: &Options) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("ee-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).context("a folder for logs")?;
    let outcome = measure(options, &folder);
    if outcome.is_ok() {
        std::fs::remove_dir_all(&folder).context("removing the folder of the logs")?;
    } else {
        eprintln!("logs: {}", folder.display());
    }
    outcome
}

fn measure(options: &Options, folder: &Path) -> Result<()> {
    let (_backend, address) = start_backend(folder)?;
    let mut chains = Vec::new();
    for &way in &options.ways {
        chains.extend(start(way, options, folder, address)?);
    }
    let runtime = tokio::runtime::Runtime::new().context("the runtime")?;
    let head = [
        "body",
        "conns",
        "chain",
        "requests/s",
        "p50",
        "p99",
        "CPU s/10k",
        "x nginx",
        "not 200",
    ];
    let mut table = Table::new(&head);
    for &body_bytes in &options.bytes {
        for &connections in &options.connections {
            let mut cells = Vec::new();
            for chain in &chains {
                let load = load_of(chain, options.seconds, connections, body_bytes);
                cells.push(best_cell(&runtime, chain, &load, options.runs)?);
            }
            for row in rows(&cells, body_bytes, connections) {
                eprintln!("{}", row.join("  "));
                table.row(row);
            }
        }
    }
    println!("{}", table.markdown());
    Ok(())
}

fn start(way: Way, options: &Options, folder: &Path, backend: SocketAddr) -> Result<Option<Chain>> {
    match way {
        Way::Direct => Ok(Some(Chain {
            way,
            target: backend,
            host: backend.to_string(),
            between: Vec::new(),
        })),
        Way::Nginx => nginx_chain(options, folder, backend),
        Way::Tunnel | Way::TunnelTls => tunnel_chain(way, options, folder, backend).map(Some),
    }
}

fn load_of(chain: &Chain, seconds: u64, connections: usize, body_bytes: usize) -> Load {
    /// Bounds the memory for latencies: 16 B each.
    const REQUESTS_MAX: usize = 2_000_000;
    Load {
        target: chain.target,
        host: chain.host.clone(),
        path: format!("/bytes/{body_bytes}"),
        connections,
        length: Duration::from_secs(seconds),
        requests_max: REQUESTS_MAX,
        body_bytes,
    }
}

fn best_cell(
    runtime: &tokio::runtime::Runtime,
    chain: &Chain,
    load: &Load,
    runs: usize,
) -> Result<Cell> {
    let mut best = cell(runtime, chain, load)?;
    for _ in 1..runs {
        let next = cell(runtime, chain, load)?;
        if next.measured.per_second() > best.measured.per_second() {
            best = next;
        }
    }
    Ok(best)
}

/// A warm-up, then the measurement; CPU is what the processes used meanwhile.
fn cell(runtime: &tokio::runtime::Runtime, chain: &Chain, load: &Load) -> Result<Cell> {
    let warm_up = Load {
        length: Duration::from_millis(300),
        ..load.clone()
    };
    let context = || format!("{} with {} connections", chain.way.name(), load.connections);
    runtime
        .block_on(load::run(&warm_up))
        .with_context(context)?;
    let before = cpu_seconds(chain);
    let measured = runtime.block_on(load::run(load)).with_context(context)?;
    let used = cpu_seconds(chain) - before;
    let cpu_seconds_per_10k = used * 10_000.0 / load::count(measured.requests);
    Ok(Cell {
        way: chain.way,
        measured,
        cpu_seconds_per_10k,
    })
}

fn cpu_seconds(chain: &Chain) -> f64 {
    chain.between.iter().map(Process::cpu_seconds).sum()
}

fn rows(cells: &[Cell], body_bytes: usize, connections: usize) -> Vec<Vec<String>> {
    let nginx = cells.iter().find(|cell| cell.way == Way::Nginx);
    let ratio = |cell: &Cell| match nginx {
        Some(nginx)
            if matches!(cell.way, Way::Tunnel | Way::TunnelTls)
                && nginx.cpu_seconds_per_10k > 0.0 =>
        {
            format!(
                "{:.2}",
                cell.cpu_seconds_per_10k / nginx.cpu_seconds_per_10k
            )
        }
        _ => "–".to_owned(),
    };
    let row = |cell: &Cell| {
        vec![
            size(body_bytes),
            connections.to_string(),
            cell.way.name().to_owned(),
            format!("{:.0}", cell.measured.per_second()),
            duration(cell.measured.percentile(500)),
            duration(cell.measured.percentile(990)),
            if cell.way == Way::Direct {
                "–".to_owned()
            } else {
                format!("{:.3}", cell.cpu_seconds_per_10k)
            },
            ratio(cell),
            cell.measured.refused.to_string(),
        ]
    };
    cells.iter().map(row).collect()
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

fn duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros < 1_000 {
        format!("{micros} us")
    } else {
        format!("{:.1} ms", duration.as_secs_f64() * 1e3)
    }
}

fn start_backend(folder: &Path) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let own = std::env::current_exe().context("the path of ee-bench")?;
    let mut command = Command::new(own);
    command.args(["backend", "--listen", &address.to_string()]);
    let mut backend = Process::start("backend", &mut command, &folder.join("backend.log"))?;
    backend.wait_for(address)?;
    Ok((backend, address))
}

fn nginx_chain(options: &Options, folder: &Path, backend: SocketAddr) -> Result<Option<Chain>> {
    if Command::new(&options.nginx).arg("-v").output().is_err() {
        eprintln!("nginx is not installed: its rows are left out");
        return Ok(None);
    }
    let target = free_address()?;
    let prefix = folder.join("nginx");
    std::fs::create_dir_all(&prefix).context("nginx's folder")?;
    let configuration = prefix.join("nginx.conf");
    std::fs::write(
        &configuration,
        nginx_configuration(&prefix, target, backend),
    )?;
    let mut command = Command::new(&options.nginx);
    command
        .args(["-e", "stderr", "-p"])
        .arg(&prefix)
        .arg("-c")
        .arg(&configuration);
    let mut nginx = Process::start("nginx", &mut command, &folder.join("nginx.log"))?;
    nginx.wait_for(target)?;
    let between = vec![nginx];
    Ok(Some(Chain {
        way: Way::Nginx,
        target,
        host: target.to_string(),
        between,
    }))
}

/// `proxy_pass` as nginx comes, with kept upstream connections; no log, nothing on disk.
fn nginx_configuration(prefix: &Path, listen: SocketAddr, backend: SocketAddr) -> String {
    let prefix = prefix.display();
    format!(
        "worker_processes auto;\ndaemon off;\npid {prefix}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n access_log off;\n keepalive_requests 100000000;\n\
         client_body_temp_path {prefix}/body;\n proxy_temp_path {prefix}/proxy;\n\
         fastcgi_temp_path {prefix}/fastcgi;\n uwsgi_temp_path {prefix}/uwsgi;\n\
         scgi_temp_path {prefix}/scgi;\n\
         upstream backend {{ server {backend}; keepalive 128; keepalive_requests 100000000; }}\n\
         server {{\n  listen {listen};\n  location / {{\n   proxy_pass http://backend;\n\
         proxy_http_version 1.1;\n   proxy_set_header Connection '';\n\
         proxy_max_temp_file_size 0;\n  }}\n }}\n}}\n"
    )
}

fn tunnel_chain(way: Way, options: &Options, folder: &Path, backend: SocketAddr) -> Result<Chain> {
    let (server_log, agent_log) = match way {
        Way::TunnelTls => ("tls-server.log", "tls-agent.log"),
        Way::Direct | Way::Nginx | Way::Tunnel => ("server.log", "agent.log"),
    };
    let (control, proxy) = (free_address()?, free_address()?);
    let mut server = command(options)?;
    server.args(["dev", "server"]);
    if way == Way::Tunnel {
        let configuration = folder.join("server.toml");
        std::fs::write(
            &configuration,
            "[networks.sandbox-1]\ninner_tls = \"off\"\n",
        )
        .context("server.toml")?;
        server.env("EE_CONFIG", configuration);
    }
    server.env("EE_CONTROL_PORT", control.port().to_string());
    server.env("EE_PROXY_PORT", proxy.port().to_string());
    server.env("EE_DRAIN_SEC", "1");
    let mut server = Process::start("server", &mut server, &folder.join(server_log))?;
    server.wait_for(control)?;
    let mut agent = command(options)?;
    agent.args(["dev", "agent"]);
    agent.env("EE_CONTROL_WS", format!("ws://{control}/v1/tunnel"));
    agent.env("EE_APP_NAME", APP);
    agent.env("EE_AGENT_ID", "bench-1");
    agent.env("EE_BACKEND_URL", format!("http://{backend}"));
    let mut agent = Process::start("agent", &mut agent, &folder.join(agent_log))?;
    let chain_host = format!("{APP}.localhost");
    agent.wait_until("the agent to be attested", || serves(proxy, &chain_host))?;
    Ok(Chain {
        way,
        target: proxy,
        host: chain_host,
        between: vec![server, agent],
    })
}

/// The command line tool, which lies beside ee-bench, with an environment of its own.
fn command(options: &Options) -> Result<Command> {
    let path = match &options.easyenclave {
        Some(path) => path.clone(),
        None => std::env::current_exe()
            .context("the path of ee-bench")?
            .with_file_name("easyenclave"),
    };
    ensure!(
        path.is_file(),
        "{} is missing: cargo build --release -p ee-cli",
        path.display()
    );
    let mut command = Command::new(path);
    command.env_clear();
    Ok(command)
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
        target,
        host: host.to_owned(),
        path: "/bytes/1".to_owned(),
        connections: 1,
        length: Duration::from_secs(1),
        requests_max: 1,
        body_bytes: 1,
    };
    runtime
        .block_on(load::run(&probe))
        .is_ok_and(|measured| measured.refused == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!(size(100), "100 B");
        assert_eq!(size(65_536), "64 KiB");
        assert_eq!(size(1_048_576), "1 MiB");
        assert_eq!(duration(Duration::from_micros(950)), "950 us");
        assert_eq!(duration(Duration::from_micros(1_250)), "1.2 ms");
    }
}
