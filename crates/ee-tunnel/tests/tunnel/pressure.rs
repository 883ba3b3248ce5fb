//! Windows under memory pressure (TUNNEL 6, "byte governor").

use std::time::Duration;

use bytes::Bytes;
use ee_tunnel::{Buffered, TunnelBody, TunnelOptions};
use http::Response;
use http_body::Frame;
use http_body_util::Empty;
use tokio::time::sleep;

use crate::pair::{Frames, Running, accept_with, connect, inner_tls, options, request, start};

const MIB: usize = 1024 * 1024;
/// What may lie in HTTP/2 until the next sweep.
const UNSWEPT: usize = 100 * 1024;

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

#[tokio::test(start_paused = true)]
async fn windows_shrink_under_memory_pressure_and_grow_again() {
    let buffered = Buffered::with_limit(4 * MIB);
    let options = TunnelOptions {
        buffered: buffered.clone(),
        ..options()
    };
    let (control_io, agent_io) = tokio::io::duplex(256 * 1024);
    let (mut control, mut agent) =
        tokio::join!(accept_with(control_io, &options), connect(agent_io));
    inner_tls(&mut control, &mut agent).await;
    let tunnel = start(control, agent, |_| async { Response::new(endless()) });

    let mut held = Vec::new();
    for count in 1..=4 {
        held.push(stalled(&tunnel).await);
        let least = count * (MIB - UNSWEPT);
        assert!(buffered.bytes() >= least, "{count}: {}", buffered.bytes());
    }
    let before = buffered.bytes();
    held.push(stalled(&tunnel).await);
    let grown = buffered.bytes() - before;
    assert!(grown <= 256 * 1024, "a fifth stream added {grown}");

    held.clear();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(buffered.bytes(), 0);
    held.push(stalled(&tunnel).await);
    assert!(buffered.bytes() >= MIB - UNSWEPT, "{}", buffered.bytes());
}
