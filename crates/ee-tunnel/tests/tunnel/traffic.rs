//! Requests and responses through a tunnel: streaming, bounds, cancel, loss.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ee_tunnel::{TunnelError, limits};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::{mpsc, oneshot};

use crate::pair::{DropFlag, Fed, Frames, Mode, request, running};

#[tokio::test]
async fn a_request_reaches_the_agent_and_its_answer_comes_back() {
    for mode in [Mode::Plain, Mode::InnerTls] {
        let tunnel = running(mode, |request| async move {
            let path = request.uri().to_string();
            let body = request
                .into_body()
                .collect()
                .await
                .expect("whole")
                .to_bytes();
            Response::new(Full::new(Bytes::from([path.as_bytes(), &body].concat())))
        });
        let tunnel = tunnel.await;
        let body = Full::new(Bytes::from_static(b" body"));
        let answer = tunnel
            .handle
            .request(request("POST", "/a?b=%20", body))
            .await
            .expect("ok");
        let text = answer
            .into_body()
            .collect()
            .await
            .expect("whole")
            .to_bytes();
        assert_eq!(text, "http://hello.test/a?b=%20 body");
        assert_eq!(tunnel.handle.inflight(), 0);
    }
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let tunnel = running(Mode::Plain, |request| async move {
        let collected = request.into_body().collect().await.expect("whole");
        let trailers = collected.trailers().cloned().expect("trailers");
        let mut frames = vec![
            Frame::trailers(trailers),
            Frame::data(Bytes::from_static(b"x")),
        ];
        Response::new(Frames(move || frames.pop()))
    })
    .await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("valid"));
    let mut frames = vec![Frame::trailers(trailers.clone())];
    let body = Frames(move || frames.pop());
    let answer = tunnel
        .handle
        .request(request("POST", "/", body))
        .await
        .expect("ok");
    let collected = answer.into_body().collect().await.expect("whole");
    assert_eq!(collected.trailers(), Some(&trailers));
}

#[tokio::test]
async fn trailers_that_cannot_be_sent_end_the_stream() {
    let tunnel = running(Mode::Plain, |request| async move {
        Response::new(request.into_body())
    })
    .await;
    let mut trailers = HeaderMap::new();
    trailers.insert("connection", "close".parse().expect("valid"));
    let mut frames = vec![
        Frame::trailers(trailers),
        Frame::data(Bytes::from_static(b"x")),
    ];
    let body = Frames(move || frames.pop());
    let echoed = async {
        let answer = tunnel.handle.request(request("POST", "/", body)).await;
        answer
            .map_err(|_| ())?
            .into_body()
            .collect()
            .await
            .map_err(|_| ())
    };
    let read = tokio::time::timeout(Duration::from_secs(5), echoed);
    let read = read.await.expect("the stream ends");
    assert!(read.is_err(), "a cut body is no whole one");
}

