//! What RFC 9113 and RFC 7541 demand, demanded of the HTTP/2 inside a tunnel: of the agent's end,
//! which is the server, and of the control plane's, which is the client.

use bytes::Bytes;
use ee_testbed::h2::client_cases;
use ee_testbed::h2::frames::{HEADERS, PREFACE, SETTINGS, frame};
use ee_testbed::h2::of_crate::as_the_crate_does;
use ee_testbed::h2::peer::H2Peer;
use ee_testbed::h2::server_cases::{self, Must};
use ee_tunnel::agent::{AgentEvent, AgentTunnel};
use ee_tunnel::control::ControlTunnel;
use ee_tunnel::{Closed, IncomingBody, TunnelError};
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio_websockets::{ClientBuilder, Message, ServerBuilder, WebSocketStream};

use crate::pair::{accept, answer_upgrade, connect, drive_control, request};

const PIPE: usize = 256 * 1024;

/// The bytes of the binary messages of a WebSocket.
fn bytes_of(socket: WebSocketStream<DuplexStream>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    tokio::spawn(relay(socket, theirs));
    ours
}

async fn relay(mut socket: WebSocketStream<DuplexStream>, mut bytes: DuplexStream) {
    let mut read = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(message)) if message.is_binary() => {
                    if bytes.write_all(&message.into_payload()).await.is_err() {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                // Dropping our end of the pipe ends the bytes.
                Some(Err(_)) | None => return,
            },
            count = bytes.read(&mut read) => match count {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    let message = Message::binary(Bytes::copy_from_slice(&read[..count]));
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
            },
        }
    }
}

/// An agent that serves, and the bytes of its HTTP/2.
async fn agent() -> (JoinHandle<Closed>, DuplexStream) {
    let (mut control_io, agent_io) = tokio::io::duplex(PIPE);
    let ((), mut agent) = tokio::join!(answer_upgrade(&mut control_io), connect(agent_io));
    agent.expect_plain();
    agent.attested();
    let socket = ServerBuilder::new().serve(control_io);
    (tokio::spawn(serve(agent)), bytes_of(socket))
}

async fn serve(mut agent: AgentTunnel<DuplexStream>) -> Closed {
    loop {
        match agent.next().await {
            AgentEvent::Request(request, responder) => {
                agent.serve(Box::pin(responder.serve(answer(request))));
            }
            AgentEvent::Closed(closed) => return closed,
            AgentEvent::Text { .. } | AgentEvent::InnerTls(_) | AgentEvent::Violation(_) => {}
        }
    }
}

async fn answer(request: Request<IncomingBody>) -> Response<Full<Bytes>> {
    if request.uri().path() == "/never" {
        std::future::pending::<()>().await;
    }
    let head = request.method() == Method::HEAD;
    // An upload that cannot be read to its end gets no answer.
    let read = request.into_body().collect().await;
    if read.is_err() {
        std::future::pending::<()>().await;
    }
    let body = if head { "" } else { "target" };
    Response::new(Full::from(body))
}

/// Only a peer that gives up says GOAWAY with an error: the tunnel ends with it, whatever it is.
const GIVES_UP: &str = "GOAWAY of a code that nobody knows";
/// Longer than every end takes, and shorter than those of a tunnel announce (decision 0019).
const LONG: &str = "DATA of 16 385 bytes";

