//! What RFC 9113 and RFC 7541 demand of a server, demanded of the public face.

use ee_testbed::h2::{
    frames::{
        DATA, END_STREAM, PREFACE, REFUSED_STREAM, RST_STREAM, get, get_never, setting, settings,
        window_update,
    },
    of_crate::as_the_crate_does,
    peer::H2Peer,
    server_cases::all,
};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    peer::{Prover, Registration, Serving},
    world::{PATIENCE, World, ask},
};

/// The first label of the host that the cases ask for, and its front page.
const APP: &str = "target";

async fn world() -> (World, Serving) {
    let world = World::start().await;
    let registration = Registration::new(APP, "honest").with(|named| {
        named.max_inflight = Some(1024);
    });
    let peer = world.peer().await;
    let serving = peer.join(&registration, &Prover::good()).await.serve(APP);
    (world, serving)
}

async fn open(world: &World, settings: &[u8]) -> H2Peer<TcpStream> {
    let stream = TcpStream::connect(world.server.proxy_addr).await;
    let stream = stream.expect("connected");
    stream.set_nodelay(true).expect("a socket");
    H2Peer::open(stream, settings).await
}

#[tokio::test]
async fn public_face_does_what_the_rfcs_demand() {
    let (world, serving) = world().await;
    let mut wrong = Vec::new();
    for case in as_the_crate_does(all()) {
        let did = open(&world, &[]).await.play(&case).await;
        if did != case.must {
            let (rule, what, must) = (case.rule, case.what, &case.must);
            wrong.push(format!("{rule} {what}: must {must:?}, did {did:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    drop(serving);
    world.stands().await;
}

/// The length and the flags of the next DATA of stream 1.
async fn data(peer: &mut H2Peer<TcpStream>) -> (usize, u8) {
    loop {
        let heard = timeout(PATIENCE, peer.hear()).await.expect("in time");
        let heard = heard.expect("the connection goes on");
        assert_ne!(heard.kind, RST_STREAM, "{heard:?}");
        if (heard.kind, heard.stream) == (DATA, 1) {
            return (heard.payload.len(), heard.flags);
        }
    }
}

/// RFC 9113 6.9.1 and 6.9.2: the answer, of six bytes, comes as the window lets it.
#[tokio::test]
async fn public_face_sends_what_the_window_lets_it() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let (world, serving) = world().await;
    let mut peer = open(&world, &setting(INITIAL_WINDOW_SIZE, 0)).await;
    peer.send(&get(1)).await;
    // Streams that are open get the difference.
    peer.send(&settings(INITIAL_WINDOW_SIZE, 1)).await;
    assert_eq!(data(&mut peer).await, (1, 0));
    peer.send(&window_update(1, 2)).await;
    assert_eq!(data(&mut peer).await, (2, 0));
    // The window is below zero now, by one: of the next two bytes one pays for that.
    peer.send(&settings(INITIAL_WINDOW_SIZE, 0)).await;
    peer.send(&window_update(1, 2)).await;
    assert_eq!(data(&mut peer).await, (1, 0));
    peer.send(&window_update(1, 9)).await;
    let (rest, flags) = data(&mut peer).await;
    assert_eq!((rest, flags & END_STREAM), (2, END_STREAM));
    drop(serving);
    world.stands().await;
}

/// RFC 9113 5.1.2: the stream above the limit that the face has set.
#[tokio::test]
async fn public_face_refuses_the_129th_stream() {
    let (world, serving) = world().await;
    let mut peer = open(&world, &[]).await;
    let streams: Vec<u8> = (0..129).flat_map(|at| get_never(2 * at + 1)).collect();
    peer.send(&streams).await;
    loop {
        let heard = timeout(PATIENCE, peer.hear()).await.expect("in time");
        let heard = heard.expect("the connection goes on");
        if heard.kind == RST_STREAM {
            assert_eq!(heard.stream, 257);
            assert_eq!(heard.payload, REFUSED_STREAM.to_be_bytes());
            break;
        }
    }
    drop(serving);
    world.stands().await;
}

/// RFC 9113 3.4 demands PROTOCOL_ERROR where the preface is none. The face cannot know that HTTP/2
/// was meant: it answers in HTTP/1.1, whose first line that is, and closes.
#[tokio::test]
async fn public_face_takes_a_broken_preface_for_http_1() {
    let (world, serving) = world().await;
    for end in [&b"SM\r\n\rX"[..], b"XX\r\n\r\n"] {
        let (line, _) = PREFACE.split_at(PREFACE.len() - end.len());
        let answer = ask(world.server.proxy_addr, &[line, end].concat()).await;
        assert!(matches!(answer.status, 400 | 505), "{answer:?}");
    }
    drop(serving);
    world.stands().await;
}
