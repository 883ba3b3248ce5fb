//! The backend under measurement: `GET /bytes/{n}` answers n bytes over kept connections.
//!
//! Written on raw sockets so that it costs as little as possible beside what is measured.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The longest request head; the load generator's and the agent's are below 1 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The largest body anyone asks for.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Serves until the process is ended by the one that started it.
pub fn run(listen: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen)
            .await
            .context("the backend's port")?;
        loop {
            let (socket, _) = listener.accept().await.context("accept")?;
            drop(start(socket));
        }
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the backend's tasks die with its process"
)]
fn start(socket: TcpStream) -> tokio::task::JoinHandle<()> {
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
        let bytes = wanted_bytes(&head);
        if answered_bytes != Some(bytes) {
            answer = answer_of(bytes);
            answered_bytes = Some(bytes);
        }
        socket.write_all(&answer).await?;
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

/// The number in `GET /bytes/{n} HTTP/1.1`.
fn wanted_bytes(head: &[u8]) -> usize {
    let line = std::str::from_utf8(head).unwrap_or_default();
    let path = line.split(' ').nth(1).unwrap_or_default();
    let count = path
        .strip_prefix("/bytes/")
        .and_then(|count| count.parse().ok());
    count.unwrap_or(0_usize).min(BODY_BYTES_MAX)
}

fn answer_of(bytes: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {bytes}\r\n\r\n"
    );
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + bytes, b'x');
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_says_how_many_bytes() {
        assert_eq!(wanted_bytes(b"GET /bytes/100 HTTP/1.1\r\n\r\n"), 100);
        assert_eq!(wanted_bytes(b"GET / HTTP/1.1\r\n\r\n"), 0);
    }
}