#[tokio::test]
async fn the_agents_end_does_what_the_rfcs_demand() {
    let mut wrong = Vec::new();
    for mut case in as_the_crate_does(server_cases::all()) {
        if case.what == GIVES_UP {
            case.must = Must::End(0xff);
        }
        if case.what == LONG {
            case.must = Must::GoOn;
        }
        let (serving, bytes) = agent().await;
        let mut peer = H2Peer::open(bytes, &[]).await;
        let mut did = peer.play(&case).await;
        if let (Must::End(_), Must::Cut) = (&case.must, &did) {
            // The WebSocket's close may overtake the GOAWAY that says why.
            let closed = serving.await.expect("serving does not panic");
            if (closed.code, &*closed.reason) == (Some(1002), "mux_failed") {
                did = case.must.clone();
            }
        }
        if did != case.must {
            let (rule, what, must) = (case.rule, case.what, &case.must);
            wrong.push(format!("{rule} {what}: must {must:?}, did {did:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A control plane that has asked for something, and the bytes of its HTTP/2 behind that.
pub struct Asking {
    pub control: JoinHandle<Closed>,
    pub answered: JoinHandle<Result<(u16, Bytes), String>>,
    pub bytes: DuplexStream,
}

/// A tunnel whose agent is bytes and has been asked for something on stream 1.
pub async fn asking() -> Asking {
    let (control_io, peer_io) = tokio::io::duplex(PIPE);
    let uri = Uri::from_static("ws://control.test/v1/tunnel");
    let builder = ClientBuilder::from_uri(uri);
    let (control, peer) = tokio::join!(accept(control_io), builder.connect_on(peer_io));
    let mut control: ControlTunnel<DuplexStream> = control;
    control.offer_plain();
    control.attested(8);
    let handle = control.handle();
    let control = tokio::spawn(async move { drive_control(&mut control).await });
    let answered = tokio::spawn(async move {
        let asked = handle.request(request("GET", "/", Empty::<Bytes>::new()));
        let answer = asked
            .await
            .map_err(|error: TunnelError| error.to_string())?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await;
        let body = body.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    });
    let mut bytes = bytes_of(peer.expect("the handshake is good").0);
    let mut preface = [0; PREFACE.len()];
    bytes.read_exact(&mut preface).await.expect("a preface");
    assert_eq!(preface, PREFACE);
    bytes
        .write_all(&frame(SETTINGS, 0, 0, &[]))
        .await
        .expect("sent");
    let mut head = [0; 9];
    while head[3] != HEADERS {
        bytes.read_exact(&mut head).await.expect("a frame");
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        bytes.read_exact(&mut payload).await.expect("a payload");
    }
    Asking {
        control,
        answered,
        bytes,
    }
}

/// What became of the request and of the tunnel.
async fn did(asking: Asking, sent: &[u8]) -> Result<client_cases::Must, String> {
    use client_cases::Must;
    let Asking {
        control,
        answered,
        mut bytes,
    } = asking;
    bytes.write_all(sent).await.expect("sent");
    let answered = answered.await.expect("asking does not panic");
    // What the answer left behind is settled before the next turn of the tunnel ends.
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    if control.is_finished() {
        let closed = control.await.expect("driving does not panic");
        return match (closed.code, &*closed.reason) {
            (Some(1002), "mux_failed") => Ok(Must::End),
            _ => Err(format!("{closed:?}")),
        };
    }
    control.abort();
    match answered {
        Ok((200, body)) if *body == *b"x" => Ok(Must::Take),
        Ok(other) => Err(format!("{other:?}")),
        Err(_) => Ok(Must::Fail),
    }
}

/// Where the h2 crate does something else as a client, and why that harms nobody.
const DIFFERENT: &[(&str, client_cases::Must)] = &[
    // Pseudo-header fields that do not belong there are dropped: no client ever sees one.
    ("a request's pseudo-header field", client_cases::Must::Take),
    (
        "a pseudo-header field in trailers",
        client_cases::Must::Take,
    ),
    // A fault of one stream ends the tunnel: an agent that is broken loses by it, and its app.
    (
        "a pseudo-header field that nobody knows",
        client_cases::Must::End,
    ),
    ("a name with a capital", client_cases::Must::End),
    ("WINDOW_UPDATE by 0", client_cases::Must::End),
];

#[tokio::test]
async fn the_control_planes_end_does_what_the_rfcs_demand() {
    let mut wrong = Vec::new();
    let mut named = 0;
    for mut case in client_cases::all() {
        if let Some((_, does)) = DIFFERENT.iter().find(|(what, _)| *what == case.what) {
            assert_ne!(case.must, *does, "{} is no difference", case.what);
            case.must = *does;
            named += 1;
        }
        let did = did(asking().await, &case.bytes).await;
        if did != Ok(case.must) {
            let (rule, what, must) = (case.rule, case.what, case.must);
            wrong.push(format!("{rule} {what}: must {must:?}, did {did:?}"));
        }
    }
    assert_eq!(named, DIFFERENT.len(), "a row names a case");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
