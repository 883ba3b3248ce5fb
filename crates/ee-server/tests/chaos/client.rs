//! A client of HTTP/1.1 that believes nothing: an answer is whole, broken, or not there.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What a client has of an answer when its connection is over.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// All of it, as far as HTTP can tell.
    Whole { status: u16, body: Vec<u8> },
    /// A part that shows that it is one.
    Part,
    /// Not one byte.
    Nothing,
}

impl Seen {
    /// The code of a problem.
    pub fn code(&self) -> String {
        let Self::Whole { body, .. } = self else {
            return String::new();
        };
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// What the client sends as a body.
pub const UPLOAD: &[u8; 300] = &[b'u'; 300];

/// A POST of [`UPLOAD`] that ends its connection.
pub fn post(app: &str, path: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {app}.localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        UPLOAD.len()
    );
    [head.as_bytes(), UPLOAD].concat()
}

/// Sends a request, its last part in pieces, and reads until the connection is over.
pub async fn ask(address: SocketAddr, request: &[u8]) -> Seen {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("a socket");
    let (head, body) = request.split_at(request.len().saturating_sub(UPLOAD.len()));
    stream.write_all(head).await.expect("sent");
    for piece in body.chunks(PIECE_BYTES) {
        // The proxy sends on what it has before the next piece comes.
        for _ in 0..PAUSE_TURNS {
            tokio::task::yield_now().await;
        }
        if stream.write_all(piece).await.is_err() {
            // An answer that came early has ended the connection.
            break;
        }
    }
    rest(&mut stream).await
}

/// Bytes of an upload that leave at once.
const PIECE_BYTES: usize = 60;
/// Turns of the runtime between two pieces.
const PAUSE_TURNS: usize = 20;

/// Longer than anybody may leave a client waiting; some tests move the clock themselves.
const LONGEST: Duration = Duration::from_secs(90);

/// Reads until the connection is over.
pub async fn rest(stream: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let ended = timeout(LONGEST, stream.read_to_end(&mut bytes)).await;
    let ended = ended.expect("ended in time");
    judged(&bytes, ended.is_ok())
}

/// What these bytes are; `clean` says whether the connection was ended or broken.
pub fn judged(bytes: &[u8], clean: bool) -> Seen {
    if bytes.is_empty() {
        return Seen::Nothing;
    }
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Seen::Part;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let rest = &bytes[end + 4..];
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value.trim().to_owned())
    };
    let body = match (field("transfer-encoding"), field("content-length")) {
        (Some(_), _) => unchunked(rest),
        (None, Some(length)) => {
            let length: usize = length.parse().expect("a length");
            (rest.len() == length).then(|| rest.to_vec())
        }
        // Its end is the connection's.
        (None, None) => clean.then(|| rest.to_vec()),
    };
    match (status, body) {
        (Some(status), Some(body)) => Seen::Whole { status, body },
        _ => Seen::Part,
    }
}

/// The body of chunks up to the last, or nothing.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[line + 2..];
        if rest.len() < size + 2 || &rest[size..size + 2] != b"\r\n" {
            return None;
        }
        if size == 0 {
            return (rest == b"\r\n").then_some(body);
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

#[test]
fn only_the_last_byte_makes_an_answer_whole() {
    let answers: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwho\r\n2\r\nle\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nwhole",
    ];
    for answer in answers {
        let whole = Seen::Whole {
            status: 200,
            body: b"whole".to_vec(),
        };
        assert_eq!(judged(answer, true), whole);
        for cut in 1..answer.len() {
            assert_eq!(judged(&answer[..cut], false), Seen::Part, "{cut}");
        }
    }
    assert_eq!(judged(b"", true), Seen::Nothing);
}
