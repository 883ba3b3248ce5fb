//! A control plane's and an agent's end of one tunnel, joined in memory.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use ee_tunnel::agent::{AgentEvent, AgentTunnel};
use ee_tunnel::control::{ControlEvent, ControlTunnel};
use ee_tunnel::{
    Closed, IncomingBody, InnerTls, InnerTlsClient, InnerTlsInfo, InnerTlsServer, PingPolicy,
    TunnelHandle, TunnelKey, TunnelOptions,
};
use http::{Request, Response, Uri};
use http_body::{Body, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

pub const STATUS_OK: &str = r#"{"type":"status","state":"ok","reason":"attested"}"#;
const CREDITS: u32 = 256;

pub fn options() -> TunnelOptions {
    TunnelOptions {
        ping: PingPolicy {
            interval: Duration::from_secs(30),
            grace: Duration::from_secs(15),
        },
        ..TunnelOptions::default()
    }
}

/// Both ends right after the WebSocket handshake.
pub async fn sockets() -> (ControlTunnel<DuplexStream>, AgentTunnel<DuplexStream>) {
    let (control_io, agent_io) = tokio::io::duplex(256 * 1024);
    let (control, agent) = tokio::join!(accept(control_io), connect(agent_io));
    (control, agent)
}

/// Answers the upgrade as the HTTP server in front of the tunnel does.
pub async fn accept(io: DuplexStream) -> ControlTunnel<DuplexStream> {
    accept_with(io, &options()).await
}

pub async fn accept_with(
    mut io: DuplexStream,
    options: &TunnelOptions,
) -> ControlTunnel<DuplexStream> {
    answer_upgrade(&mut io).await;
    ControlTunnel::accept(io, options)
}

pub async fn answer_upgrade(io: &mut DuplexStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.expect("the request's head"));
    }
    let head = String::from_utf8(head).expect("ASCII");
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = accept_value(key.expect("a key"));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    io.write_all(answer.as_bytes())
        .await
        .expect("the pipe is open");
}

fn accept_value(key: &str) -> String {
    use base64::Engine as _;
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let algorithm = &ring::digest::SHA1_FOR_LEGACY_USE_ONLY;
    let digest = ring::digest::digest(algorithm, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
}

pub async fn connect(io: DuplexStream) -> AgentTunnel<DuplexStream> {
    let uri = Uri::from_static("ws://control.test/v1/tunnel");
    AgentTunnel::connect(io, &uri, &options())
        .await
        .expect("the handshake is good")
}

pub enum Mode {
    Plain,
    InnerTls,
}

/// What both ends know of the inner TLS.
pub struct Bound {
    pub control: InnerTlsInfo,
    pub agent: InnerTlsInfo,
}

/// Runs the inner TLS handshake to its end at both sides.
pub async fn inner_tls(
    control: &mut ControlTunnel<DuplexStream>,
    agent: &mut AgentTunnel<DuplexStream>,
) -> Bound {
    control.start_inner_tls(&InnerTlsClient::new(&TunnelKey::generate()));
    agent.expect_inner_tls(&InnerTlsServer::new(&TunnelKey::generate()));
    let (control, agent) = tokio::join!(control.next(), agent.next());
    let ControlEvent::InnerTls(InnerTls::Established(control)) = control else {
        panic!("control: {control:?}");
    };
    let AgentEvent::InnerTls(InnerTls::Established(agent)) = agent else {
        panic!("agent: no handshake");
    };
    Bound { control, agent }
}

/// A tunnel that carries traffic.
pub struct Running {
    pub handle: TunnelHandle,
    _control: JoinHandle<Closed>,
    pub agent: JoinHandle<Closed>,
}

/// Attests a fresh pair and runs both ends; `serve` answers each request inside the agent's end.
pub async fn running<F, R, B>(mode: Mode, serve: F) -> Running
where
    F: Fn(Request<IncomingBody>) -> R + Send + 'static,
    R: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    let (mut control, mut agent) = sockets().await;
    match mode {
        Mode::InnerTls => {
            inner_tls(&mut control, &mut agent).await;
        }
        Mode::Plain => {
            control.offer_plain();
            agent.expect_plain();
        }
    }
    start(control, agent, serve)
}

/// Attests a pair that has agreed on what carries traffic, and runs both ends.
pub fn start<F, R, B>(
    mut control: ControlTunnel<DuplexStream>,
    mut agent: AgentTunnel<DuplexStream>,
    serve: F,
) -> Running
where
    F: Fn(Request<IncomingBody>) -> R + Send + 'static,
    R: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    control.use_epochs();
    agent.use_epochs();
    control.attested(CREDITS);
    control.send_text(STATUS_OK.to_owned());
    let handle = control.handle();
    Running {
        handle,
        _control: tokio::spawn(async move { drive_control(&mut control).await }),
        agent: tokio::spawn(async move { drive_agent(&mut agent, serve).await }),
    }
}

pub async fn drive_control(control: &mut ControlTunnel<DuplexStream>) -> Closed {
    loop {
        if let ControlEvent::Closed(closed) = control.next().await {
            return closed;
        }
    }
}

async fn drive_agent<F, R, B>(agent: &mut AgentTunnel<DuplexStream>, serve: F) -> Closed
where
    F: Fn(Request<IncomingBody>) -> R + Send + 'static,
    R: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    loop {
        match agent.next().await {
            AgentEvent::Text { .. } => agent.attested(),
            AgentEvent::Request(request, responder) => {
                agent.serve(Box::pin(responder.serve(serve(request))));
            }
            AgentEvent::Closed(closed) => return closed,
            AgentEvent::InnerTls(_) | AgentEvent::Violation(_) => {}
        }
    }
}

pub fn request<B>(method: &str, path: &str, body: B) -> Request<B> {
    let uri = format!("http://hello.test{path}");
    Request::builder()
        .method(method)
        .uri(uri)
        .body(body)
        .expect("a valid request")
}

/// A body whose frames come out of a closure: `None` ends it.
pub struct Frames<F>(pub F);

impl<F: FnMut() -> Option<Frame<Bytes>> + Unpin> Body for Frames<F> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready((self.0)().map(Ok))
    }
}

/// A body that others feed.
pub struct Fed(pub tokio::sync::mpsc::Receiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

/// Sets a flag when it is dropped.
pub struct DropFlag(pub Arc<Mutex<bool>>);

impl Drop for DropFlag {
    fn drop(&mut self) {
        *self.0.lock().expect("no panic held it") = true;
    }
}
