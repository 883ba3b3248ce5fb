//! Windows under memory pressure (TUNNEL 6, "byte governor").

use std::time::Duration;

use bytes::Bytes;
use ee_tunnel::agent::AgentEvent;
use ee_tunnel::{Buffered, TunnelBody, TunnelOptions, limits};
use http::Response;
use http_body::Frame;
use http_body_util::Empty;
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use crate::pair::{
    Frames, Running, accept_with, answer_upgrade, connect, inner_tls, options, request, start,
};

const MIB: usize = 1024 * 1024;
/// What may lie in HTTP/2 until the next sweep, and the message that came with the last one.
const UNSWEPT: usize = 132 * 1024;

fn endless() -> Frames<impl FnMut() -> Option<Frame<Bytes>> + Unpin> {
    Frames(|| Some(Frame::data(Bytes::from_static(&[7; 16 * 1024]))))
}

/// An answer without end that nobody reads, once its window is full.
async fn stalled(tunnel: &Running) -> TunnelBody {
    let answer = tunnel
        .handle
        .request(request("GET", "/", Empty::<Bytes>::new()))
        .await
        .expect("an answer");
    // Virtual time passes only when both ends have nothing more to do.
    sleep(Duration::from_millis(1)).await;
    answer.into_body()
}

/// A tunnel of endless answers whose control plane counts with `buffered`.
async fn endless_answers(buffered: &Buffered) -> Running {
    let options = TunnelOptions {
        buffered: buffered.clone(),
        ..options()
    };
    let (control_io, agent_io) = tokio::io::duplex(256 * 1024);
    let (mut control, mut agent) =
        tokio::join!(accept_with(control_io, &options), connect(agent_io));
    inner_tls(&mut control, &mut agent).await;
    start(control, agent, |_| async { Response::new(endless()) })
}

#[tokio::test(start_paused = true)]
async fn windows_shrink_under_memory_pressure_and_grow_again() {
    let buffered = Buffered::with_limit(4 * MIB);
    let tunnel = endless_answers(&buffered).await;

    let mut held = Vec::new();
    for count in 1..=4 {
        held.push(stalled(&tunnel).await);
        // The fourth is stopped on its way, where windows become small.
        let least = (count * MIB - UNSWEPT).min(4 * MIB / 100 * 80);
        assert!(buffered.bytes() >= least, "{count}: {}", buffered.bytes());
    }
    let before = buffered.bytes();
    held.push(stalled(&tunnel).await);
    let grown = buffered.bytes() - before;
    assert!(
        grown <= 256 * 1024 + UNSWEPT,
        "a fifth stream added {grown}"
    );

    held.clear();
    sleep(limits::WINDOW_LASTS).await;
    assert_eq!(buffered.bytes(), 0);
    held.push(stalled(&tunnel).await);
    assert!(buffered.bytes() >= MIB - UNSWEPT, "{}", buffered.bytes());
}

/// Who came when few waited keeps what it has: eight whole windows, eight halves, and so on. The
/// one that is too many may have the window of those before it.
#[tokio::test(start_paused = true)]
async fn many_slow_readers_of_one_tunnel_have_small_windows() {
    let buffered = Buffered::default();
    let tunnel = endless_answers(&buffered).await;
    let mut held = Vec::new();
    for (count, each) in [(8, MIB), (8, MIB / 2), (16, MIB / 4), (32, MIB / 8)] {
        let before = buffered.bytes();
        for _ in 0..count {
            held.push(stalled(&tunnel).await);
        }
        let added = buffered.bytes() - before;
        let expected = count * each - UNSWEPT..=(count + 1) * each + UNSWEPT;
        assert!(expected.contains(&added), "{count} of {each} added {added}");
    }
}

/// One short binary message of a server.
fn message(frames: &[&[u8]]) -> Vec<u8> {
    let payload = frames.concat();
    let length = u8::try_from(payload.len()).expect("short");
    [&[0x82, length], &payload[..]].concat()
}

/// SETTINGS must be acknowledged before anything else is read, and the acknowledgement stands
/// behind data for which there is no room. Who tries again without a return to the runtime never
/// learns of room.
#[tokio::test(start_paused = true)]
async fn windows_may_change_while_nothing_can_be_sent() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let large = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 16, 0, 0];
    let grant = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 16, 0, 0];
    let get = [0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'a'];
    let small = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 8, 0, 0];

    let (mut control, agent_io) = tokio::io::duplex(64 * 1024);
    let ((), mut agent) = tokio::join!(answer_upgrade(&mut control), connect(agent_io));
    agent.expect_plain();
    agent.attested();
    let begin = message(&[preface, &large, &grant, &get]);
    control.write_all(&begin).await.expect("room");
    let AgentEvent::Request(_, responder) = agent.next().await else {
        panic!("no request came");
    };
    agent.serve(Box::pin(async move {
        let _cancelled = responder.respond(Response::new(endless())).await;
    }));
    let full = timeout(Duration::from_secs(1), agent.next()).await;
    assert!(full.is_err(), "nothing more came");
    for frame in [&small[..], &grant] {
        let message = message(&[frame]);
        control.write_all(&message).await.expect("room");
    }
    let waiting = timeout(Duration::from_secs(1), agent.next()).await;
    assert!(waiting.is_err(), "nothing more came");
}
