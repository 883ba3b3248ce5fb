//! Requests that two readers could read differently (TUNNEL 9, "smuggling"), byte for byte, on both
//! listeners. The app behind records every request that reaches it: of a bad one nothing may, nor
//! of what hides behind it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use ee_tunnel::agent::{AgentEvent, AgentTunnel};
use http::Response;
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use crate::{
    peer::{Prover, Registration},
    world::{A_MOMENT, Answer, PATIENCE, World, ask, split_answers},
};

const APP: &str = "recorder";
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: recorder.localhost\r\n\r\n";

/// A world with an app that answers everything with 200 and writes it down.
struct Recorded {
    world: World,
    seen: Arc<Mutex<Vec<String>>>,
    app: JoinHandle<()>,
}

impl Recorded {
    async fn start() -> Self {
        let world = World::start().await;
        let registration = Registration::new(APP, "recorder");
        let peer = world.peer().await;
        let tunnel = peer.join(&registration, &Prover::good()).await.tunnel;
        let seen = Arc::default();
        let app = tokio::spawn(record(tunnel, Arc::clone(&seen)));
        Self { world, seen, app }
    }

    /// What has reached the app since the last look: method, path and body of each request.
    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().expect("not poisoned"))
    }

    /// Sends a bad head with a request behind it: one refusal, the end, and the app saw nothing.
    async fn refuses(&self, head: &str) {
        for address in [self.world.server.proxy_addr, self.world.server.api_addr] {
            let answer = ask(address, format!("{head}{HIDDEN}").as_bytes()).await;
            self.is_refusal(head, &answer, 400, "invalid_request");
        }
    }

    #[track_caller]
    fn is_refusal(&self, head: &str, answer: &Answer, status: u16, code: &str) {
        let problem = answer.json();
        assert_eq!(
            (answer.status, &problem["code"]),
            (status, &code.into()),
            "{head:?}: {answer:?}"
        );
        assert!(
            problem["detail"].as_str().is_some_and(|d| !d.is_empty()) || status != 400,
            "{head:?}: nothing to act on: {answer:?}"
        );
        assert!(problem["request_id"].is_string(), "{answer:?}");
        assert_eq!(answer.fields("connection"), ["close"], "{answer:?}");
        assert!(is_one(answer), "two answers: {answer:?}");
        assert_eq!(self.seen(), [""; 0], "{head:?} reached the app");
    }

    async fn stands(self) {
        self.app.abort();
        self.world.stands().await;
    }
}

async fn record(mut tunnel: AgentTunnel<TcpStream>, seen: Arc<Mutex<Vec<String>>>) {
    loop {
        match tunnel.next().await {
            AgentEvent::Request(request, responder) => {
                let seen = Arc::clone(&seen);
                tunnel.serve(Box::pin(responder.serve(async move {
                    let (head, body) = request.into_parts();
                    let path = head.uri.path().to_owned();
                    let body = body.collect().await.map(|body| body.to_bytes());
                    let line = match body {
                        Ok(bytes) => {
                            format!("{} {path} {}", head.method, String::from_utf8_lossy(&bytes))
                        }
                        Err(_) => format!("{} {path} broke off", head.method),
                    };
                    seen.lock().expect("not poisoned").push(line);
                    let answer = Response::builder().header("ee-origin", "app");
                    answer.body(Full::from("ok")).expect("a response")
                })));
            }
            AgentEvent::Closed(_) => return,
            AgentEvent::Text { .. } | AgentEvent::InnerTls(_) | AgentEvent::Violation(_) => {}
        }
    }
}

/// Whether nothing that looks like a second answer follows the first.
fn is_one(answer: &Answer) -> bool {
    split_answers(&answer.body).is_empty()
}

/// A POST of these fields.
fn post(fields: &str) -> String {
    format!("POST /bad HTTP/1.1\r\nHost: recorder.localhost\r\n{fields}\r\n\r\n")
}

/// The same with a body in chunks, which ends where a reader of the length sees another request.
fn in_chunks(fields: &str) -> String {
    post(fields) + "0\r\n\r\n"
}

#[tokio::test]
async fn length_beside_chunks_is_refused() {
    let recorded = Recorded::start().await;
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "content-length:4\r\nX: y\r\ntransfer-encoding:chunked",
    ] {
        recorded.refuses(&in_chunks(fields)).await;
    }
    recorded.stands().await;
}

#[tokio::test]
async fn differing_lengths_are_refused() {
    let recorded = Recorded::start().await;
    for fields in [
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Content-Length: 4, 4",
        "Content-Length: +4",
        "Content-Length: -4",
        "Content-Length: 0x4",
        "Content-Length: 4 4",
        "Content-Length:\t4",
        "Content-Length:",
        "Content-Length: 18446744073709551617",
    ] {
        recorded.refuses(&post(fields)).await;
    }
    recorded.stands().await;
}

