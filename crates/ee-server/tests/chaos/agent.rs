//! An honest agent whose connection may break at any byte: a break is an answer, not a panic.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ee_tunnel::{
    BodyError, Closed, IncomingBody, InnerTls, InnerTlsInfo, InnerTlsServer, TunnelKey,
    TunnelOptions,
    agent::{AgentEvent, AgentTunnel},
};
use futures_util::StreamExt;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    calm::{comes, in_time},
    peer::{Challenge, Prover, Registration},
};

/// How an agent takes its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// HTTP/2 inside the inner TLS.
    InnerTls,
    /// HTTP/2 in bare binary messages.
    Plain,
    /// Text messages.
    Text,
}

/// The app behind an agent.
#[derive(Default)]
pub struct App {
    /// What it has heard in whole: path and body.
    pub heard: Mutex<Vec<(String, Bytes)>>,
    /// Requests whose bodies it still reads.
    reading: AtomicUsize,
    /// What the path `/fed` answers with, piece by piece; the first request takes it.
    feed: Mutex<Option<mpsc::UnboundedReceiver<Bytes>>>,
}

/// One boot of an agent, over as many connections as it takes.
pub struct Boot {
    way: Way,
    registration: Registration,
    key: TunnelKey,
    pub app: Arc<App>,
}

/// A connection that has come to its end before the agent was attested.
#[derive(Debug)]
pub struct BrokenOff;

impl Boot {
    pub fn new(app: &str, way: Way) -> Self {
        let registration = Registration::new(app, app).with(|named| match way {
            Way::InnerTls => {}
            Way::Plain => {
                named.network = "sandbox-1".to_owned();
                named.capabilities = vec!["h2"];
            }
            Way::Text => {
                named.network = "sandbox-1".to_owned();
                named.capabilities = Vec::new();
            }
        });
        Self {
            way,
            registration,
            key: TunnelKey::generate(),
            app: Arc::default(),
        }
    }

    /// The same agent under another id, or after another start.
    pub fn with(mut self, change: impl FnOnce(&mut Registration)) -> Self {
        change(&mut self.registration);
        self
    }

    /// What the next request of `/fed` is answered with.
    pub fn feed(&self) -> mpsc::UnboundedSender<Bytes> {
        let (feed, fed) = mpsc::unbounded_channel();
        *self.app.feed.lock().expect("no panic held it") = Some(fed);
        feed
    }

    /// How many requests the app has heard in whole.
    pub fn heard(&self) -> usize {
        self.app.heard.lock().expect("no panic held it").len()
    }

    /// How many bodies the app reads now.
    pub fn reading(&self) -> usize {
        self.app.reading.load(Ordering::Relaxed)
    }

    /// Waits until the app has the end of every body, or knows that there will be none: what it
    /// has heard by then is all that it ever hears.
    pub async fn settled(&self, after: impl std::fmt::Debug) {
        let settled = || self.reading() == 0;
        assert!(
            comes(settled).await,
            "the app reads for ever after {after:?}"
        );
    }

    /// Connects and proves what it is, or finds its connection broken.
    ///
    /// # Panics
    /// If the control plane refuses it: a broken connection is nobody's guilt.
    pub async fn join(&self, address: SocketAddr) -> Result<Joined, BrokenOff> {
        let mut joining = self.connect(address).await?;
        joining.answer(self).await?;
        joining.attested().await
    }

    /// The same as far as the WebSocket and `register`.
    pub async fn connect(&self, address: SocketAddr) -> Result<Joining, BrokenOff> {
        let stream = TcpStream::connect(address).await.map_err(|_| BrokenOff)?;
        stream.set_nodelay(true).map_err(|_| BrokenOff)?;
        let uri: Uri = format!("ws://{address}/v1/tunnel").parse().expect("a URL");
        let options = TunnelOptions::default();
        let connecting = AgentTunnel::connect(stream, &uri, &options);
        let mut tunnel = in_time(connecting).await.map_err(|_| BrokenOff)?;
        tunnel.set_text_limit(1 << 20);
        tunnel.send_text(self.registration.message().to_string());
        Ok(Joining {
            tunnel,
            app: Arc::clone(&self.app),
        })
    }
}

/// A connection that is not attested yet.
pub struct Joining {
    tunnel: AgentTunnel<TcpStream>,
    app: Arc<App>,
}

