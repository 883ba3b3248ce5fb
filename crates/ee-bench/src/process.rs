//! Child processes under measurement: started on loopback, measured through /proc, ended on drop.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::stopwatch::Stopwatch;

/// Clock ticks a second in /proc/<pid>/stat; fixed at 100 by the kernel's interface on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// How long a child may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A child that is ended when this is dropped.
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = std::fs::File::create(log).context("a log file")?;
        let errors = file.try_clone().context("a log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            child,
            name: name.to_owned(),
        })
    }

    /// Waits until somebody listens at the address.
    pub fn wait_for(&mut self, address: SocketAddr) -> Result<()> {
        let name = self.name.clone();
        self.wait_until(&format!("{name} to listen"), || {
            TcpStream::connect(address).is_ok()
        })
    }

    /// Polls the condition until it holds or the child has ended.
    pub fn wait_until(&mut self, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
        let waited = Stopwatch::start();
        while !holds() {
            if let Some(status) = self.child.try_wait().context("waiting")? {
                bail!("{} ended early: {status}", self.name);
            }
            if waited.elapsed() > START_TIMEOUT {
                bail!("waited in vain for {what}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// CPU seconds, user and system, of this process and its children that still live.
    pub fn cpu_seconds(&self) -> f64 {
        let own = self.child.id();
        let children = format!("/proc/{own}/task/{own}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let of_children: f64 = children.split_whitespace().map(cpu_seconds_of).sum();
        cpu_seconds_of(&own.to_string()) + of_children
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // TERM first: nginx ends its workers only when asked. Then make sure.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fields 14 and 15 of /proc/<pid>/stat, counted behind the name, which may hold spaces.
fn cpu_seconds_of(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks = stat
        .rsplit_once(") ")
        .map_or(0.0, |(_, fields)| ticks(fields));
    ticks / TICKS_PER_SECOND
}

/// User and system time in the fields from the third on.
fn ticks(fields: &str) -> f64 {
    fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum()
}

/// An address nobody listens at now.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("a free port")?;
    listener.local_addr().context("a free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 700 42 0 0 20";
        assert!((ticks(fields) - 742.0).abs() < f64::EPSILON);
    }
}
