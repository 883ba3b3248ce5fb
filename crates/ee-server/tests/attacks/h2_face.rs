//! An HTTP/2 client made of bytes, for what no library would send to the public face.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    peer::{Prover, Registration, SLOWLY, Serving},
    world::{PATIENCE, World},
};

const APP: &str = "target";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Error codes of RFC 9113 section 7.
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The fields of a GET (or, with index 3, a POST) of the front page, as HPACK literals.
fn fields(method: u8) -> Vec<u8> {
    let authority = b"target.localhost";
    let mut block = vec![0x80 | method, 0x86, 0x84, 0x01];
    block.push(u8::try_from(authority.len()).expect("short"));
    block.extend_from_slice(authority);
    block
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(2))
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    GoAway(u32),
    Cut,
}

struct Client {
    stream: TcpStream,
}

impl Client {
    async fn open(world: &World, settings: &[u8]) -> Self {
        let mut stream = TcpStream::connect(world.server.proxy_addr)
            .await
            .expect("connected");
        stream.set_nodelay(true).expect("a socket");
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .expect("sent");
        let mut client = Self { stream };
        client.send(&frame(SETTINGS, 0, 0, settings)).await;
        client
    }

    /// Sends; false when the server has closed.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next frame: kind, flags, stream, payload.
    async fn hear(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("24 bits")];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload))
    }

    /// Reads to the end.
    async fn end(&mut self) -> End {
        let ended = async {
            let mut end = End::Cut;
            while let Some((kind, _, _, payload)) = self.hear().await {
                if kind == GOAWAY {
                    let code = payload[4..8].try_into().expect("four bytes");
                    end = End::GoAway(u32::from_be_bytes(code));
                }
            }
            end
        };
        timeout(PATIENCE, ended).await.expect("ended in time")
    }

    /// Sends this again and again, reading nothing; how many bytes went until it was cut off.
    async fn flood(&mut self, bytes: &[u8], most: usize) -> usize {
        let mut sent = 0;
        while sent < most {
            let written = timeout(PATIENCE, self.stream.write(bytes)).await;
            match written.expect("taken or cut off in time") {
                Ok(count) => sent += count,
                Err(_) => return sent,
            }
        }
        sent
    }
}

async fn world() -> (World, Serving) {
    let world = World::start().await;
    let registration = Registration::new(APP, "honest");
    let peer = world.peer().await;
    let serving = peer.join(&registration, &Prover::good()).await.serve(APP);
    (world, serving)
}

/// The app is as free as before: its credits are back.
async fn serves_on(world: World, serving: Serving) {
    assert_eq!(world.get(APP).await.body, APP);
    drop(serving);
    world.stands().await;
}

#[tokio::test]
async fn rapid_reset_is_cut_off() {
    let (world, serving) = world().await;
    let mut client = Client::open(&world, &[]).await;
    let pair = |number: u32| {
        let stream = 2 * number + 1;
        let reset = frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        [get(stream), reset].concat()
    };
    let pairs: Vec<u8> = (0..5_000).flat_map(pair).collect();
    client.send(&pairs).await;
    let end = client.end().await;
    assert!(
        [End::GoAway(ENHANCE_YOUR_CALM), End::Cut].contains(&end),
        "{end:?}"
    );
    serves_on(world, serving).await;
}

/// Resets that the server is made to send by frames that break the rules (CVE-2025-8671).
#[tokio::test]
async fn resets_that_we_are_made_to_send_are_counted() {
    let (world, serving) = world().await;
    let mut client = Client::open(&world, &[]).await;
    let broken = |number: u32| {
        let stream = 2 * number + 1;
        [
            get(stream),
            frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]),
        ]
        .concat()
    };
    let many: Vec<u8> = (0..5_000).flat_map(broken).collect();
    client.send(&many).await;
    let end = client.end().await;
    assert!(
        [End::GoAway(ENHANCE_YOUR_CALM), End::Cut].contains(&end),
        "{end:?}"
    );
    serves_on(world, serving).await;
}

#[tokio::test]
async fn continuation_flood_is_cut_off() {
    let (world, serving) = world().await;
    let mut client = Client::open(&world, &[]).await;
    client
        .send(&frame(HEADERS, END_STREAM, 1, &fields(2)))
        .await;
    let literal = [
        &[0x00, 0x01, b'x', 0x7f, 0x81, 0x7d][..],
        &[b'a'; 16_128][..],
    ]
    .concat();
    let more = frame(CONTINUATION, 0, 1, &literal);
    let sent = client.flood(&more, 64 << 20).await;
    assert!(sent < 32 << 20, "taken: {sent}");
    serves_on(world, serving).await;
}

