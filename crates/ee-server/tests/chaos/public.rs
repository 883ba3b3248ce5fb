//! Clients whose own connection is cut: at every byte of a request, and at every byte of an answer
//! that has not ended.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    agent::{Boot, Serving, Way},
    calm::{calm, comes, idle, in_time},
    client::{Seen, UPLOAD, ask, post, rest},
    sweep::{Kind, whole_page},
    world::World,
};

const APP: &str = "target";
/// Clients at the same time: far from any limit.
const CROWD: usize = 16;

async fn world() -> (World, Boot, Serving) {
    let world = World::start().await;
    let boot = Boot::new(APP, Way::InnerTls);
    let joined = boot.join(world.server.api_addr).await;
    let serving = joined.expect("undisturbed").serve();
    (world, boot, serving)
}

/// Writes the first bytes of a request and then cuts the connection; what comes back, where the
/// client still listens.
async fn cut_off(world: &World, request: &[u8], kind: Kind) -> Seen {
    let address = world.server.proxy_addr;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(request).await.expect("sent");
    match kind {
        Kind::Reset => {
            stream.set_zero_linger().expect("a socket");
            Seen::Nothing
        }
        Kind::End => {
            stream.shutdown().await.expect("a socket");
            rest(&mut stream).await
        }
    }
}

/// Every prefix of a request; the app hears of none, and nothing is left.
async fn swept(request: &[u8]) {
    let (world, boot, serving) = world().await;
    let places: Vec<usize> = (0..request.len()).collect();
    for kind in [Kind::Reset, Kind::End] {
        for round in places.chunks(CROWD) {
            let cuts = round
                .iter()
                .map(|at| cut_off(&world, &request[..*at], kind));
            for (seen, at) in futures_util::future::join_all(cuts).await.iter().zip(round) {
                let refused = match seen {
                    Seen::Whole { status, .. } => (400..500).contains(status),
                    Seen::Part | Seen::Nothing => true,
                };
                assert!(refused, "{kind:?} {at}: {seen:?}");
            }
            idle(&world, (kind, round)).await;
        }
    }
    boot.settled("the sweep").await;
    assert_eq!(boot.heard(), 0, "the app took a part for the whole");
    assert_eq!(ask(world.server.proxy_addr, request).await, whole_page());
    drop(serving);
    calm(&world, "the sweep").await;
    world.stands().await;
}

#[tokio::test]
async fn upload_cut_at_the_client_reaches_no_app_as_a_whole() {
    swept(&post(APP, "/sized")).await;
}

#[tokio::test]
async fn chunks_cut_at_the_client_reach_no_app_as_a_whole() {
    let chunk =
        |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let head = format!(
        "POST /streamed HTTP/1.1\r\nHost: {APP}.localhost\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let (first, second) = UPLOAD.split_at(17);
    let request = [head.as_bytes(), &chunk(first), &chunk(second), b"0\r\n\r\n"];
    swept(&request.concat()).await;
}

/// A client that leaves after so many bytes of an answer takes its stream, its credit and its bytes
/// with it, though the app says nothing more.
#[tokio::test]
async fn client_that_leaves_within_an_answer_leaves_nothing() {
    let (world, _boot, serving) = world().await;
    let head = format!("GET /hang HTTP/1.1\r\nHost: {APP}.localhost\r\n\r\n");
    let mut whole = Vec::new();
    let mut probe = TcpStream::connect(world.server.proxy_addr)
        .await
        .expect("connected");
    probe.write_all(head.as_bytes()).await.expect("sent");
    let end = crate::agent::page();
    while !whole.windows(end.len()).any(|part| *part == end) {
        whole.push(in_time(probe.read_u8()).await.expect("the answer goes on"));
    }
    drop(probe);
    let places: Vec<usize> = (0..whole.len()).collect();
    for kind in [Kind::Reset, Kind::End] {
        for round in places.chunks(CROWD) {
            let leaving = round.iter().map(|at| async {
                let address = world.server.proxy_addr;
                let mut stream = TcpStream::connect(address).await.expect("connected");
                stream.write_all(head.as_bytes()).await.expect("sent");
                let mut part = vec![0; *at];
                in_time(stream.read_exact(&mut part))
                    .await
                    .expect("so much");
                if kind == Kind::Reset {
                    stream.set_zero_linger().expect("a socket");
                }
            });
            futures_util::future::join_all(leaving).await;
            idle(&world, (kind, round)).await;
        }
    }
    assert!(serving.is_open());
    drop(serving);
    calm(&world, "the sweep").await;
    world.stands().await;
}

/// The same of HTTP/2: a preface, settings, a head and a body, cut everywhere.
#[tokio::test]
async fn upload_in_http2_cut_at_the_client_reaches_no_app_as_a_whole() {
    let (world, boot, serving) = world().await;
    let request = http2_post();
    let head = request.len() - HTTP2_BODY_BYTES;
    for round in (0..request.len()).collect::<Vec<_>>().chunks(CROWD) {
        let mut clients = Vec::new();
        for at in round {
            let address = world.server.proxy_addr;
            let mut client = TcpStream::connect(address).await.expect("connected");
            client.write_all(&request[..*at]).await.expect("sent");
            clients.push((client, at));
        }
        // Only an upload that has reached the app can be taken for a whole one.
        let begun = round.iter().filter(|at| **at >= head).count();
        let reads = || boot.reading() == begun;
        assert!(comes(reads).await, "{round:?}: no app reads");
        for (client, at) in clients {
            if at % 2 == 0 {
                client.set_zero_linger().expect("a socket");
            }
        }
        idle(&world, round).await;
        boot.settled(round).await;
        let heard = boot.heard();
        assert_eq!(heard, 0, "{round:?}: the app took a part for the whole");
    }
    let mut stream = TcpStream::connect(world.server.proxy_addr)
        .await
        .expect("connected");
    stream.write_all(&request).await.expect("sent");
    let heard = || boot.heard() == 1;
    assert!(comes(heard).await, "the whole request reaches the app");
    drop(stream);
    drop(serving);
    calm(&world, "the sweep").await;
    world.stands().await;
}

/// The two frames of [`UPLOAD`], of nine bytes of head each.
const HTTP2_BODY_BYTES: usize = 2 * 9 + UPLOAD.len();

/// A POST of [`UPLOAD`] in frames (RFC 9113 section 4.1), its fields as HPACK literals.
fn http2_post() -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let authority = format!("{APP}.localhost");
    let mut fields = vec![0x83, 0x86, 0x84, 0x01];
    fields.push(u8::try_from(authority.len()).expect("short"));
    fields.extend_from_slice(authority.as_bytes());
    let (first, second) = UPLOAD.split_at(17);
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 4, 1, &fields),
        frame(0, 0, 1, first),
        frame(0, 1, 1, second),
    ]
    .concat()
}
