//! An agent that floods the control plane with frames of HTTP/2 inside its tunnel.

use std::time::Duration;

use bytes::Bytes;
use ee_testbed::h2::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, SETTINGS, frame, reset,
    window_update,
};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::h2_conformance::{Asking, asking};

/// Most frames without a payload of use that a tunnel takes within a second.
const FRAMES: usize = 10_000;
/// Most grants of window within a second.
const GRANTS: usize = 100_000;
/// By the test's own clock, which stands still while anybody works.
const SOON: Duration = Duration::from_secs(10);
/// `:status: 200`.
const OK: u8 = 0x88;

/// Sends as an agent that reads what it is told, until the tunnel is gone; how it closed.
async fn closed_by(asking: Asking, flood: &[u8]) -> (Option<u16>, String) {
    let (mut reads, mut writes) = tokio::io::split(asking.bytes);
    let reading = tokio::spawn(async move {
        let mut sink = tokio::io::sink();
        // An error is the end, too.
        let _ended = tokio::io::copy(&mut reads, &mut sink).await;
    });
    // The refusal may come while the flood still is being sent.
    let _refused = writes.write_all(flood).await;
    let closed = timeout(SOON, asking.control).await;
    let closed = closed.expect("the tunnel ends").expect("no panic");
    let answered = asking.answered.await.expect("asking does not panic");
    answered.expect_err("the request fails with its tunnel");
    reading.abort();
    (closed.code, closed.reason)
}

fn refused() -> (Option<u16>, String) {
    (Some(1008), "frame_flood".to_owned())
}

fn broken() -> (Option<u16>, String) {
    (Some(1002), "mux_failed".to_owned())
}

async fn refuses(kind: &[u8], most: usize) {
    let flood = kind.repeat(most + 1);
    assert_eq!(closed_by(asking().await, &flood).await, refused());
}

/// The SETTINGS of the beginning and this many frames are taken: one less than [`FRAMES`].
async fn takes(kind: &[u8], most: usize) {
    let mut asking = asking().await;
    let answer = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[OK]);
    let all = [kind.repeat(most - 1), answer].concat();
    let (mut reads, mut writes) = tokio::io::split(asking.bytes);
    let reading = tokio::spawn(async move {
        let mut sink = tokio::io::sink();
        let _ended = tokio::io::copy(&mut reads, &mut sink).await;
    });
    writes.write_all(&all).await.expect("taken");
    let answered = (&mut asking.answered).await.expect("no panic");
    assert_eq!(answered, Ok((200, Bytes::new())));
    reading.abort();
    asking.control.abort();
}

#[tokio::test(start_paused = true)]
async fn a_settings_flood_of_an_agent_ends_its_tunnel() {
    let settings = frame(SETTINGS, 0, 0, &[]);
    takes(&settings, FRAMES).await;
    refuses(&settings, FRAMES).await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_flood_in_frames_ends_the_tunnel() {
    let ping = frame(PING, 0, 0, &[7; 8]);
    takes(&ping, FRAMES).await;
    refuses(&ping, FRAMES).await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_flood_of_an_agent_ends_its_tunnel() {
    // Of our stream, which the first of them ends.
    refuses(&reset(1, 8), FRAMES).await;
}

#[tokio::test(start_paused = true)]
async fn a_window_flood_of_an_agent_ends_its_tunnel() {
    let grant = window_update(0, 1);
    takes(&grant, GRANTS).await;
    refuses(&grant, GRANTS).await;
}

#[tokio::test(start_paused = true)]
async fn floods_of_frames_that_mean_nothing_end_the_tunnel() {
    refuses(&frame(0x16, 0, 0, &[]), FRAMES).await;
    refuses(&frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]), FRAMES).await;
}

/// h2 itself counts the frames of one header block.
#[tokio::test(start_paused = true)]
async fn a_continuation_flood_of_an_agent_ends_its_tunnel() {
    let begun = frame(HEADERS, 0, 1, &[OK]);
    let literal = [
        &[0x00, 0x01, b'x', 0x7f, 0x81, 0x7d][..],
        &[b'a'; 16_128][..],
    ]
    .concat();
    let more = frame(CONTINUATION, 0, 1, &literal);
    let flood = [begun, more.repeat(100)].concat();
    assert_eq!(closed_by(asking().await, &flood).await, broken());
    // Those that hold nothing are counted like all frames that hold nothing, where h2 lets them.
    let begun = frame(HEADERS, 0, 1, &[OK]);
    let flood = [begun, frame(CONTINUATION, 0, 1, &[]).repeat(FRAMES + 1)].concat();
    let closed = closed_by(asking().await, &flood).await;
    assert!([broken(), refused()].contains(&closed), "{closed:?}");
}

/// One field of 3 900 bytes in the table, then 12 000 references to it of one byte each: 47 MB.
#[tokio::test(start_paused = true)]
async fn an_hpack_bomb_of_an_agent_ends_its_tunnel() {
    let mut block = vec![OK];
    block.extend([0x40, 0x01, b'x', 0x7f, 0xbd, 0x1d]);
    block.extend([b'a'; 3_900]);
    block.extend([0xbe; 12_000]);
    let bomb = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
    assert_eq!(closed_by(asking().await, &bomb).await, broken());
}
