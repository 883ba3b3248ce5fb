//! The WebSocket of a tunnel and what runs in it, at either end: a peer says anything and leaves.

use std::{future::Future, sync::LazyLock, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ee_tunnel::{
    InnerTlsClient, InnerTlsServer, TunnelHandle, TunnelKey, TunnelOptions,
    agent::{AgentEvent, AgentTunnel},
    control::{ControlEvent, ControlTunnel},
};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::Target;

pub const TARGET: Target = Target {
    name: "byte-stream",
    about: "the WebSocket of a tunnel, inner TLS and HTTP/2 in it, at either end",
    run,
    seeds: streams,
    longest: 4 * 1024,
    floor: 4000,
};

/// A tunnel whose peer has gone ends within this, of paused time.
const END_WITHIN: Duration = Duration::from_secs(600);
/// Payload of one binary message where the input is the byte stream itself.
const PIECE: usize = 61;
/// Room in the pipe: a peer writes all it has to say at once.
const PIPE_BYTES: usize = 256 * 1024;

static CLIENT: LazyLock<InnerTlsClient> =
    LazyLock::new(|| InnerTlsClient::new(&TunnelKey::generate()));
static SERVER: LazyLock<InnerTlsServer> =
    LazyLock::new(|| InnerTlsServer::new(&TunnelKey::generate()));

/// What the first byte of an input chooses.
#[derive(Clone, Copy)]
struct Setting {
    /// Our end is the agent's.
    agent: bool,
    /// What was agreed before.
    agreed: Agreed,
    /// The rest is the byte stream, not frames of the WebSocket.
    stream: bool,
}

#[derive(Clone, Copy)]
enum Agreed {
    Nothing,
    InnerTls,
    Http2,
}

impl Setting {
    fn of(byte: u8) -> Self {
        Self {
            agent: byte & 1 != 0,
            agreed: match byte >> 1 & 3 {
                0 => Agreed::Nothing,
                1 => Agreed::InnerTls,
                _ => Agreed::Http2,
            },
            stream: byte & 8 != 0,
        }
    }
}

/// HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

fn streams() -> Vec<Vec<u8>> {
    let settings = frame(4, 0, 0, &[]);
    // 200, with a body of three bytes and with a grpc-status of 0 as trailer.
    let answer = [
        settings.clone(),
        frame(4, 1, 0, &[]),
        frame(1, 4, 1, &[0x88]),
        frame(0, 0, 1, b"abc"),
        frame(1, 5, 1, b"\x40\x0bgrpc-status\x010"),
        frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
    ];
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // GET http://a/ and POST with a body.
    let get = frame(1, 5, 1, b"\x82\x86\x84\x41\x01a");
    let post = frame(1, 4, 3, b"\x83\x86\x84\x41\x01a");
    let asked = [
        preface,
        settings,
        get,
        post,
        frame(0, 1, 3, b"ping"),
        frame(8, 0, 0, &[0, 0, 0, 9]),
    ];
    let mut seeds = vec![
        [vec![0b1100], answer.concat()].concat(),
        [vec![0b1101], asked.concat()].concat(),
        // Text, binary, ping, close; a fragmented text.
        b"\x00\x81\x02{}\x89\x01x\x88\x02\x03\xe8".to_vec(),
        b"\x02\x01\x01{\x80\x01}\x82\x03abc".to_vec(),
        b"\x05\x81\x02{}\x82\x18PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\x04\x8a\x00\x82\x00\xf1\x00".to_vec(),
    ];
    // The beginnings of a ClientHello and of a ServerHello.
    seeds.push(b"\x0b\x16\x03\x01\x00\x2c\x01\x00\x00\x28\x03\x03".to_vec());
    seeds.push(b"\x0a\x16\x03\x03\x00\x2c\x02\x00\x00\x28\x03\x03".to_vec());
    seeds
}

fn run(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let setting = Setting::of(*first);
    let wire = if setting.stream {
        in_pieces(rest, setting.agent)
    } else {
        frames(rest, setting.agent)
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    runtime.expect("a runtime").block_on(async {
        if setting.agent {
            let agent = async { serve(connect(ours).await, setting.agreed).await };
            tokio::join!(in_time(agent), peer(theirs, &wire, true));
        } else {
            let control = ControlTunnel::accept(ours, &TunnelOptions::default());
            tokio::join!(
                in_time(ask(control, setting.agreed)),
                peer(theirs, &wire, false)
            );
        }
    });
}

async fn in_time(end: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(END_WITHIN, end).await;
    assert!(ended.is_ok(), "a tunnel ends when its peer has gone");
}

/// Says it all, leaves, and reads what is still sent.
async fn peer(mut io: DuplexStream, wire: &[u8], answers_upgrade: bool) {
    if answers_upgrade {
        answer_upgrade(&mut io).await;
    }
    // Our end may be gone before it has read everything.
    let _gone = io.write_all(wire).await;
    let _gone = io.shutdown().await;
    let _gone = tokio::io::copy(&mut io, &mut tokio::io::sink()).await;
}

/// The input as frames: first byte of the header, length, payload. Masked with zeros where the
/// peer is a client.
fn frames(mut rest: &[u8], to_agent: bool) -> Vec<u8> {
    let mut wire = Vec::new();
    while let [first, length, tail @ ..] = rest {
        let (payload, after) = tail.split_at(tail.len().min(usize::from(*length)));
        write_frame(&mut wire, *first, payload, to_agent);
        rest = after;
    }
    wire
}

fn in_pieces(rest: &[u8], to_agent: bool) -> Vec<u8> {
    let mut wire = Vec::new();
    for piece in rest.chunks(PIECE) {
        write_frame(&mut wire, 0x82, piece, to_agent);
    }
    wire
}

fn write_frame(wire: &mut Vec<u8>, first: u8, payload: &[u8], to_agent: bool) {
    let mask = if to_agent { 0 } else { 0x80 };
    wire.push(first);
    match u8::try_from(payload.len())
        .ok()
        .filter(|length| *length < 126)
    {
        Some(length) => wire.push(mask | length),
        None => {
            wire.push(mask | 126);
            let length = u16::try_from(payload.len()).expect("a byte counts it");
            wire.extend_from_slice(&length.to_be_bytes());
        }
    }
    if !to_agent {
        wire.extend_from_slice(&[0; 4]);
    }
    wire.extend_from_slice(payload);
}

/// The control plane's end, with a request on its way where HTTP/2 is agreed.
async fn ask(mut control: ControlTunnel<DuplexStream>, agreed: Agreed) {
    match agreed {
        Agreed::Nothing => {}
        Agreed::InnerTls => control.start_inner_tls(&CLIENT),
        Agreed::Http2 => {
            control.offer_plain();
            control.attested(8);
        }
    }
    let handle = control.handle();
    let driving = async {
        loop {
            if let ControlEvent::Closed(_) = control.next().await {
                return drop(control);
            }
        }
    };
    match agreed {
        Agreed::Http2 => {
            let ((), (), ()) = tokio::join!(driving, fetch(&handle), fetch(&handle));
            assert_eq!(handle.inflight(), 0, "no request outlives its tunnel");
        }
        Agreed::Nothing | Agreed::InnerTls => driving.await,
    }
}

async fn fetch(handle: &TunnelHandle) {
    let request = Request::post("http://app.test/").body(Full::new(Bytes::from_static(b"ping")));
    let answer = handle.request(request.expect("a request")).await;
    if let Ok(answer) = answer {
        let _broken = answer.into_body().collect().await;
    }
}

async fn connect(io: DuplexStream) -> AgentTunnel<DuplexStream> {
    let uri = Uri::from_static("ws://control.test/v1/tunnel");
    let tunnel = AgentTunnel::connect(io, &uri, &TunnelOptions::default()).await;
    tunnel.expect("the upgrade is answered well")
}

/// The agent's end; it answers each request with its body.
async fn serve(mut agent: AgentTunnel<DuplexStream>, agreed: Agreed) {
    match agreed {
        Agreed::Nothing => {}
        Agreed::InnerTls => agent.expect_inner_tls(&SERVER),
        Agreed::Http2 => {
            agent.expect_plain();
            agent.attested();
        }
    }
    loop {
        match agent.next().await {
            AgentEvent::Closed(_) => return,
            AgentEvent::Request(request, responder) => agent.serve(Box::pin(async move {
                let body = request.into_body().collect().await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                // The peer may have taken the request back.
                let _cancelled = responder.respond(Response::new(Full::new(body))).await;
            })),
            AgentEvent::Text { .. } | AgentEvent::InnerTls(_) | AgentEvent::Violation(_) => {}
        }
    }
}

/// Answers the upgrade as the HTTP server in front of a tunnel does.
async fn answer_upgrade(io: &mut DuplexStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.expect("the request's head"));
    }
    let head = String::from_utf8(head).expect("ASCII");
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let text = format!(
        "{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
        key.expect("a key")
    );
    let algorithm = &ring::digest::SHA1_FOR_LEGACY_USE_ONLY;
    let accept = STANDARD.encode(ring::digest::digest(algorithm, text.as_bytes()));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    io.write_all(answer.as_bytes())
        .await
        .expect("the pipe is open");
}
