//! A WebSocket client made of bytes, for what no library would send.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::world::PATIENCE;

/// Opcodes of RFC 6455, each with FIN set.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const PING: u8 = 0x89;
const CLOSE: u8 = 0x88;

/// What came from the control plane.
#[derive(Debug)]
pub enum Frame {
    Text(Value),
    Binary(Vec<u8>),
    Other,
    /// Code and reason, if there were any.
    Close(Option<u16>, String),
    /// The socket ended without a close frame.
    Gone,
}

/// One connection after its upgrade.
pub struct RawSocket {
    stream: TcpStream,
}

impl RawSocket {
    /// Connects and upgrades.
    pub async fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let key = STANDARD.encode([7_u8; 16]);
        let head = format!(
            "GET /v1/tunnel HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("the head of the answer"));
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 101 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        Self { stream }
    }

    /// Sends a masked frame; the peer may close before it has read all.
    pub async fn send(&mut self, first: u8, payload: &[u8]) {
        self.send_bytes(&masked(first, payload)).await;
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        // The refusal of a long frame comes while it is still being sent.
        self.stream.write_all(bytes).await.ok();
    }

    /// The next frame.
    pub async fn hear(&mut self) -> Frame {
        timeout(PATIENCE, self.frame())
            .await
            .expect("an answer in time")
            .unwrap_or(Frame::Gone)
    }

    async fn frame(&mut self) -> std::io::Result<Frame> {
        let first = self.stream.read_u8().await?;
        let len = match self.stream.read_u8().await? {
            126 => usize::from(self.stream.read_u16().await?),
            127 => usize::try_from(self.stream.read_u64().await?).expect("a sane length"),
            short => usize::from(short),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).await?;
        Ok(match first {
            TEXT => Frame::Text(serde_json::from_slice(&payload).expect("JSON")),
            BINARY => Frame::Binary(payload),
            CLOSE if len < 2 => Frame::Close(None, String::new()),
            CLOSE => Frame::Close(
                Some(u16::from_be_bytes([payload[0], payload[1]])),
                String::from_utf8_lossy(&payload[2..]).into_owned(),
            ),
            _ => Frame::Other,
        })
    }

    /// Reads to the end: the last status' reason, and the close.
    pub async fn end(&mut self) -> (Option<String>, Option<u16>, String) {
        let mut said = None;
        loop {
            match self.hear().await {
                Frame::Text(status) => said = status["reason"].as_str().map(str::to_owned),
                Frame::Close(code, reason) => return (said, code, reason),
                Frame::Gone => return (said, None, "gone".to_owned()),
                Frame::Binary(_) | Frame::Other => {}
            }
        }
    }
}

/// A frame under the mask 0, which is as good as any.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len(), 0x80);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// A frame without a mask, as only servers may send it.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len(), 0);
    frame.extend_from_slice(payload);
    frame
}

fn head(first: u8, len: usize, mask_bit: u8) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..=125 => head.push(mask_bit | u8::try_from(len).expect("at most 125")),
        126..=65_535 => {
            head.push(mask_bit | 126);
            head.extend_from_slice(&u16::try_from(len).expect("at most 65535").to_be_bytes());
        }
        _ => {
            head.push(mask_bit | 127);
            head.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    head
}
