//! A bounded load generator: HTTP/1.1 on raw sockets.
//!
//! It is closed loop (each connection sends its next request when the answer is complete), so its
//! percentiles are those of a client that waits, and it stops by itself.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::stopwatch::Stopwatch;

/// What to send, where, and for how long.
#[derive(Clone)]
pub struct Load {
    pub target: SocketAddr,
    pub host: String,
    pub path: String,
    pub connections: usize,
    pub length: Duration,
    /// Ends the run early: no more requests than this.
    pub requests_max: usize,
    /// The length that the body of a 200 must have.
    pub body_bytes: Option<usize>,
    pub reuse: Reuse,
}

/// What becomes of a connection after its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// It is kept for the next request.
    Kept,
    /// The next request opens another, and its latency begins with that.
    Never,
}

impl Load {
    /// One kept connection for a second.
    pub fn get(target: SocketAddr, host: impl Into<String>, path: impl Into<String>) -> Self {
        /// Bounds the memory for latencies: 16 B each.
        const REQUESTS_MAX: usize = 2_000_000;
        Self {
            target,
            host: host.into(),
            path: path.into(),
            connections: 1,
            length: Duration::from_secs(1),
            requests_max: REQUESTS_MAX,
            body_bytes: None,
            reuse: Reuse::Kept,
        }
    }
}

/// What came back.
pub struct Measured {
    pub requests: usize,
    /// Answers that were not 200, among the requests.
    pub refused: usize,
    pub elapsed: Duration,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        count(self.requests) / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the requests did not exceed, in permille.
    pub fn percentile(&self, permille: usize) -> Duration {
        percentile(&self.latencies, permille)
    }
}

/// The latency that this share of sorted latencies does not exceed; zero if there is none.
pub fn percentile(sorted: &[Duration], permille: usize) -> Duration {
    let at = sorted.len() * permille / 1000;
    let at = at.min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// A count as a number to divide by.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub fn count(count: usize) -> f64 {
    count as f64
}

/// Runs the load; a 200 of another length than wanted is an error, other answers are counted.
pub async fn run(load: &Load) -> Result<Measured> {
    let mut connections = JoinSet::new();
    let started = Stopwatch::start();
    for _ in 0..load.connections {
        connections.spawn(connection(load.clone(), started));
    }
    let mut latencies = Vec::new();
    let mut refused = 0;
    while let Some(one) = connections.join_next().await {
        let one = one.context("a connection's task")??;
        latencies.extend(one.latencies);
        refused += one.refused;
    }
    let elapsed = started.elapsed();
    ensure!(!latencies.is_empty(), "no request was answered");
    latencies.sort_unstable();
    Ok(Measured {
        requests: latencies.len(),
        refused,
        elapsed,
        latencies,
    })
}

#[derive(Default)]
struct OfConnection {
    latencies: Vec<Duration>,
    refused: usize,
}

async fn connection(load: Load, started: Stopwatch) -> Result<OfConnection> {
    let mut line = None;
    let mut done = OfConnection::default();
    let share = (load.requests_max / load.connections).max(1);
    while done.latencies.len() < share && started.elapsed() < load.length {
        let sent = Stopwatch::start();
        let open = match &mut line {
            Some(open) => open,
            None => line.insert(Line::open(&load).await?),
        };
        let (accepted, bytes) = open.ask().await?;
        let wanted = load.body_bytes.unwrap_or(bytes);
        ensure!(
            !accepted || bytes == wanted,
            "{bytes} bytes instead of {wanted}"
        );
        done.latencies.push(sent.elapsed());
        done.refused += usize::from(!accepted);
        if load.reuse == Reuse::Never {
            line = None;
        }
    }
    Ok(done)
}

/// An open connection, and the request that is sent over it.
pub struct Line {
    socket: TcpStream,
    request: String,
    answer: Answer,
    reuse: Reuse,
}

impl Line {
    pub async fn open(load: &Load) -> Result<Self> {
        let socket = TcpStream::connect(load.target).await.context("connect")?;
        socket.set_nodelay(true)?;
        let last = match load.reuse {
            Reuse::Kept => "",
            // The peer closes, so that its port and not ours waits for stray segments.
            Reuse::Never => "Connection: close\r\n",
        };
        let (path, host) = (&load.path, &load.host);
        Ok(Self {
            socket,
            request: format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{last}\r\n"),
            answer: Answer::default(),
            reuse: load.reuse,
        })
    }

