//! Agents that were attested and then turn on the control plane and the people behind it: answers
//! that are none, frames that HTTP/2 forbids, silence. Their frames are made of bytes here.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use crate::{
    peer::{Challenge, Prover, Registration},
    raw::{BINARY, Frame, RawSocket, TEXT},
    world::{Answer, PATIENCE, World, ask},
};

pub const APP: &str = "traitor";
const MIB: usize = 1024 * 1024;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PREFACE: usize = 24;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Fields as HPACK literals without a table.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let short = |text: &str| u8::try_from(text.len()).expect("short");
    let literal = |(name, value): &(&str, &str)| {
        let (name_len, value_len) = (short(name), short(value));
        let name = [&[0x00, name_len][..], name.as_bytes()].concat();
        [name, vec![value_len], value.as_bytes().to_vec()].concat()
    };
    fields.iter().flat_map(literal).collect()
}

pub fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

/// An agent on sandbox-1 without inner TLS, so that its HTTP/2 can be written by hand.
pub struct Traitor {
    socket: RawSocket,
    heard: Vec<u8>,
    begun: bool,
}

impl Traitor {
    pub async fn join(world: &World) -> Self {
        Self::join_as(world, APP).await
    }

    /// The same for another app.
    pub async fn join_as(world: &World, app: &str) -> Self {
        let registration = Registration::new(app, app).with(|named| {
            named.network = "sandbox-1".to_owned();
            named.capabilities = vec!["h2"];
        });
        let mut socket = RawSocket::open(world.server.api_addr).await;
        say(&mut socket, &registration.message()).await;
        let request = text(&mut socket).await;
        let nonce = hex::decode(request["nonce"].as_str().expect("a nonce")).expect("hex");
        let challenge = Challenge {
            nonce: nonce.try_into().expect("32 bytes"),
            reason: request["reason"].as_str().expect("a reason").to_owned(),
            channel: None,
        };
        say(
            &mut socket,
            &Prover::good().answer(&challenge, &registration),
        )
        .await;
        assert_eq!(text(&mut socket).await["reason"], "attested");
        Self {
            socket,
            heard: Vec::new(),
            begun: false,
        }
    }

    /// Sends frames of HTTP/2.
    pub async fn send(&mut self, frames: &[u8]) {
        self.socket.send(BINARY, frames).await;
    }

    /// Waits for the next request; its stream.
    pub async fn asked(&mut self) -> u32 {
        if !self.begun {
            self.begun = true;
            self.hear(PREFACE).await;
            self.heard.drain(..PREFACE);
            self.send(&frame(SETTINGS, 0, 0, &[])).await;
            self.send(&frame(SETTINGS, 1, 0, &[])).await;
        }
        loop {
            let frame = self.frame().await;
            if frame[3] == HEADERS {
                return u32::from_be_bytes([frame[5], frame[6], frame[7], frame[8]]);
            }
        }
    }

    /// The next frame of HTTP/2, its nine bytes of head included.
    pub async fn frame(&mut self) -> Vec<u8> {
        self.hear(9).await;
        let length = [0, self.heard[0], self.heard[1], self.heard[2]];
        let length = usize::try_from(u32::from_be_bytes(length)).expect("24 bits");
        self.hear(9 + length).await;
        self.heard.drain(..9 + length).collect()
    }

    async fn hear(&mut self, count: usize) {
        while self.heard.len() < count {
            match self.socket.hear().await {
                Frame::Binary(bytes) => self.heard.extend(bytes),
                Frame::Text(_) | Frame::Other => {}
                end @ (Frame::Close(..) | Frame::Gone) => panic!("{end:?}"),
            }
        }
    }
}

async fn say(socket: &mut RawSocket, message: &Value) {
    socket.send(TEXT, message.to_string().as_bytes()).await;
}

async fn text(socket: &mut RawSocket) -> Value {
    loop {
        if let Frame::Text(text) = socket.hear().await {
            return text;
        }
    }
}

/// A GET of an app in the background.
fn asking(world: &World, app: &str) -> JoinHandle<Answer> {
    let address = world.server.proxy_addr;
    let head = format!("GET / HTTP/1.1\r\nHost: {app}.localhost\r\nConnection: close\r\n\r\n");
    tokio::spawn(async move { ask(address, head.as_bytes()).await })
}

/// What the client gets when an agent answers with these frames. Each has an app of its own: most
/// lose their tunnel.
async fn answered(world: &World, app: &str, frames: impl Fn(u32) -> Vec<u8>) -> Answer {
    let mut traitor = Traitor::join_as(world, app).await;
    let asking = asking(world, app);
    let stream = traitor.asked().await;
    traitor.send(&frames(stream)).await;
    asking.await.expect("the client does not panic")
}

