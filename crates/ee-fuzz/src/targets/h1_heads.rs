//! HTTP/1.1 of strangers: the guard reads it the same however it arrives, and hyper agrees.

use std::{cell::RefCell, convert::Infallible, rc::Rc};

use bytes::Bytes;
use ee_server::h1::{FIELDS_MAX, Follower, HEAD_MAX_BYTES, Stage};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use crate::{Target, seeds};

pub const TARGET: Target = Target {
    name: "h1-heads",
    about: "HTTP/1.1 of a whole connection: the guard against itself and against hyper",
    run,
    seeds: connections,
    longest: 4 * 1024,
    floor: 1000,
};

/// Tells that everything before it was read, and nothing more.
const SENTINEL: &[u8] = b"GET /sentinel HTTP/1.1\r\nConnection: close\r\n\r\n";

fn connections() -> Vec<Vec<u8>> {
    seeds::texts(&[
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
        "PUT /c HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "POST /e HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n00a;x=y\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
        "GET /f HTTP/1.1\r\nUpgrade: x\r\n\r\n",
        "POST /g HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        "\r\nDELETE /h HTTP/1.1\r\nX:\r\nY: \t\u{e9} \t\r\n\r\n",
        "GET /i HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
    ])
}

/// What was let through, how many heads, and how many bytes end at the end of a request.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    passed: usize,
    heads: u64,
    whole: (u64, usize),
    /// A body cannot be followed: how much of it passed before that is seen depends on the pieces.
    broken: bool,
}

fn run(bytes: &[u8]) {
    let at_once = follow(bytes, bytes.len().max(1));
    let piecewise = follow(bytes, 1);
    assert_eq!(at_once.heads, piecewise.heads, "however it arrives");
    assert_eq!(at_once.broken, piecewise.broken, "however it arrives");
    assert!(
        at_once.passed <= piecewise.passed,
        "what is whole passes at once"
    );
    assert!(
        at_once.broken || at_once.passed == piecewise.passed,
        "however it arrives"
    );
    // In pieces the end of each request is seen.
    let (requests, end) = piecewise.whole;
    agrees_with_hyper(&bytes[..end], requests);
}

/// Shows the bytes to the guard in pieces; upgrades are declined.
fn follow(bytes: &[u8], piece: usize) -> Read {
    let mut follower = Follower::new();
    let mut held: Vec<u8> = Vec::new();
    let mut read = Read {
        passed: 0,
        heads: 0,
        whole: (0, 0),
        broken: false,
    };
    for piece in bytes.chunks(piece) {
        held.extend_from_slice(piece);
        loop {
            let clear = follower.follow(&held);
            held.drain(..clear);
            read.passed += clear;
            read.heads = follower.heads();
            read.broken = matches!(follower.stage(), Stage::Broken);
            let asked = matches!(follower.stage(), Stage::Asked);
            if asked {
                follower.answered(false);
            }
            if held.is_empty() && matches!(follower.stage(), Stage::Head(_)) {
                read.whole = (read.heads, read.passed);
            }
            if !asked {
                break;
            }
        }
    }
    read
}

fn agrees_with_hyper(bytes: &[u8], requests: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let stream = [bytes, SENTINEL].concat();
    let (seen, served) = runtime.expect("a runtime").block_on(by_hyper(&stream));
    let shown = String::from_utf8_lossy(bytes);
    match served {
        // hyper ends the connection after one of these.
        Ok(()) if shown.contains("HTTP/1.0") => {}
        Ok(()) => {
            assert_eq!(
                seen.last().map(String::as_str),
                Some("/sentinel"),
                "{shown:?}"
            );
            assert_eq!(seen.len() as u64, requests + 1, "{shown:?}");
        }
        // Of targets hyper takes fewer; then it reads nothing more.
        Err(error) => assert!(error.is_parse(), "{error:?} {shown:?}"),
    }
    assert!(seen.len() as u64 <= requests + 1, "{shown:?}");
}

async fn by_hyper(bytes: &[u8]) -> (Vec<String>, hyper::Result<()>) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await;
            body.expect("a body that the guard let through is whole");
            seen.borrow_mut().push(path);
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }
    });
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    theirs.write_all(bytes).await.expect("room");
    let served = http1::Builder::new()
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(ours), service)
        .await;
    let seen = seen.borrow().clone();
    (seen, served)
}
