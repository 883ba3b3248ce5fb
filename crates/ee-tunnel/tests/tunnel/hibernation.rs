//! HTTP/2 goes to rest on idle tunnels and comes back with the next request (TUNNEL 3.3).

use std::{
    future::{Ready, ready},
    sync::Mutex,
    time::Duration,
};

use bytes::Bytes;
use ee_tunnel::IncomingBody;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use crate::pair::{Fed, Mode, Running, accept, connect, inner_tls, request, running, start};

const MINUTE: Duration = Duration::from_secs(60);

async fn get(tunnel: &Running) -> Bytes {
    let answer = tunnel
        .handle
        .request(request("GET", "/", Empty::<Bytes>::new()))
        .await
        .expect("an answer");
    answer
        .into_body()
        .collect()
        .await
        .expect("whole")
        .to_bytes()
}

async fn hello() -> Running {
    let answer = |_| async { Response::new(Full::new(Bytes::from_static(b"hello"))) };
    running(Mode::InnerTls, answer).await
}

/// Virtual time until HTTP/2 rests.
async fn rested(tunnel: &Running) -> Duration {
    let begin = Instant::now();
    let resting = async {
        while tunnel.handle.is_awake() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(4 * MINUTE, resting).await.expect("it goes to rest");
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_rests_and_the_next_request_wakes_it() {
    let tunnel = hello().await;
    for round in 0..3 {
        assert!(
            !tunnel.handle.is_awake(),
            "round {round}: nothing was asked"
        );
        assert_eq!(get(&tunnel).await, "hello", "round {round}");
        assert!(tunnel.handle.is_awake());
        let waited = rested(&tunnel).await;
        assert!(waited >= MINUTE && waited <= 2 * MINUTE, "{waited:?}");
        // Both markers have passed before the next round.
        sleep(Duration::from_secs(5)).await;
    }
    assert!(!tunnel.agent.is_finished());
}

#[tokio::test(start_paused = true)]
async fn without_inner_tls_it_is_the_same() {
    let answer = |_| async { Response::new(Full::new(Bytes::from_static(b"hello"))) };
    let tunnel = running(Mode::Plain, answer).await;
    for _ in 0..3 {
        assert_eq!(get(&tunnel).await, "hello");
        rested(&tunnel).await;
    }
    assert_eq!(get(&tunnel).await, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_request_while_http2_ends_waits_for_the_next_epoch() {
    let tunnel = hello().await;
    assert_eq!(get(&tunnel).await, "hello");
    rested(&tunnel).await;
    // Neither marker has been answered yet.
    assert_eq!(get(&tunnel).await, "hello");
    assert!(tunnel.handle.is_awake());
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_keeps_it_awake() {
    let (feed, serve) = fed_once();
    let tunnel = running(Mode::InnerTls, serve).await;
    let answer = tunnel
        .handle
        .request(request("GET", "/", Empty::<Bytes>::new()))
        .await
        .expect("an answer");
    sleep(10 * MINUTE).await;
    assert!(tunnel.handle.is_awake());
    feed.send(Bytes::from_static(b"late")).await.expect("open");
    drop(feed);
    let body = answer.into_body().collect().await.expect("whole");
    assert_eq!(body.to_bytes(), "late");
    rested(&tunnel).await;
}

/// Whoever ends the outer TLS can put an empty message between two records, in each direction.
#[tokio::test(start_paused = true)]
async fn a_forged_end_is_an_error_and_never_a_short_success() {
    for (masked, direction) in [(true, "to the control plane"), (false, "to the agent")] {
        let (control_io, control_far) = tokio::io::duplex(64 * 1024);
        let (agent_io, agent_far) = tokio::io::duplex(64 * 1024);
        let (forge, forged) = oneshot::channel();
        let wire = tokio::spawn(forging(control_far, agent_far, masked, forged));
        let (mut control, mut agent) = tokio::join!(accept(control_io), connect(agent_io));
        inner_tls(&mut control, &mut agent).await;
        let (feed, serve) = fed_once();
        let tunnel = start(control, agent, serve);
        let answer = tunnel
            .handle
            .request(request("GET", "/", Empty::<Bytes>::new()))
            .await
            .expect("an answer");
        feed.send(Bytes::from_static(b"half")).await.expect("open");
        let mut body = answer.into_body();
        let first = body.frame().await.expect("more").expect("data");
        assert_eq!(first.into_data().expect("data"), "half");
        forge.send(()).expect("the wire waits");
        let rest = timeout(MINUTE, body.frame()).await.expect("in time");
        assert!(matches!(rest, Some(Err(_))), "{direction}: {rest:?}");
        wire.abort();
    }
}

/// Copies bytes both ways; when told to, puts an empty binary message into one direction.
async fn forging(
    mut control: DuplexStream,
    mut agent: DuplexStream,
    masked: bool,
    mut forged: oneshot::Receiver<()>,
) {
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut control, &mut agent) => return,
        told = &mut forged => told.expect("the test goes on"),
    }
    let told = match masked {
        true => control.write_all(&[0x82, 0x80, 1, 2, 3, 4]).await,
        false => agent.write_all(&[0x82, 0x00]).await,
    };
    told.expect("the pipe is open");
    let _ended = tokio::io::copy_bidirectional(&mut control, &mut agent).await;
}

/// An agent that does not end its direction keeps the memory of HTTP/2: its tunnel ends instead.
#[tokio::test(start_paused = true)]
async fn an_epoch_without_an_answer_ends_the_tunnel_after_ten_seconds() {
    let (control_io, control_far) = tokio::io::duplex(64 * 1024);
    let (agent_io, agent_far) = tokio::io::duplex(64 * 1024);
    let wire = tokio::spawn(silent_after_the_end(control_far, agent_far));
    let (mut control, mut agent) = tokio::join!(accept(control_io), connect(agent_io));
    control.offer_plain();
    agent.expect_plain();
    let answer = |_| async { Response::new(Full::new(Bytes::from_static(b"hello"))) };
    let tunnel = start(control, agent, answer);
    assert_eq!(get(&tunnel).await, "hello");
    rested(&tunnel).await;
    sleep(Duration::from_millis(9_800)).await;
    assert!(!tunnel.agent.is_finished(), "it may still answer");
    let ended = timeout(Duration::from_secs(1), tunnel.agent).await;
    ended.expect("ten seconds are over").expect("no panic");
    wire.abort();
}

/// Copies bytes both ways until the control plane has ended an epoch; then what the agent says is
/// lost.
async fn silent_after_the_end(control: DuplexStream, agent: DuplexStream) {
    let (mut from_control, mut to_control) = tokio::io::split(control);
    let (mut from_agent, mut to_agent) = tokio::io::split(agent);
    let (end, ended) = oneshot::channel();
    let down = async {
        let (mut end, mut buffer) = (Some(end), vec![0; 64 * 1024]);
        while let Ok(count @ 1..) = from_control.read(&mut buffer).await {
            to_agent.write_all(&buffer[..count]).await.expect("open");
            if buffer[..count].ends_with(&[0x82, 0x00]) {
                end.take().map(|end| end.send(()));
            }
        }
    };
    let up = async {
        tokio::select! {
            _ = tokio::io::copy(&mut from_agent, &mut to_control) => {}
            _ = ended => std::future::pending().await,
        }
    };
    tokio::join!(down, up);
}

type Feed = tokio::sync::mpsc::Sender<Bytes>;

/// Answers one request with what is fed.
fn fed_once() -> (
    Feed,
    impl Fn(Request<IncomingBody>) -> Ready<Response<Fed>> + Send + 'static,
) {
    let (feed, fed) = tokio::sync::mpsc::channel(1);
    let fed = Mutex::new(Some(fed));
    let serve = move |_| {
        let body = fed.lock().expect("no panic held it").take();
        ready(Response::new(Fed(body.expect("one request"))))
    };
    (feed, serve)
}
