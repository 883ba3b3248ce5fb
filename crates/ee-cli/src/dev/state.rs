//! What `easyenclave dev kill` needs to know of a network that runs: its agents' process ids.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::context;

/// A listener on the same machine takes a connection in microseconds.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// The agents of a running development network.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct DevState {
    /// Process ids of the agents, by agent id.
    pub agents: BTreeMap<String, u32>,
}

impl DevState {
    /// The file, one for each port of the API, in the person's own configuration folder: nobody
    /// else may write process ids that this person will kill.
    fn path(control_port: u16) -> anyhow::Result<PathBuf> {
        Ok(context::folder()?.join(format!("dev-{control_port}.json")))
    }

    /// Writes the file for others to find.
    pub fn save(&self, control_port: u16) -> anyhow::Result<()> {
        let path = Self::path(control_port)?;
        let text = serde_json::to_string(self).context("writing the state")?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Removes the file; a missing one is fine.
    pub fn remove(control_port: u16) -> anyhow::Result<()> {
        let _ = fs::remove_file(Self::path(control_port)?);
        Ok(())
    }

    /// The port of the network that is meant: the one that is named, or the only one that runs.
    pub fn port(named: Option<u16>) -> anyhow::Result<u16> {
        if let Some(port) = named {
            return Ok(port);
        }
        let running = Self::ports()?;
        match running[..] {
            [port] => Ok(port),
            [] => bail!("no development network runs; start one: easyenclave dev"),
            [..] => {
                let ports: Vec<_> = running.iter().map(u16::to_string).collect();
                let ports = ports.join(", ");
                bail!("several development networks run: add --control-port, one of {ports}")
            }
        }
    }

    fn ports() -> anyhow::Result<Vec<u16>> {
        let folder = context::folder()?;
        let Ok(entries) = fs::read_dir(&folder) else {
            return Ok(Vec::new());
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let ports = names.filter_map(|name| {
            let port = name.strip_prefix("dev-")?.strip_suffix(".json")?;
            port.parse().ok()
        });
        // A network that was killed leaves its file behind.
        let mut ports: Vec<u16> = ports.filter(|port| is_served(*port)).collect();
        ports.sort_unstable();
        Ok(ports)
    }

    /// The process id of an agent of the network on `control_port`.
    pub fn agent(control_port: u16, id: &str) -> anyhow::Result<u32> {
        let path = Self::path(control_port)?;
        let Ok(text) = fs::read_to_string(&path) else {
            bail!("no development network runs on port {control_port}; start one: easyenclave dev");
        };
        let state: Self =
            serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        state.agents.get(id).copied().with_context(|| {
            let known: Vec<_> = state.agents.keys().map(String::as_str).collect();
            format!("no agent {id} here; there are {}", known.join(", "))
        })
    }
}

fn is_served(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, ANSWER_WITHIN).is_ok()
}