#[tokio::test]
async fn other_codings_are_refused() {
    let recorded = Recorded::start().await;
    for fields in [
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: chunked\t",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: chunked\u{b}",
        "Transfer-Encoding: \0chunked",
        "Transfer-Encoding:",
    ] {
        recorded.refuses(&in_chunks(fields)).await;
    }
    let old =
        "POST /bad HTTP/1.0\r\nHost: recorder.localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    recorded.refuses(old).await;
    recorded.stands().await;
}

#[tokio::test]
async fn folded_lines_are_refused() {
    let recorded = Recorded::start().await;
    for head in [
        post("X: a\r\n b"),
        post("X: a\r\n\tb"),
        in_chunks("Transfer-Encoding:\r\n chunked"),
        in_chunks("X: a\r\n Transfer-Encoding: chunked"),
    ] {
        recorded.refuses(&head).await;
    }
    recorded.stands().await;
}

#[tokio::test]
async fn bare_line_feeds_and_returns_are_refused() {
    let recorded = Recorded::start().await;
    for head in [
        "GET /bad HTTP/1.1\nHost: recorder.localhost\n\n".to_owned(),
        "GET /bad HTTP/1.1\r\nHost: recorder.localhost\n\r\n".to_owned(),
        "GET /bad HTTP/1.1\r\nHost: recorder.localhost\r\n\n".to_owned(),
        "\nGET /bad HTTP/1.1\r\nHost: recorder.localhost\r\n\r\n".to_owned(),
        post("X: a\nContent-Length: 5"),
        post("X: a\rContent-Length: 5"),
        post("X: a\r\r\nY: b"),
        post("X: a\r"),
        in_chunks("X: a\nTransfer-Encoding: chunked"),
    ] {
        recorded.refuses(&head).await;
    }
    recorded.stands().await;
}

#[tokio::test]
async fn white_space_before_the_first_field_is_refused() {
    let recorded = Recorded::start().await;
    for head in [
        "GET /bad HTTP/1.1\r\n Host: recorder.localhost\r\n\r\n",
        "GET /bad HTTP/1.1\r\n\tHost: recorder.localhost\r\n\r\n",
        "GET /bad HTTP/1.1\r\n X: y\r\nHost: recorder.localhost\r\n\r\n",
        " GET /bad HTTP/1.1\r\nHost: recorder.localhost\r\n\r\n",
        "GET /bad HTTP/1.1\r\n \r\nHost: recorder.localhost\r\n\r\n",
    ] {
        recorded.refuses(head).await;
    }
    recorded.stands().await;
}

#[tokio::test]
async fn white_space_before_a_colon_is_refused() {
    let recorded = Recorded::start().await;
    for fields in [
        "Content-Length : 5",
        "Content-Length\t: 5",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\u{b}: chunked",
        " : 1",
        ": 1",
        "Transfer Encoding: chunked",
        "NoColon",
    ] {
        recorded.refuses(&in_chunks(fields)).await;
    }
    recorded.stands().await;
}

#[tokio::test]
async fn first_lines_that_are_none_are_refused() {
    let recorded = Recorded::start().await;
    for line in [
        "GET  /bad HTTP/1.1",
        "GET /bad  HTTP/1.1",
        "GET /bad HTTP/1.1 ",
        "GET /bad HTTP/1.1 x",
        "GET /b ad HTTP/1.1",
        "GET /b\tad HTTP/1.1",
        "GET\t/bad HTTP/1.1",
        "GET /bad HTTP/1.2",
        "GET /bad HTTP/2.0",
        "GET /bad http/1.1",
        "GET /bad",
        "GE(T /bad HTTP/1.1",
        // Targets that hyper refuses without a word, and one that it would cut.
        "GET /b<ad HTTP/1.1",
        "GET /bad#part HTTP/1.1",
        "GET bad/path HTTP/1.1",
        "GET http:// HTTP/1.1",
    ] {
        let head = format!("{line}\r\nHost: recorder.localhost\r\n\r\n");
        recorded.refuses(&head).await;
    }
    recorded.stands().await;
}