impl Joining {
    /// Waits for the challenge and answers it.
    pub async fn answer(&mut self, boot: &Boot) -> Result<(), BrokenOff> {
        let request = self.text().await?;
        assert_eq!(request["type"], "attest_request", "{request}");
        let nonce = hex::decode(request["nonce"].as_str().expect("a nonce")).expect("hex");
        let channel = match boot.way {
            Way::InnerTls => Some(self.inner_tls(boot).await?),
            Way::Plain => {
                self.tunnel.expect_plain();
                None
            }
            Way::Text => None,
        };
        let challenge = Challenge {
            nonce: nonce.try_into().expect("32 bytes"),
            reason: request["reason"].as_str().expect("a reason").to_owned(),
            channel,
        };
        let answer = Prover::good().answer(&challenge, &boot.registration);
        self.tunnel.send_text(answer.to_string());
        Ok(())
    }

    async fn inner_tls(&mut self, boot: &Boot) -> Result<InnerTlsInfo, BrokenOff> {
        self.tunnel
            .expect_inner_tls(&InnerTlsServer::new(&boot.key));
        match in_time(self.tunnel.next()).await {
            AgentEvent::InnerTls(InnerTls::Established(info)) => Ok(info),
            AgentEvent::InnerTls(InnerTls::Failed(_)) | AgentEvent::Closed(_) => Err(BrokenOff),
            AgentEvent::Text { text, .. } => panic!("text in the handshake: {text}"),
            AgentEvent::Violation(violation) => panic!("{violation:?}"),
            AgentEvent::Request(..) => panic!("a request before attestation"),
        }
    }

    /// Waits until the agent may serve.
    pub async fn attested(mut self) -> Result<Joined, BrokenOff> {
        let status = self.text().await?;
        assert_eq!(status["reason"], "attested", "{status}");
        self.tunnel.attested();
        Ok(Joined {
            tunnel: self.tunnel,
            app: self.app,
        })
    }

    async fn text(&mut self) -> Result<Value, BrokenOff> {
        match in_time(self.tunnel.next()).await {
            AgentEvent::Text { text, .. } => Ok(serde_json::from_str(&text).expect("JSON")),
            AgentEvent::Closed(closed) => {
                assert!(closed.code.is_none(), "refused: {closed:?}");
                Err(BrokenOff)
            }
            AgentEvent::InnerTls(outcome) => panic!("unasked: {outcome:?}"),
            AgentEvent::Violation(violation) => panic!("{violation:?}"),
            AgentEvent::Request(..) => panic!("a request before attestation"),
        }
    }
}

/// A connection that may serve.
pub struct Joined {
    tunnel: AgentTunnel<TcpStream>,
    app: Arc<App>,
}

impl Joined {
    /// Serves in the background until the tunnel ends.
    pub fn serve(self) -> Serving {
        let (leave, leaving) = oneshot::channel();
        Serving {
            task: tokio::spawn(serve(self.tunnel, self.app, leaving)),
            leave: Some(leave),
        }
    }
}

/// A tunnel that serves until it ends or this is dropped.
pub struct Serving {
    task: JoinHandle<Closed>,
    leave: Option<oneshot::Sender<()>>,
}

impl Serving {
    /// How it ended.
    pub async fn closed(mut self) -> Closed {
        let closed = in_time(&mut self.task).await;
        closed.expect("serving does not panic")
    }

    pub fn is_open(&self) -> bool {
        !self.task.is_finished()
    }