#[tokio::test]
async fn an_answer_streams_while_the_request_still_does() {
    let tunnel = running(Mode::InnerTls, |request| async move {
        Response::new(request.into_body())
    })
    .await;
    let (feed, body) = mpsc::channel(1);
    let answer = tunnel.handle.request(request("POST", "/", Fed(body)));
    let mut body = answer.await.expect("the head needs no body").into_body();
    for word in ["one", "two", "three"] {
        feed.send(Bytes::from(word))
            .await
            .expect("the upload lives");
        let frame = body.frame().await.expect("more").expect("good");
        assert_eq!(frame.into_data().expect("data"), word);
    }
    drop(feed);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions() {
    const LEN: usize = 8 * 1024 * 1024;
    for mode in [Mode::Plain, Mode::InnerTls] {
        let tunnel = running(
            mode,
            |request| async move { Response::new(request.into_body()) },
        )
        .await;
        let body = Full::new((0..LEN).map(pattern).collect::<Bytes>());
        let answer = tunnel
            .handle
            .request(request("POST", "/", body))
            .await
            .expect("ok");
        // Read as a hop does: what is taken is let go. Whoever collects holds the window.
        let mut body = answer.into_body();
        let mut echoed = 0;
        while let Some(frame) = body.frame().await {
            let data = frame.expect("good").into_data().expect("data");
            let in_place = data
                .iter()
                .zip(echoed..)
                .all(|(byte, at)| *byte == pattern(at));
            assert!(in_place, "bytes moved within {echoed}..");
            echoed += data.len();
        }
        assert_eq!(echoed, LEN);
    }
}

#[tokio::test]
async fn a_slow_reader_stops_its_sender_at_the_window() {
    let sent = Arc::new(Mutex::new(0_usize));
    let counter = Arc::clone(&sent);
    let tunnel = running(Mode::Plain, move |_request| {
        let counter = Arc::clone(&counter);
        async move {
            Response::new(Frames(move || {
                *counter.lock().expect("no panic held it") += 16_384;
                Some(Frame::data(Bytes::from(vec![0; 16_384])))
            }))
        }
    })
    .await;
    let answer = tunnel
        .handle
        .request(request("GET", "/", Empty::<Bytes>::new()))
        .await;
    let mut body = answer.expect("ok").into_body();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stalled = *sent.lock().expect("no panic held it");
    let window = limits::STREAM_WINDOW as usize;
    assert!(
        stalled <= window + limits::SEND_BUFFER + 2 * 16_384,
        "{stalled}"
    );
    // Chunks that are read but still held count as unread.
    let mut held = Vec::new();
    while held.iter().map(Bytes::len).sum::<usize>() < window {
        held.push(
            body.frame()
                .await
                .expect("more")
                .expect("good")
                .into_data()
                .expect("data"),
        );
    }
    let counted = tunnel.handle.buffered();
    let taken = held.iter().map(Bytes::len).sum::<usize>();
    assert!((taken..=window).contains(&counted), "{counted} of {taken}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let still = *sent.lock().expect("no panic held it");
    assert!(still <= stalled + 3 * 16_384, "{still} after {stalled}");
    drop(held);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(*sent.lock().expect("no panic held it") > still);
    for _ in 0..200 {
        body.frame().await.expect("more").expect("good");
    }
    assert!(tunnel.handle.buffered() <= window, "what was taken counts");
    drop(body);
    wait_until(|| tunnel.handle.buffered() == 0).await;
}

#[tokio::test]
async fn small_frames_do_not_kill_the_tunnel() {
    // Nobody reads 300 000 one-byte frames of one stream; h2's own budget is gone after 263 000,
    // unless they are drained. They need not reach the reader one by one either.
    const BYTES: usize = 300_000;
    let (go, wait) = oneshot::channel::<()>();
    let wait = Arc::new(Mutex::new(Some(wait)));
    let tunnel = running(Mode::Plain, move |request| {
        let wait = Arc::clone(&wait);
        async move {
            if request.uri().path() == "/other" {
                return Response::new(Full::new(Bytes::from_static(b"alive")).boxed());
            }
            let wait = wait
                .lock()
                .expect("no panic held it")
                .take()
                .expect("one request");
            wait.await.expect("the test says go");
            let body = request
                .into_body()
                .collect()
                .await
                .expect("whole")
                .to_bytes();
            Response::new(Full::new(Bytes::from(body.len().to_string())).boxed())
        }
    })
    .await;
    let (feed, body) = mpsc::channel(1);
    let handle = tunnel.handle.clone();
    let slow = tokio::spawn(async move { handle.request(request("POST", "/", Fed(body))).await });
    for sent in 0..BYTES {
        feed.send(Bytes::from_static(b"x"))
            .await
            .expect("the tunnel lives");
        if sent % 1000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    drop(feed);
    let other = tunnel
        .handle
        .request(request("GET", "/other", Empty::<Bytes>::new()))
        .await;
    let other = other
        .expect("the neighbour lives")
        .into_body()
        .collect()
        .await
        .expect("whole");
    assert_eq!(other.to_bytes(), "alive");
    go.send(()).expect("the app waits");
    let answer = slow
        .await
        .expect("no panic")
        .expect("ok")
        .into_body()
        .collect()
        .await;
    assert_eq!(answer.expect("whole").to_bytes(), BYTES.to_string());
}

#[tokio::test]
async fn small_frames_of_an_answer_do_not_kill_the_tunnel() {
    const BYTES: usize = 300_000;
    let (feed, body) = mpsc::channel(1);
    let body = Arc::new(Mutex::new(Some(body)));
    let tunnel = running(Mode::Plain, move |request| {
        let body = Arc::clone(&body);
        async move {
            if request.uri().path() == "/other" {
                return Response::new(Full::new(Bytes::from_static(b"alive")).boxed());
            }
            let body = body
                .lock()
                .expect("no panic held it")
                .take()
                .expect("one request");
            Response::new(Fed(body).boxed())
        }
    })
    .await;
    let answer = tunnel
        .handle
        .request(request("GET", "/", Empty::<Bytes>::new()))
        .await;
    let unread = answer.expect("ok").into_body();
    for _ in 0..BYTES {
        feed.send(Bytes::from_static(b"x"))
            .await
            .expect("the tunnel lives");
    }
    drop(feed);
    let other = tunnel
        .handle
        .request(request("GET", "/other", Empty::<Bytes>::new()))
        .await;
    let other = other
        .expect("the neighbour lives")
        .into_body()
        .collect()
        .await
        .expect("whole");
    assert_eq!(other.to_bytes(), "alive");
    assert_eq!(
        unread.collect().await.expect("whole").to_bytes().len(),
        BYTES
    );
}

#[tokio::test]
async fn empty_frames_are_not_relayed() {
    let tunnel = running(Mode::Plain, |request| async move {
        let body = request
            .into_body()
            .collect()
            .await
            .expect("whole")
            .to_bytes();
        Response::new(Full::new(Bytes::from(body.len().to_string())))
    })
    .await;
    for _ in 0..3 {
        let mut left = 200;
        let body = Frames(move || {
            left -= 1;
            let data = if left == 0 {
                Bytes::from_static(b"end")
            } else {
                Bytes::new()
            };
            (left >= 0).then(|| Frame::data(data))
        });
        let answer = tunnel
            .handle
            .request(request("POST", "/", body))
            .await
            .expect("ok");
        assert_eq!(
            answer
                .into_body()
                .collect()
                .await
                .expect("whole")
                .to_bytes(),
            "3"
        );
    }
}

#[tokio::test]
async fn few_answers_come_in_long_frames_and_many_in_short_ones() {
    let large = |_request| async {
        Response::new(Frames(|| {
            Some(Frame::data(Bytes::from(vec![0; 128 * 1024])))
        }))
    };
    let tunnel = running(Mode::Plain, large).await;
    let mut held = Vec::new();
    for count in 1..=64 {
        let asked = tunnel
            .handle
            .request(request("GET", "/", Empty::<Bytes>::new()));
        let mut body = asked.await.expect("ok").into_body();
        let mut longest = 0;
        for _ in 0..4 {
            let frame = body.frame().await.expect("more").expect("good");
            longest = longest.max(frame.into_data().expect("data").len());
        }
        let expected = match count {
            1..=16 => limits::FRAME_MAX as usize,
            64 => limits::FRAME_FAIR,
            few => limits::ROUND_BYTES / few,
        };
        assert_eq!(longest, expected, "{count} answers at once");
        held.push(body);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_handler() {
    let dropped = Arc::new(Mutex::new(false));
    let flag = Arc::clone(&dropped);
    let (entered, mut entries) = mpsc::unbounded_channel();
    let tunnel = running(Mode::Plain, move |_request| {
        let flag = DropFlag(Arc::clone(&flag));
        entered.send(()).expect("the test listens");
        async move {
            std::future::pending::<()>().await;
            drop(flag);
            Response::new(Empty::<Bytes>::new())
        }
    })
    .await;
    let handle = tunnel.handle.clone();
    let client = tokio::spawn(async move {
        handle
            .request(request("GET", "/", Empty::<Bytes>::new()))
            .await
    });
    entries.recv().await.expect("the handler runs");
    client.abort();
    wait_until(|| *dropped.lock().expect("no panic held it")).await;
    wait_until(|| tunnel.handle.inflight() == 0).await;
}

#[tokio::test]
async fn a_dropped_answer_cancels_its_body() {
    let dropped = Arc::new(Mutex::new(false));
    let flag = Arc::clone(&dropped);
    let tunnel = running(Mode::InnerTls, move |_request| {
        let flag = DropFlag(Arc::clone(&flag));
        async move {
            Response::new(Frames(move || {
                let _held = &flag;
                Some(Frame::data(Bytes::from(vec![0; 16_384])))
            }))
        }
    })
    .await;
    let answer = tunnel
        .handle
        .request(request("GET", "/", Empty::<Bytes>::new()))
        .await;
    drop(answer.expect("ok"));
    wait_until(|| *dropped.lock().expect("no panic held it")).await;
}

#[tokio::test]
async fn tunnel_loss_fails_at_once() {
    let tunnel = running(Mode::Plain, |request| async move {
        if request.uri().path() == "/hang" {
            std::future::pending::<()>().await;
        }
        Response::new(Frames(|| Some(Frame::data(Bytes::from(vec![0; 1000])))))
    })
    .await;
    let streaming = tunnel
        .handle
        .request(request("GET", "/", Empty::<Bytes>::new()))
        .await;
    let handle = tunnel.handle.clone();
    let waiting = tokio::spawn(async move {
        handle
            .request(request("GET", "/hang", Empty::<Bytes>::new()))
            .await
            .map(drop)
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    tunnel.agent.abort();
    let second = Duration::from_secs(1);
    let lost = tokio::time::timeout(second, waiting)
        .await
        .expect("at once")
        .expect("no panic");
    assert!(matches!(lost, Err(TunnelError::Disconnected)), "{lost:?}");
    let body = streaming.expect("ok").into_body().collect();
    let body = tokio::time::timeout(second, body).await.expect("at once");
    assert!(body.is_err(), "never a short success");
    let late = tunnel
        .handle
        .request(request("GET", "/", Empty::<Bytes>::new()))
        .await;
    assert!(late.map(drop).expect_err("closed").retry_is_safe());
}

#[tokio::test]
async fn credits_bound_the_streams_of_a_tunnel() {
    let tunnel = running(Mode::Plain, |_request| async move {
        std::future::pending::<Response<Empty<Bytes>>>().await
    })
    .await;
    let mut waiting = Vec::new();
    for _ in 0..256 {
        let handle = tunnel.handle.clone();
        waiting.push(tokio::spawn(async move {
            handle
                .request(request("GET", "/", Empty::<Bytes>::new()))
                .await
                .map(drop)
        }));
    }
    wait_until(|| tunnel.handle.inflight() == 256).await;
    let refused = tunnel
        .handle
        .request(request("GET", "/", Empty::<Bytes>::new()))
        .await;
    assert!(matches!(refused.map(drop), Err(TunnelError::OverCapacity)));
    for request in waiting {
        request.abort();
    }
}

/// A byte for a place: 251 is no divisor of any buffer's size.
fn pattern(at: usize) -> u8 {
    u8::try_from(at % 251).expect("below 251")
}

async fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within five seconds");
}