#[tokio::test]
async fn settings_and_ping_floods_are_cut_off() {
    let (world, serving) = world().await;
    for flood in [
        frame(SETTINGS, 0, 0, &[]),
        frame(PING, 0, 0, &[7; 8]),
        // A kind that nobody knows, to be ignored.
        frame(77, 0, 0, &[]),
        frame(2, 0, 3, &[0; 5]),
    ] {
        let mut client = Client::open(&world, &[]).await;
        let (mut reader, mut writer) = client.stream.split();
        let reading = async {
            let mut sink = vec![0; 64 * 1024];
            while matches!(reader.read(&mut sink).await, Ok(1..)) {}
        };
        let writing = async {
            let many = flood.repeat(1_000);
            let mut sent = 0;
            while sent < 4_000 && writer.write_all(&many).await.is_ok() {
                sent += 1;
            }
            sent
        };
        // A reader of our answers cannot be stopped by them.
        let both = async { tokio::join!(reading, writing) };
        let ((), sent) = timeout(PATIENCE, both).await.expect("cut off in time");
        assert!(sent < 4_000, "four million frames were taken");
    }
    serves_on(world, serving).await;
}

/// One field of 4 000 bytes in the table, then 16 000 references to it of one byte each.
#[tokio::test]
async fn hpack_bomb_is_refused() {
    let (world, serving) = world().await;
    let mut client = Client::open(&world, &[]).await;
    let mut block = fields(2);
    // Literal with indexing, new name "x", a value of 3 900 bytes (prefix integer 127 + 3 773).
    block.extend([0x40, 0x01, b'x', 0x7f, 0xbd, 0x1d]);
    block.extend([b'a'; 3_900]);
    block.extend([0xbe; 12_000]);
    client
        .send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block))
        .await;
    // h2 ends the connection before it has unpacked 47 MB.
    assert_eq!(client.end().await, End::GoAway(ENHANCE_YOUR_CALM));
    serves_on(world, serving).await;
}

/// A client whose frames are empty may lose its own connection; no tunnel suffers.
#[tokio::test]
async fn empty_data_kills_no_tunnel() {
    let (world, serving) = world().await;
    let mut client = Client::open(&world, &[]).await;
    client.send(&upload()).await;
    client.send(&frame(DATA, 0, 1, b"").repeat(9_000)).await;
    assert_eq!(client.end().await, End::GoAway(ENHANCE_YOUR_CALM));
    assert!(serving.is_open(), "the tunnel is gone");
    serves_on(world, serving).await;
}

/// The head of an upload to the app that takes its time.
fn upload() -> Vec<u8> {
    let path = [&[0x04, 0x07][..], SLOWLY.as_bytes()].concat();
    let head = fields(3);
    let block = [&head[..2], &path, &head[3..]].concat();
    frame(HEADERS, END_HEADERS, 1, &block)
}

/// An upload in frames of one byte, to an app that reads more slowly than they come: all of it
/// arrives, and the tunnel lives.
#[tokio::test]
async fn tiny_data_kills_no_tunnel() {
    const BYTES: usize = 9_000;
    let (world, serving) = world().await;
    let mut client = Client::open(&world, &[]).await;
    client.send(&upload()).await;
    for _ in 0..BYTES / 100 {
        client.send(&frame(DATA, 0, 1, b"x").repeat(100)).await;
        // What has arrived goes on before more comes.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client.send(&frame(DATA, END_STREAM, 1, b"")).await;
    let answered = async {
        loop {
            let (kind, _, stream, payload) = client.hear().await.expect("the answer");
            assert_ne!(kind, RST_STREAM, "{payload:?}");
            if (kind, stream) == (DATA, 1) {
                return payload;
            }
        }
    };
    let answer = timeout(PATIENCE, answered).await.expect("answered in time");
    assert_eq!(answer, BYTES.to_string().as_bytes());
    assert!(serving.is_open(), "the tunnel is gone");
    serves_on(world, serving).await;
}

/// A client that grants no room for the answer it asked for.
#[tokio::test]
async fn zero_window_hold_ends_after_a_minute() {
    let (world, serving) = world().await;
    let no_room = [0, 4, 0, 0, 0, 0];
    let mut client = Client::open(&world, &no_room).await;
    client.send(&get(1)).await;
    loop {
        let (kind, _, stream, _) = client.hear().await.expect("the head of the answer");
        if (kind, stream) == (HEADERS, 1) {
            break;
        }
    }
    tokio::time::pause();
    let began = Instant::now();
    let reset = async {
        loop {
            let (kind, _, stream, payload) = client.hear().await.expect("a reset");
            assert_ne!((kind, stream), (DATA, 1), "no room was granted");
            if (kind, stream) == (RST_STREAM, 1) {
                return payload;
            }
        }
    };
    // Seconds of the paused clock.
    let code = timeout(Duration::from_secs(100), reset)
        .await
        .expect("reset");
    assert_eq!(code, CANCEL.to_be_bytes());
    let held = began.elapsed();
    assert!((45..=76).contains(&held.as_secs()), "{held:?}");
    tokio::time::resume();
    serves_on(world, serving).await;
}

/// An upload that stops in the middle: the client is told, the app's credit is back.
#[tokio::test]
async fn stopped_upload_is_answered_408() {
    let (world, serving) = world().await;
    let mut stream = TcpStream::connect(world.server.proxy_addr)
        .await
        .expect("connected");
    let head = "POST /never HTTP/1.1\r\nHost: target.localhost\r\nContent-Length: 10\r\n\r\nab";
    stream.write_all(head.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::pause();
    let mut answer = [0; 12];
    let answered = timeout(Duration::from_secs(100), stream.read_exact(&mut answer)).await;
    answered.expect("answered").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 408");
    tokio::time::resume();
    serves_on(world, serving).await;
}