    /// Tells the control plane to send nothing more, finishes and goes.
    pub fn leave(&mut self) {
        let leave = self.leave.take().expect("once");
        leave.send(()).expect("the tunnel is open");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut tunnel: AgentTunnel<TcpStream>,
    app: Arc<App>,
    mut leaving: oneshot::Receiver<()>,
) -> Closed {
    let mut left = false;
    loop {
        if left && tunnel.inflight() == 0 {
            tunnel.close(1001, "shutdown");
        }
        let event = tokio::select! {
            event = tunnel.next() => event,
            Ok(()) = &mut leaving, if !left => {
                left = true;
                tunnel.send_text(r#"{"type":"drain","reason":"shutdown"}"#.to_owned());
                tunnel.drain();
                continue;
            }
            () = tokio::time::sleep(LEAVING_LOOK), if left => continue,
        };
        match event {
            AgentEvent::Request(request, responder) => {
                let app = Arc::clone(&app);
                tunnel.serve(Box::pin(responder.serve(answer(request, app))));
            }
            AgentEvent::Text { text, .. } => {
                let text: Value = serde_json::from_str(&text).expect("JSON");
                if text["type"] == "proxy_request" {
                    tunnel.send_text(answer_in_text(&text, &app));
                }
            }
            AgentEvent::Closed(closed) => return closed,
            AgentEvent::InnerTls(_) | AgentEvent::Violation(_) => {}
        }
    }
}

/// How often a leaving agent looks whether it is done.
const LEAVING_LOOK: Duration = Duration::from_millis(5);

/// What the app says: long enough for several frames, different at every byte.
pub fn page() -> Bytes {
    (0..PAGE_BYTES)
        .map(|at| b'a' + u8::try_from(at % 23).expect("small"))
        .collect()
}

const PAGE_BYTES: usize = 600;
/// Pieces of an answer without a length.
const PIECES: usize = 6;

type Answer = Response<BoxBody<Bytes, BodyError>>;

async fn answer(request: Request<IncomingBody>, app: Arc<App>) -> Answer {
    let path = request.uri().path().to_owned();
    if request.method() == Method::CONNECT {
        // A WebSocket, whose bytes come back as they are.
        let builder = Response::builder().header("ee-origin", "app");
        let echo = request.into_body().boxed();
        return builder.body(echo).expect("a response");
    }
    if read(request.into_body(), &app, &path).await.is_none() {
        // A request that broke off is none.
        return std::future::pending().await;
    }
    let builder = Response::builder().header("ee-origin", "app");
    let response = match path.as_str() {
        "/streamed" => {
            let page = page();
            let size = PAGE_BYTES / PIECES;
            let pieces = (0..PIECES).map(move |at| page.slice(at * size..(at + 1) * size));
            // Each piece leaves as a message of its own, so that cuts fall between them, too.
            let frames = futures_util::stream::iter(pieces).then(|piece| async {
                tokio::task::yield_now().await;
                Ok(http_body::Frame::data(piece))
            });
            builder.body(BoxBody::new(StreamBody::new(frames)))
        }
        "/hang" => {
            let first = Ok(http_body::Frame::data(page()));
            let rest = futures_util::stream::pending();
            let frames = futures_util::stream::iter([first]).chain(rest);
            builder.body(BoxBody::new(StreamBody::new(frames)))
        }
        "/fed" => {
            let fed = app.feed.lock().expect("no panic held it").take();
            let pieces = futures_util::stream::unfold(fed.expect("fed once"), |mut fed| async {
                let piece = fed.recv().await?;
                Some((Ok(http_body::Frame::data(piece)), fed))
            });
            builder.body(BoxBody::new(StreamBody::new(pieces)))
        }
        _ => builder
            .header("content-length", PAGE_BYTES)
            .body(Full::new(page()).map_err(|never| match never {}).boxed()),
    };
    response.expect("a response")
}

/// Reads as an app behind a socket does: on its own, whatever has become of the tunnel. It has
/// heard a request once the body has an end.
async fn read(body: IncomingBody, app: &Arc<App>, path: &str) -> Option<()> {
    let (app, path) = (Arc::clone(app), path.to_owned());
    app.reading.fetch_add(1, Ordering::Relaxed);
    let reading = tokio::spawn(async move {
        let whole = body.collect().await;
        let heard = whole.is_ok();
        if let Ok(whole) = whole {
            note(&app, &path, whole.to_bytes());
        }
        app.reading.fetch_sub(1, Ordering::Relaxed);
        heard.then_some(())
    });
    reading.await.expect("reading does not panic")
}

fn answer_in_text(request: &Value, app: &App) -> String {
    let path = request["path"].as_str().expect("a path");
    let body = request["body_b64"].as_str().expect("a body");
    note(app, path, STANDARD.decode(body).expect("base64").into());
    json!({
        "type": "proxy_response", "request_id": request["request_id"], "status": 200,
        "headers": {}, "body_b64": STANDARD.encode(page()),
    })
    .to_string()
}

fn note(app: &App, path: &str, body: Bytes) {
    let mut heard = app.heard.lock().expect("no panic held it");
    heard.push((path.to_owned(), body));
}
