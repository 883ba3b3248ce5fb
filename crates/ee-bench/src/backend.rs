//! The backend under measurement, over kept connections: `GET /bytes/{n}` answers n bytes,
//! `GET /slow/{ms}` answers nothing after so many milliseconds, `GET /once` answers nothing and
//! closes.
//!
//! Written on raw sockets so that it costs as little as possible beside what is measured.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::process::{Process, free_address};

/// The longest request head; the load generator's and the agent's are below 1 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The largest body anyone asks for.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Larger bodies are not kept as a whole: many connections may ask for one at once.
const AT_ONCE_MAX: usize = 1024 * 1024;
static BLOCK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// For those who ask through more tunnels than a process may keep connections.
const ONCE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The slowest answer anyone asks for.
const SLOW_MAX: Duration = Duration::from_secs(10);

/// Starts it as a process of its own.
pub fn start(folder: &Path) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let own = std::env::current_exe().context("the path of ee-bench")?;
    let mut command = Command::new(own);
    command.args(["backend", "--listen", &address.to_string()]);
    let mut backend = Process::start("backend", &mut command, &folder.join("backend.log"))?;
    backend.wait_for(address)?;
    Ok((backend, address))
}

/// Serves until the process is ended by the one that started it.
pub fn run(listen: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen)
            .await
            .context("the backend's port")?;
        loop {
            let (socket, _) = listener.accept().await.context("accept")?;
            drop(start_task(socket));
        }
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the backend's tasks die with its process"
)]
fn start_task(socket: TcpStream) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        // A client that goes away is the end of its connection and nothing else.
        let _ = serve(socket).await;
    })
}

async fn serve(mut socket: TcpStream) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
    let mut answer = Vec::new();
    let mut answered_bytes = None;
    while read_head(&mut socket, &mut head).await? {
        if is_once(&head) {
            socket.write_all(ONCE).await?;
            return Ok(());
        }
        let Wanted { bytes, wait } = wanted(&head);
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
        if answered_bytes != Some(bytes) {
            answer = answer_of(bytes);
            answered_bytes = Some(bytes);
        }
        socket.write_all(&answer).await?;
        for _ in 0..blocks(bytes) {
            socket.write_all(&BLOCK).await?;
        }
        head.clear();
    }
    Ok(())
}

/// Reads to the empty line; false when the client has closed. No body is expected.
async fn read_head(socket: &mut TcpStream, head: &mut Vec<u8>) -> Result<bool> {
    while !head.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(head.len() < HEAD_BYTES_MAX, "the request head is too long");
        if socket.read_buf(head).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_once(head: &[u8]) -> bool {
    head.starts_with(b"GET /once ")
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    bytes: usize,
    wait: Option<Duration>,
}

/// Reads `GET /bytes/{n} HTTP/1.1` or `GET /slow/{ms} HTTP/1.1`; anything else asks for nothing.
fn wanted(head: &[u8]) -> Wanted {
    let line = std::str::from_utf8(head).unwrap_or_default();
    let path = line.split(' ').nth(1).unwrap_or_default();
    let bytes = path
        .strip_prefix("/bytes/")
        .and_then(|count| count.parse().ok());
    let wait = path.strip_prefix("/slow/").and_then(|ms| ms.parse().ok());
    Wanted {
        bytes: bytes.unwrap_or(0_usize).min(BODY_BYTES_MAX),
        wait: wait.map(|ms| Duration::from_millis(ms).min(SLOW_MAX)),
    }
}

/// How many blocks follow the head and what stands beside it.
fn blocks(bytes: usize) -> usize {
    bytes.saturating_sub(AT_ONCE_MAX).div_ceil(BLOCK.len())
}

/// The head, and the body up to its blocks.
fn answer_of(bytes: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
         content-length: {bytes}\r\n\r\n"
    );
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + bytes - blocks(bytes) * BLOCK.len(), b'x');
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_blocks_make_up_the_body() {
        for bytes in [
            0,
            100,
            AT_ONCE_MAX,
            AT_ONCE_MAX + 1,
            16 * AT_ONCE_MAX,
            BODY_BYTES_MAX,
        ] {
            let answer = answer_of(bytes);
            let head = answer.windows(4).position(|end| end == b"\r\n\r\n");
            let beside = answer.len() - head.expect("a head") - 4;
            assert_eq!(beside + blocks(bytes) * BLOCK.len(), bytes);
        }
    }

    #[test]
    fn path_says_what_is_wanted() {
        let asked = |head: &[u8]| {
            let Wanted { bytes, wait } = wanted(head);
            (bytes, wait)
        };
        assert_eq!(asked(b"GET /bytes/100 HTTP/1.1\r\n\r\n"), (100, None));
        let slow = Some(Duration::from_millis(500));
        assert_eq!(asked(b"GET /slow/500 HTTP/1.1\r\n\r\n"), (0, slow));
        assert!(is_once(b"GET /once HTTP/1.1\r\n\r\n"));
        assert_eq!(asked(b"GET / HTTP/1.1\r\n\r\n"), (0, None));
    }
}