/// Good requests in one write, the last of them followed by a bad one: all answered in order, then
/// the refusal.
#[tokio::test]
async fn pipelined_requests_are_read_up_to_the_bad_one() {
    let recorded = Recorded::start().await;
    let host = "Host: recorder.localhost";
    let pipelined = [
        format!("GET /1 HTTP/1.1\r\n{host}\r\n\r\n"),
        format!("POST /2 HTTP/1.1\r\n{host}\r\nContent-Length: 3\r\n\r\nabc"),
        format!(
            "POST /3 HTTP/1.1\r\n{host}\r\nTransfer-Encoding: chunked\r\n\r\n\
             3;x=y\r\ndef\r\n0\r\nX-T: 1\r\n\r\n"
        ),
        in_chunks("Content-Length: 4\r\nTransfer-Encoding: chunked"),
        HIDDEN.to_owned(),
    ];
    // The same bytes in pieces: where a head ends does not hang on how they arrive.
    for piece in [1 << 20, 7, 1] {
        let bytes = pipelined.concat();
        let answers = in_pieces(recorded.world.server.proxy_addr, &bytes, piece).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, 200, 200, 400], "{piece}: {answers:?}");
        assert_eq!(recorded.seen(), ["GET /1 ", "POST /2 abc", "POST /3 def"]);
    }
    recorded.stands().await;
}

/// Chunks that two readers would end at different bytes.
#[tokio::test]
async fn broken_chunks_reach_nobody_as_a_whole() {
    let recorded = Recorded::start().await;
    for chunks in [
        "1\na\r\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "1;x\ny\r\na\r\n0\r\n\r\n",
        "-1\r\na\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\na\r\n0\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\n folded: 1\r\n\r\n",
        "0\r\n\n",
    ] {
        let bytes = format!("{}{chunks}{HIDDEN}", post("Transfer-Encoding: chunked"));
        let answer = ask(recorded.world.server.proxy_addr, bytes.as_bytes()).await;
        assert_eq!(answer.status, 400, "{chunks:?}: {answer:?}");
        assert!(is_one(&answer), "{chunks:?}: {answer:?}");
        tokio::time::sleep(A_MOMENT).await;
        let seen = recorded.seen();
        assert!(
            seen.iter().all(|line| line == "POST /bad broke off"),
            "{chunks:?}: {seen:?}"
        );
    }
    recorded.stands().await;
}

/// What comes behind a request for another protocol is neither read as a request before the answer
/// nor lost after it.
#[tokio::test]
async fn requests_behind_a_declined_upgrade_are_read_after_it() {
    let recorded = Recorded::start().await;
    let host = "Host: recorder.localhost";
    let asks = format!("GET /1 HTTP/1.1\r\n{host}\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n");
    let good = format!("GET /2 HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n");
    let address = recorded.world.server.proxy_addr;
    let answers = in_pieces(address, &format!("{asks}{good}"), 1 << 20).await;
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!(recorded.seen(), ["GET /1 ", "GET /2 "]);
    let bad = in_chunks("Content-Length: 4\r\nTransfer-Encoding: chunked");
    let answers = in_pieces(address, &format!("{asks}{bad}{HIDDEN}"), 1 << 20).await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 400], "{answers:?}");
    assert_eq!(recorded.seen(), ["GET /1 "]);
    recorded.stands().await;
}

/// A refusal is read even by a client that goes on sending.
#[tokio::test]
async fn a_refusal_is_not_lost_while_the_client_still_sends() {
    let recorded = Recorded::start().await;
    let head = in_chunks("Content-Length: 4\r\nTransfer-Encoding: chunked");
    let address = recorded.world.server.proxy_addr;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    for piece in [head.as_str(), &"x".repeat(300 * 1024), "the last words"] {
        // By now the refusal is here; a server that has closed answers this with a reset.
        stream.write_all(piece.as_bytes()).await.expect("taken");
        tokio::time::sleep(A_MOMENT).await;
    }
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    read.expect("closed in time").expect("not reset");
    let answers = split_answers(&String::from_utf8_lossy(&bytes));
    recorded.is_refusal(&head, &answers[0], 400, "invalid_request");
    recorded.stands().await;
}

/// Heads that end too late or not at all.
#[tokio::test]
async fn heads_without_an_end_are_refused() {
    let recorded = Recorded::start().await;
    let many = "X: y\r\n".repeat(200);
    for head in [post(&format!("X: {}", "a".repeat(70 * 1024))), post(&many)] {
        let answer = ask(recorded.world.server.proxy_addr, head.as_bytes()).await;
        recorded.is_refusal(&head[..40], &answer, 431, "header_too_large");
    }
    recorded.stands().await;
}

/// Sends in pieces of so many bytes; every answer until the connection ends.
async fn in_pieces(address: SocketAddr, bytes: &str, piece: usize) -> Vec<Answer> {
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("a socket");
    let (mut reader, mut writer) = stream.into_split();
    let writing = async {
        for piece in bytes.as_bytes().chunks(piece) {
            // The server may have closed after the refusal.
            writer.write_all(piece).await.ok();
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
        // Kept open: who has sent all still waits for the answers.
        writer
    };
    let mut answers = Vec::new();
    let reading = reader.read_to_end(&mut answers);
    let (read, _writer) = tokio::join!(timeout(PATIENCE, reading), writing);
    read.expect("closed in time").ok();
    split_answers(&String::from_utf8_lossy(&answers))
}