pub const ORIGIN: (&str, &str) = ("ee-origin", "app");

#[tokio::test]
async fn answers_with_impossible_heads_are_502() {
    let world = World::start().await;
    for (number, fields) in [
        &[(":status", "99"), ORIGIN][..],
        &[(":status", "099"), ORIGIN],
        &[(":status", "1000"), ORIGIN],
        &[(":status", "999"), ORIGIN],
        &[(":status", "abc"), ORIGIN],
        &[(":status", "101"), ORIGIN],
        &[ORIGIN],
        &[(":status", "200")],
        &[(":status", "200"), ("ee-origin", "control")],
        &[(":status", "200"), ORIGIN, ("x\r\nset-cookie", "a=b")],
        &[(":status", "200"), ORIGIN, ("x", "1\r\nset-cookie: a=b")],
        &[(":status", "200"), ORIGIN, ("x", "1\n")],
        &[(":status", "200"), ORIGIN, ("x y", "1")],
        &[(":status", "200"), ORIGIN, ("X-Upper", "1")],
        &[(":status", "200"), ORIGIN, ("", "1")],
        &[(":status", "200"), ORIGIN, ("connection", "close")],
        &[(":status", "200"), ORIGIN, ("transfer-encoding", "chunked")],
        &[(":status", "200"), ORIGIN, ("content-length", "x")],
        &[(":status", "200"), ORIGIN, ("content-length", "-1")],
    ]
    .into_iter()
    .enumerate()
    {
        let answer = answered(&world, &format!("{APP}{number}"), |stream| {
            head(stream, END_STREAM, fields)
        })
        .await;
        assert_eq!(answer.status, 502, "{fields:?}: {answer:?}");
        assert!(!answer.head.contains("a=b"), "{fields:?}: {answer:?}");
        let code = answer.json()["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let told = ["bad_agent_response", "agent_disconnected"].contains(&code.as_str());
        assert!(told, "{fields:?}: {answer:?}");
    }
    world.stands().await;
}

/// More or fewer bytes than the head promised: never read as a whole answer.
#[tokio::test]
async fn answers_of_another_length_are_cut_off() {
    let world = World::start().await;
    for (length, body) in [("10", "short"), ("2", "longer"), ("0", "longer")] {
        let fields = [(":status", "200"), ORIGIN, ("content-length", length)];
        let answer = answered(&world, &format!("{APP}{length}"), |stream| {
            let data = frame(DATA, END_STREAM, stream, body.as_bytes());
            [head(stream, 0, &fields), data].concat()
        })
        .await;
        let whole = answer.fields("content-length") == [answer.body.len().to_string()];
        let refused = answer.status == 502;
        assert!(
            refused || !whole || answer.body.is_empty(),
            "{length} {body}: {answer:?}"
        );
        assert_ne!(answer.body, body, "{length}: {answer:?}");
    }
    let twice = [
        (":status", "200"),
        ORIGIN,
        ("content-length", "2"),
        ("content-length", "5"),
    ];
    let answer = answered(&world, APP, |stream| {
        let data = frame(DATA, END_STREAM, stream, b"12345");
        [head(stream, 0, &twice), data].concat()
    })
    .await;
    assert_ne!(
        (answer.status, answer.body.as_str()),
        (200, "12345"),
        "{answer:?}"
    );
    assert!(answer.fields("content-length").len() < 2, "{answer:?}");
    world.stands().await;
}

/// Only the control plane opens streams. An agent that does loses its tunnel, and nobody else
/// anything.
#[tokio::test]
async fn agent_that_opens_streams_loses_its_tunnel() {
    for frames in [
        head(2, END_STREAM, &[(":status", "200")]),
        head(99, END_STREAM, &[(":status", "200")]),
        head(
            2,
            END_STREAM,
            &[(":method", "GET"), (":scheme", "http"), (":path", "/")],
        ),
        frame(
            PUSH_PROMISE,
            END_HEADERS,
            1,
            &[0, 0, 0, 2, 0x82, 0x86, 0x84],
        ),
        frame(DATA, 0, 99, b"x"),
        frame(DATA, 0, 0, b"x"),
    ] {
        let world = World::start().await;
        let mut traitor = Traitor::join(&world).await;
        let asking = asking(&world, APP);
        traitor.asked().await;
        traitor.send(&frames).await;
        let answer = asking.await.expect("the client does not panic");
        assert_eq!(answer.status, 502, "{frames:?}: {answer:?}");
        let (_, code, _) = traitor.socket.end().await;
        assert!(code.is_none_or(|code| code != 1000), "{frames:?}: {code:?}");
        world.stands().await;
    }
}

/// An agent that takes a request and then nothing more holds the client no longer than its pings
/// allow, and of a large upload no more than the windows.
#[tokio::test]
async fn agent_that_stops_reading_is_given_up() {
    let world = World::start().await;
    let mut traitor = Traitor::join(&world).await;
    let mut client = TcpStream::connect(world.server.proxy_addr)
        .await
        .expect("connected");
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {APP}.localhost\r\nContent-Length: {}\r\n\r\n",
        1_u64 << 40
    );
    client.write_all(head.as_bytes()).await.expect("sent");
    traitor.asked().await;
    let piece = vec![b'x'; 256 * 1024];
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_millis(300), client.write(&piece)).await {
        taken += written.expect("open");
        assert!(taken < 64 * MIB, "everything is held");
    }
    tokio::time::pause();
    let mut answer = [0; 12];
    let answering = timeout(Duration::from_secs(120), client.read_exact(&mut answer)).await;
    answering.expect("given up").expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 50"), "{answer:?}");
    tokio::time::resume();
    world.stands().await;
}

