//! hyper sees the same requests as the guard, whatever the bytes.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::io::AsyncWriteExt;

use super::{
    follow::{Follower, Stage},
    head::{FIELDS_MAX, HEAD_MAX_BYTES},
};

/// Whole requests to begin with.
const REQUESTS: [&str; 8] = [
    "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "PUT /c HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST /e HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n00a;x=y\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
    "GET /f HTTP/1.1\r\nUpgrade: x\r\n\r\n",
    "POST /g HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    "\r\nDELETE /h HTTP/1.1\r\nX:\r\nY: \t\u{e9} \t\r\n\r\n",
];

/// What is put into them.
const PIECES: [&str; 36] = [
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\t",
    "\0",
    "\u{b}",
    ":",
    ";",
    ",",
    "0",
    "1",
    "f",
    "+",
    "a",
    "\u{7f}",
    "<",
    "\"",
    "#",
    "%",
    "{",
    "[",
    "*",
    "?",
    "\\",
    "http://",
    "HTTP/1.1",
    "Content-Length: 3\r\n",
    "content-length:1\r\n",
    "Content-Length: 003\r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding:Chunked \r\n",
    "Transfer-Encoding: gzip\r\n",
    "0\r\n\r\n",
    "GET /hidden HTTP/1.1\r\n\r\n",
];

/// Tells that everything before was read, and nothing more.
const SENTINEL: &str = "GET /sentinel HTTP/1.1\r\nConnection: close\r\n\r\n";

/// A request as one reader sees it: its first two words, and its body if that is plain.
type Seen = (String, Option<Vec<u8>>);

#[derive(Debug, Clone)]
enum Change {
    Insert(usize, &'static str),
    Remove(usize),
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let change = prop_oneof![
        (any::<usize>(), select(&PIECES[..])).prop_map(|(at, piece)| Change::Insert(at, piece)),
        any::<usize>().prop_map(Change::Remove),
    ];
    (vec(select(&REQUESTS[..]), 1..4), vec(change, 0..4)).prop_map(|(requests, changes)| {
        let mut bytes = requests.concat().into_bytes();
        for change in changes {
            match change {
                Change::Insert(at, piece) => {
                    let at = at % (bytes.len() + 1);
                    bytes.splice(at..at, piece.bytes());
                }
                Change::Remove(at) if !bytes.is_empty() => drop(bytes.remove(at % bytes.len())),
                Change::Remove(_) => {}
            }
        }
        bytes
    })
}

/// What the guard sees, byte by byte, and how many bytes the whole requests among it have.
fn by_guard(bytes: &[u8]) -> (Vec<Seen>, usize) {
    let mut follower = Follower::new();
    let (mut requests, mut whole): (Vec<Seen>, _) = (Vec::new(), (0, 0));
    let (mut held, mut passed) = (Vec::new(), 0);
    for byte in bytes {
        held.push(*byte);
        let heads = follower.heads();
        let clear = follower.follow(&held);
        let piece: Vec<u8> = held.drain(..clear).collect();
        passed += clear;
        if follower.heads() > heads {
            let head = String::from_utf8_lossy(&piece).into_owned();
            let mut words = head.trim_start().split(' ');
            let name = words.by_ref().take(2).collect::<Vec<_>>().join(" ");
            let plain = !matches!(follower.stage(), Stage::Chunks(_));
            requests.push((name, plain.then(Vec::new)));
        } else if let Some((_, Some(body))) = requests.last_mut() {
            body.extend(piece);
        }
        match follower.stage() {
            Stage::Asked => follower.answered(false),
            Stage::Head(_) => {}
            Stage::Body(_)
            | Stage::Chunks(_)
            | Stage::Opaque
            | Stage::Refused(_)
            | Stage::Broken => continue,
        }
        if held.is_empty() {
            whole = (requests.len(), passed);
        }
    }
    requests.truncate(whole.0);
    (requests, whole.1)
}

async fn by_hyper(bytes: &[u8]) -> (Vec<Seen>, hyper::Result<()>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn({
        let seen = Arc::clone(&seen);
        move |request: Request<Incoming>| {
            let seen = Arc::clone(&seen);
            async move {
                let name = format!("{} {}", request.method(), request.uri());
                let body = request.into_body().collect().await;
                let body = body.expect("a body that the guard let through").to_bytes();
                seen.lock()
                    .expect("not poisoned")
                    .push((name, Some(body.to_vec())));
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        }
    });
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    theirs.write_all(bytes).await.expect("room");
    let served = http1::Builder::new()
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(ours), service)
        .await;
    drop(theirs);
    let seen = std::mem::take(&mut *seen.lock().expect("not poisoned"));
    (seen, served)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn guard_and_hyper_never_disagree(bytes in streams()) {
        let (expected, whole) = by_guard(&bytes);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let stream = [&bytes[..whole], SENTINEL.as_bytes()].concat();
        let (mut seen, served) = runtime.block_on(by_hyper(&stream));
        let text = String::from_utf8_lossy(&stream).into_owned();
        match served {
            // hyper ends the connection after one of these.
            Ok(()) if text.contains("HTTP/1.0") => {}
            Ok(()) => {
                let last = seen.pop().map(|(name, _)| name);
                prop_assert_eq!(last.as_deref(), Some("GET /sentinel"), "{}", text);
                prop_assert_eq!(seen.len(), expected.len(), "{}", text);
            }
            // Whatever the guard lets through, hyper takes: its own refusals explain nothing.
            Err(error) => prop_assert!(false, "{error:?}: {text}"),
        }
        prop_assert!(seen.len() <= expected.len());
        for ((name, body), (expected_name, expected_body)) in seen.iter().zip(&expected) {
            prop_assert_eq!(name, expected_name);
            prop_assert!(expected_body.is_none() || body == expected_body);
        }
    }
}
