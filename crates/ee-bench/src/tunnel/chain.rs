//! The ways from the client to the backend, with their processes running.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{APP, Options};
use crate::load::Load;
use crate::process::{Cpu, Process, free_address};
use crate::setup::{self, Ports};

/// A way from the client to the backend.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    Direct,
    Nginx,
    /// Another tunnel, which carries TCP and knows nothing of HTTP.
    Rathole,
    /// Without TLS inside the WebSocket.
    Tunnel,
    /// With it.
    TunnelTls,
}

pub const WAYS: [Way; 5] = [
    Way::Direct,
    Way::Nginx,
    Way::Rathole,
    Way::Tunnel,
    Way::TunnelTls,
];

impl Way {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Rathole => "rathole",
            Self::Tunnel => "tunnel",
            Self::TunnelTls => "tunnel, inner TLS",
        }
    }
}

/// A way with its processes running.
pub struct Chain {
    pub way: Way,
    target: SocketAddr,
    host: String,
    /// Where the control plane's API listens, if there is one.
    pub control: Option<SocketAddr>,
    /// The processes whose CPU counts: all between client and backend. Of a tunnel, the control
    /// plane and the agent.
    pub between: Vec<Process>,
}

impl Chain {
    /// One kept connection that asks for so many bytes.
    pub fn load(&self, body_bytes: usize) -> Load {
        Load {
            body_bytes: Some(body_bytes),
            ..self.path(format!("/bytes/{body_bytes}"))
        }
    }

    /// One kept connection that asks for a path.
    pub fn path(&self, path: impl Into<String>) -> Load {
        Load::get(self.target, &self.host, path)
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Cpu {
        self.between.iter().map(Process::cpu).sum()
    }
}

/// Starts the processes of a way; `None` where a program is not installed.
pub fn start(
    way: Way,
    options: &Options,
    folder: &Path,
    backend: SocketAddr,
) -> Result<Option<Chain>> {
    match way {
        Way::Direct => Ok(Some(Chain {
            way,
            target: backend,
            host: backend.to_string(),
            control: None,
            between: Vec::new(),
        })),
        Way::Nginx => nginx_chain(options, folder, backend),
        Way::Rathole => rathole_chain(options, folder, backend),
        Way::Tunnel | Way::TunnelTls => tunnel_chain(way, options, folder, backend).map(Some),
    }
}

fn is_installed(program: &Path, name: &str) -> bool {
    let installed = Command::new(program).arg("--help").output().is_ok();
    if !installed {
        eprintln!("{name} is not installed: its rows are left out (see --{name})");
    }
    installed
}

fn nginx_chain(options: &Options, folder: &Path, backend: SocketAddr) -> Result<Option<Chain>> {
    if !is_installed(&options.nginx, "nginx") {
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
        control: None,
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

/// Both halves of rathole as they come, without encryption.
fn rathole_chain(options: &Options, folder: &Path, backend: SocketAddr) -> Result<Option<Chain>> {
    if !is_installed(&options.rathole, "rathole") {
        return Ok(None);
    }
    let (line, target) = (free_address()?, free_address()?);
    let service = "[services.bench]\ntoken = \"bench\"\nnodelay = true\n".to_owned();
    let server = format!(
        "[server]\nbind_addr = \"{line}\"\n[server.{}bind_addr = \"{target}\"\n",
        &service[1..]
    );
    let client = format!(
        "[client]\nremote_addr = \"{line}\"\n[client.{}local_addr = \"{backend}\"\n",
        &service[1..]
    );
    let half = |name: &str, text: String| {
        let configuration = folder.join(format!("{name}.toml"));
        std::fs::write(&configuration, text).context("rathole's configuration")?;
        let mut command = Command::new(&options.rathole);
        command.arg(configuration).env("RUST_LOG", "error");
        Process::start(name, &mut command, &folder.join(format!("{name}.log")))
    };
    let mut server = half("rathole-server", server)?;
    server.wait_for(line)?;
    let mut client = half("rathole-client", client)?;
    client.wait_for(target)?;
    Ok(Some(Chain {
        way: Way::Rathole,
        target,
        host: target.to_string(),
        control: None,
        between: vec![server, client],
    }))
}

fn tunnel_chain(way: Way, options: &Options, folder: &Path, backend: SocketAddr) -> Result<Chain> {
    let program = setup::easyenclave(options.easyenclave.as_deref())?;
    let (name, agent, inner_tls) = match way {
        Way::TunnelTls => ("tls-server", "tls-agent", "required"),
        Way::Direct | Way::Nginx | Way::Rathole | Way::Tunnel => ("server", "agent", "off"),
    };
    let configuration = folder.join(format!("{name}.toml"));
    let policy = format!("[networks.sandbox-1]\ninner_tls = \"{inner_tls}\"\n");
    std::fs::write(&configuration, policy).context("the control plane's configuration")?;
    let ports = Ports::free()?;
    let file = configuration.display().to_string();
    let server = setup::server(&program, name, &ports, folder, &[("EE_CONFIG", &file)])?;
    let agent = setup::agent(&program, agent, &ports, APP, backend, folder)?;
    Ok(Chain {
        way,
        target: ports.proxy,
        host: format!("{APP}.localhost"),
        control: Some(ports.control),
        between: vec![server, agent],
    })
}