    /// Sends the request and reads the answer: whether it is a 200, and the length of its body.
    pub async fn ask(&mut self) -> Result<(bool, usize)> {
        let request = self.request.as_bytes();
        self.socket.write_all(request).await.context("send")?;
        self.answer.read(&mut self.socket).await
    }

    /// Whether no further request may be sent: by the client's own habit, by the last answer, or
    /// because the peer has closed the connection as far as can be seen.
    pub fn is_over(&self) -> bool {
        if self.reuse == Reuse::Never || self.answer.is_last {
            return true;
        }
        let unread = self.socket.try_read(&mut [0]);
        !matches!(unread, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// The head of the last answer, in lower case.
    pub fn last_head(&self) -> &str {
        &self.answer.head
    }

    /// Sends the request and reads nothing.
    pub async fn send_only(&mut self) -> Result<()> {
        let request = self.request.as_bytes();
        self.socket.write_all(request).await.context("send")
    }
}

/// Reads answers from a socket; bytes before `at` are used up. The buffer grows with what comes.
#[derive(Default)]
pub struct Answer {
    buffer: Vec<u8>,
    at: usize,
    /// The last head said `Connection: close`.
    is_last: bool,
    head: String,
}

impl Answer {
    /// Reads one answer: whether it is a 200, and the length of its body.
    pub async fn read(&mut self, socket: &mut TcpStream) -> Result<(bool, usize)> {
        let head = self.read_past(socket, b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let accepted = head.starts_with("http/1.1 200");
        self.is_last = field(&head, "connection") == Some("close");
        let length = field(&head, "content-length").map(str::parse).transpose();
        let length = length.context("content-length")?;
        let is_chunked = field(&head, "transfer-encoding") == Some("chunked");
        self.head = head;
        if let Some(length) = length {
            self.skip(socket, length).await?;
            return Ok((accepted, length));
        }
        ensure!(is_chunked, "no length: {}", self.head);
        let mut total = 0;
        loop {
            let line = self.read_past(socket, b"\r\n").await?;
            let text = std::str::from_utf8(&line)?.trim();
            let chunk = usize::from_str_radix(text, 16).context("chunk size")?;
            self.skip(socket, chunk + 2).await?;
            total += chunk;
            if chunk == 0 {
                return Ok((accepted, total));
            }
        }
    }

    async fn read_past(&mut self, socket: &mut TcpStream, end: &[u8]) -> Result<Vec<u8>> {
        loop {
            let fresh = &self.buffer[self.at..];
            if let Some(found) = fresh.windows(end.len()).position(|window| window == end) {
                let text = fresh[..found].to_vec();
                self.at += found + end.len();
                return Ok(text);
            }
            self.fill(socket).await?;
        }
    }

    async fn skip(&mut self, socket: &mut TcpStream, mut bytes: usize) -> Result<()> {
        loop {
            let there = (self.buffer.len() - self.at).min(bytes);
            self.at += there;
            bytes -= there;
            if bytes == 0 {
                return Ok(());
            }
            self.fill(socket).await?;
        }
    }

    async fn fill(&mut self, socket: &mut TcpStream) -> Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        if socket.read_buf(&mut self.buffer).await.context("receive")? == 0 {
            bail!("the connection was closed in the middle of an answer");
        }
        Ok(())
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_the_latency_at_its_place() {
        let latencies = (1..=100).map(Duration::from_millis).collect();
        let measured = Measured {
            requests: 100,
            refused: 0,
            elapsed: Duration::from_secs(1),
            latencies,
        };
        assert_eq!(measured.percentile(500), Duration::from_millis(51));
        assert_eq!(measured.percentile(990), Duration::from_millis(100));
        assert!((measured.per_second() - 100.0).abs() < f64::EPSILON);
    }

    #[test]
    fn field_is_found_by_its_whole_name() {
        let head = "http/1.1 200 ok\r\nx-content-length: 1\r\ncontent-length: 2";
        assert_eq!(field(head, "content-length"), Some("2"));
    }
}
