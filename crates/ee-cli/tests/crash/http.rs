//! One connection to the API: requests one after the other, kept alive.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

/// Nothing on loopback takes longer, not even a settlement.
const PATIENCE: Duration = Duration::from_secs(60);

/// The admin token of every server under test.
pub const ADMIN_TOKEN: &str = "crash-test-admin-token-0123456789";

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Whether it is the stored answer of an earlier request.
    pub replayed: bool,
    pub body: Value,
}

/// A client that connects when it has something to say.
pub struct Client {
    /// `127.0.0.1:port`.
    api: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(api: &str) -> Self {
        Self {
            api: api.to_owned(),
            stream: None,
        }
    }

    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, None, &Value::Null)
    }

    pub fn post(&mut self, path: &str, key: &str, body: &Value) -> io::Result<Answer> {
        self.send("POST", path, Some(key), body)
    }

    fn send(
        &mut self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.api)?,
        };
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let key = key.map_or(String::new(), |key| format!("Idempotency-Key: {key}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\
             Content-Type: application/json\r\n{key}Content-Length: {}\r\n\r\n{body}",
            self.api,
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let answer = read_answer(&mut stream)?;
        // Only now is the connection fit for another request.
        self.stream = Some(stream);
        Ok(answer)
    }
}

fn connect(api: &str) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(api)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

fn read_answer(stream: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let status = line(stream)?;
    let status = status
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| broken("no status"))?;
    let (mut length, mut replayed) = (0, false);
    loop {
        let field = line(stream)?;
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':').ok_or_else(|| broken("no field"))?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(|_| broken("length"))?,
            "idempotent-replayed" => replayed = value.trim() == "true",
            "transfer-encoding" => return Err(broken("a body of unknown length")),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = match body.as_slice() {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes).map_err(|_| broken("no JSON"))?,
    };
    Ok(Answer {
        status,
        replayed,
        body,
    })
}

fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn broken(what: &str) -> io::Error {
    io::Error::other(format!("unreadable answer: {what}"))
}