/// Fifty clients that take nothing of a large answer, and fifty that take theirs, over one tunnel.
#[tokio::test]
async fn stalled_readers_stall_nobody_else() {
    let world = World::start().await;
    let registration = Registration::new("large", "large").with(|named| {
        named.max_inflight = Some(128);
    });
    let peer = world.peer().await;
    let serving = peer
        .join(&registration, &Prover::good())
        .await
        .serve("large");
    let head = "GET /large HTTP/1.1\r\nHost: large.localhost\r\nConnection: close\r\n\r\n";
    let mut stalled = Vec::new();
    for _ in 0..50 {
        let address = world.server.proxy_addr;
        let mut client = TcpStream::connect(address).await.expect("connected");
        let huge = head.replace("large HTTP", "huge HTTP");
        client.write_all(huge.as_bytes()).await.expect("sent");
        let mut first = [0; 12];
        client.read_exact(&mut first).await.expect("the head");
        assert_eq!(&first, b"HTTP/1.1 200");
        stalled.push(client);
    }
    let live: Vec<_> = (0..50)
        .map(|_| {
            let address = world.server.proxy_addr;
            tokio::spawn(async move { ask(address, head.as_bytes()).await })
        })
        .collect();
    for answer in live {
        let answer = timeout(PATIENCE, answer)
            .await
            .expect("in time")
            .expect("no panic");
        assert_eq!((answer.status, answer.body.len()), (200, 2 * MIB));
    }
    assert!(serving.is_open());
    let governor = &world.server.state.tunnels.governor;
    assert!(
        governor.buffered().bytes() > 10 * MIB,
        "fifty windows are counted"
    );
    // A machine of less memory begins nothing new, until they are gone.
    governor.set_limit(10 * MIB);
    let answer = ask(world.server.proxy_addr, head.as_bytes()).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &"overloaded".into())
    );
    assert_eq!(answer.fields("retry-after").len(), 1, "{answer:?}");
    drop(stalled);
    let mut answer = ask(world.server.proxy_addr, head.as_bytes()).await;
    for _ in 0..100 {
        if answer.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = ask(world.server.proxy_addr, head.as_bytes()).await;
    }
    assert_eq!(answer.body.len(), 2 * MIB);
    drop(serving);
    world.stands().await;
}

/// An agent that says the same small thing for ever is told to stop.
#[tokio::test]
async fn flood_of_control_text_is_refused() {
    let world = World::start().await;
    let mut traitor = Traitor::join(&world).await;
    let beat = json!({ "type": "health", "status": "pass" }).to_string();
    let flooding = async {
        for _ in 0..20_000 {
            traitor.socket.send(TEXT, beat.as_bytes()).await;
        }
        traitor.socket.end().await
    };
    let (_, code, reason) = timeout(PATIENCE, flooding).await.expect("closed in time");
    assert_eq!((code, reason.as_str()), (Some(1008), "text_flood"));
    world.stands().await;
}

/// An agent that answers with frames which carry nothing loses its tunnel, and its request is told.
#[tokio::test]
async fn flood_of_frames_of_an_agent_is_refused() {
    const PING: u8 = 6;
    let world = World::start().await;
    let mut traitor = Traitor::join(&world).await;
    let asking = asking(&world, APP);
    traitor.asked().await;
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(1_000);
    let flooding = async {
        for _ in 0..200 {
            traitor.send(&pings).await;
        }
        traitor.socket.end().await
    };
    let (_, code, reason) = timeout(PATIENCE, flooding).await.expect("closed in time");
    assert_eq!((code, reason.as_str()), (Some(1008), "frame_flood"));
    let answer = asking.await.expect("asking does not panic");
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.body.contains("agent_disconnected"), "{answer:?}");
    world.stands().await;
}
