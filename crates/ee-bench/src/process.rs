//! Child processes under measurement: started on loopback, measured through /proc, ended on drop.

use std::io::{BufRead, BufReader, Write};
use std::iter::Sum;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::{Add, Sub};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
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

    /// Starts a program of this binary that is told things on its standard input and answers on
    /// its standard output; it ends when the dialogue is dropped.
    pub fn start_spoken(name: &str, command: &mut Command, log: &Path) -> Result<(Self, Dialogue)> {
        let log = std::fs::File::create(log).context("a log file")?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let input = child.stdin.take().context("its standard input")?;
        let output = BufReader::new(child.stdout.take().context("its standard output")?);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // Ends with the child's output, or when nobody listens any more.
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let process = Self {
            child,
            name: name.to_owned(),
        };
        Ok((process, Dialogue { input, lines }))
    }

    /// Ends the child without asking, and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("killing")?;
        self.child.wait().context("waiting")?;
        Ok(())
    }

    /// Asks the child to end (SIGTERM).
    pub fn terminate(&self) -> Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status();
        status.context("running kill").map(drop)
    }

    /// Whether the child has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("waiting")?.is_some())
    }

    /// Memory in the machine's RAM, and the most it ever was.
    pub fn memory(&self) -> Memory {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap_or_default();
        Memory {
            resident_bytes: status_bytes(&status, "VmRSS:"),
            peak_bytes: status_bytes(&status, "VmHWM:"),
        }
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

    /// CPU seconds, the program's and the kernel's, as in [`Self::cpu`].
    pub fn cpu_seconds(&self) -> f64 {
        self.cpu().seconds()
    }

    /// CPU time of this process and its children that still live.
    pub fn cpu(&self) -> Cpu {
        let own = self.child.id();
        let children = format!("/proc/{own}/task/{own}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let of_children: Cpu = children.split_whitespace().map(cpu_of).sum();
        cpu_of(&own.to_string()) + of_children
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
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

/// What is said between the benchmark and a child: lines both ways.
pub struct Dialogue {
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Dialogue {
    /// The next line, waited for.
    pub fn hear(&self) -> Result<String> {
        let line = self.lines.recv_timeout(START_TIMEOUT);
        line.context("the child says nothing")
    }

    /// The latest line that has come since the last call.
    pub fn latest(&self) -> Option<String> {
        self.lines.try_iter().last()
    }

    /// Sends an empty line and waits for what comes back.
    pub fn ask(&mut self) -> Result<String> {
        writeln!(self.input).context("asking the child")?;
        self.hear()
    }
}

/// Resident memory of a process.
#[derive(Clone, Copy)]
pub struct Memory {
    pub resident_bytes: u64,
    pub peak_bytes: u64,
}

/// A field of /proc/<pid>/status, which counts in KiB.
fn status_bytes(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// CPU time in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    /// In the program and its libraries.
    pub user: f64,
    /// In the kernel on its behalf.
    pub kernel: f64,
}

impl Cpu {
    pub fn seconds(self) -> f64 {
        self.user + self.kernel
    }
}

impl Add for Cpu {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            kernel: self.kernel + other.kernel,
        }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            user: self.user - other.user,
            kernel: self.kernel - other.kernel,
        }
    }
}

impl Sum for Cpu {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Self::add)
    }
}

fn cpu_of(pid: &str) -> Cpu {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Fields are counted behind the name, which may hold spaces.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    cpu_in(fields)
}

/// User and system time, 14 and 15 of /proc/<pid>/stat, in the fields from the third on.
fn cpu_in(fields: &str) -> Cpu {
    let mut seconds = fields.split(' ').skip(11).map(|ticks| {
        let ticks: f64 = ticks.parse().unwrap_or(0.0);
        ticks / TICKS_PER_SECOND
    });
    Cpu {
        user: seconds.next().unwrap_or(0.0),
        kernel: seconds.next().unwrap_or(0.0),
    }
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
    fn user_and_system_time_are_told_apart_and_added() {
        let cpu = cpu_in("S 1 2 3 4 5 6 7 8 9 10 700 42 0 0 20");
        assert!((cpu.user - 7.0).abs() < 1e-9 && (cpu.kernel - 0.42).abs() < 1e-9);
        assert!((cpu.seconds() - 7.42).abs() < 1e-9);
        assert_eq!([cpu, cpu].into_iter().sum::<Cpu>() - cpu, cpu);
    }

    #[test]
    fn memory_is_read_in_kib() {
        let status = "Name:\tx\nVmHWM:\t    40 kB\nVmRSS:\t      30 kB\n";
        assert_eq!(status_bytes(status, "VmRSS:"), 30 * 1024);
        assert_eq!(status_bytes(status, "VmHWM:"), 40 * 1024);
    }
}
