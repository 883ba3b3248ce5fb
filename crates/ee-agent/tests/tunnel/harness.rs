//! A control plane and a backend for tests of the whole agent, on loopback sockets.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ee_agent::{
    Agent,
    quote::{QuoteBundle, QuoteError, QuoteProvider},
    settings::AgentSettings,
};
use ee_protocol::{
    report_data::WorkloadClaims,
    settings::{SecretRule, Sources},
    tunnel::{
        AgentMessage, AttestRequest, ControlMessage, InnerTlsMode, Register, Status, StatusState,
        TunnelOffer,
    },
};
use ee_tunnel::{
    InnerTls, TunnelBody, TunnelHandle, TunnelOptions,
    control::{ControlEvent, ControlTunnel},
    keys::{InnerTlsClient, TunnelKey},
};
use http_body_util::{BodyExt, Empty, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Longer than anything takes here, short enough for a hung test to fail soon.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Echoes `report_data` as the quote: the tests look at what was asked for.
pub struct EchoProvider(WorkloadClaims);

impl QuoteProvider for EchoProvider {
    fn claims(&self) -> &WorkloadClaims {
        &self.0
    }

    fn quote(&self, report_data: &[u8; 64], _: Duration) -> Result<QuoteBundle, QuoteError> {
        Ok(QuoteBundle {
            quote: report_data.to_vec(),
            event_log: None,
        })
    }
}

/// An agent that runs in the background.
pub struct RunningAgent {
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

/// Starts an agent with the settings a test cares about.
pub fn start_agent(control: SocketAddr, extra: &[(&str, &str)]) -> RunningAgent {
    let agent = agent(control, extra);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(agent.run(shutdown.clone()));
    RunningAgent { shutdown, task }
}

pub fn agent(control: SocketAddr, extra: &[(&str, &str)]) -> Agent {
    let control = format!("ws://{control}/v1/tunnel");
    let mut pairs = vec![
        ("EE_CONTROL_WS", control.as_str()),
        ("EE_REPO", "org/repo"),
        ("EE_RELEASE_TAG", "v0.1.3"),
        ("EE_APP_NAME", "hello"),
        ("EE_AGENT_ID", "agent-1"),
        ("EE_DRAIN_SEC", "5"),
    ];
    pairs.extend_from_slice(extra);
    let sources = Sources::from_pairs(pairs);
    let read = AgentSettings::read(&sources, &[], SecretRule::AnyForDevelopment).unwrap();
    Agent::new(
        read.settings,
        Arc::new(EchoProvider(WorkloadClaims::default())),
    )
    .unwrap()
}

/// A control plane that believes every quote.
pub struct FakeControl {
    listener: TcpListener,
    key: TunnelKey,
}

impl FakeControl {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            listener,
            key: TunnelKey::generate(),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Takes the next tunnel up to its WebSocket.
    pub async fn accept(&self) -> Tunnel {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.listener.accept())
            .await
            .unwrap()
            .unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = upgrade(stream).await;
        let tunnel = ControlTunnel::accept(stream, &TunnelOptions::default());
        Tunnel {
            tunnel,
            key: self.key.clone(),
            backlog: VecDeque::new(),
        }
    }

    /// Takes the next tunnel and lets it serve; the tunnel goes on in the background.
    pub async fn attest(&self) -> Served {
        self.attest_registered().await.1
    }

    /// As [`Self::attest`], with what the agent registered as.
    pub async fn attest_registered(&self) -> (Register, Served) {
        let tunnel = self.accept().await;
        self.finish(tunnel).await
    }

    /// Lets a tunnel serve that was accepted.
    pub async fn finish(&self, mut tunnel: Tunnel) -> (Register, Served) {
        let register = tunnel.challenge(&hex::encode(self.key.spki_sha256())).await;
        tunnel.expect_answer().await;
        (register, Served::start(tunnel))
    }

    /// As [`Self::attest`], without inner TLS.
    pub async fn attest_plain(&self) -> Served {
        let mut tunnel = self.accept().await;
        tunnel.challenge_over("", InnerTlsMode::Off).await;
        tunnel.tunnel.offer_plain();
        tunnel.expect_answer().await;
        Served::start(tunnel)
    }
}

/// One tunnel, step by step.
pub struct Tunnel {
    pub tunnel: ControlTunnel<TcpStream>,
    key: TunnelKey,
    backlog: VecDeque<AgentMessage>,
}

impl Tunnel {
    /// Waits for `register`, challenges, does inner TLS.
    pub async fn challenge(&mut self, cp_key: &str) -> Register {
        let register = self.challenge_over(cp_key, InnerTlsMode::Required).await;
        self.tunnel.start_inner_tls(&InnerTlsClient::new(&self.key));
        register
    }

    /// Waits for `register` and challenges.
    pub async fn challenge_over(&mut self, cp_key: &str, inner_tls: InnerTlsMode) -> Register {
        let AgentMessage::Register(register) = self.message().await else {
            panic!("an agent registers first");
        };
        let request = ControlMessage::AttestRequest(AttestRequest {
            nonce: "ab".repeat(32),
            deadline_s: 30,
            reason: "register".to_owned(),
            v: Some(2),
            binding: Some("tls-exporter".to_owned()),
            cp_key: Some(cp_key.to_owned()),
            tunnel: Some(TunnelOffer {
                version: 2,
                mux: "h2".to_owned(),
                inner_tls,
                epochs: false,
                max_text: 2_097_152,
                peers: Vec::new(),
            }),
        });
        self.tunnel.set_text_limit(2 * 1024 * 1024);
        self.tunnel.send_text(request.to_json());
        register
    }

    pub async fn expect_answer(&mut self) {
        let AgentMessage::AttestResponse(response) = self.message().await else {
            panic!("the challenge is answered");
        };
        assert!(response.quote.is_some());
        self.tunnel.attested(1_024);
        let status = Status {
            state: StatusState::Ok,
            reason: "attested".to_owned(),
            detail: Vec::new(),
            retry_after_ms: None,
        };
        self.tunnel
            .send_text(ControlMessage::Status(status).to_json());
    }

    /// The next message of the agent.
    pub async fn message(&mut self) -> AgentMessage {
        loop {
            if let Some(message) = self.backlog.pop_front() {
                return message;
            }
            match self.event().await {
                ControlEvent::Text(text) => {
                    self.backlog.push_back(AgentMessage::parse(&text).unwrap());
                }
                ControlEvent::InnerTls(InnerTls::Established(_)) => {}
                ControlEvent::InnerTls(InnerTls::Failed(why)) => panic!("inner TLS: {why}"),
                ControlEvent::Violation(violation) => panic!("{}", violation.reason()),
                ControlEvent::Closed(closed) => panic!("closed: {closed:?}"),
                ControlEvent::Pong | ControlEvent::Drained => {}
            }
        }
    }

    pub async fn event(&mut self) -> ControlEvent {
        tokio::time::timeout(PATIENCE, self.tunnel.next())
            .await
            .expect("something happens")
    }

    /// The reason with which the agent closes.
    pub async fn close_reason(&mut self) -> String {
        loop {
            if let ControlEvent::Closed(closed) = self.event().await {
                return closed.reason;
            }
        }
    }
}

/// A tunnel that serves; its messages can be read.
pub struct Served {
    pub handle: TunnelHandle,
    pub messages: mpsc::UnboundedReceiver<AgentMessage>,
    pub closed: Arc<Mutex<Option<String>>>,
    /// Texts to send to the agent.
    pub say: mpsc::UnboundedSender<ControlMessage>,
    pub task: JoinHandle<()>,
}

impl Served {
    fn start(tunnel: Tunnel) -> Self {
        let Tunnel { mut tunnel, .. } = tunnel;
        let handle = tunnel.handle();
        let (sender, messages) = mpsc::unbounded_channel();
        let closed = Arc::new(Mutex::new(None));
        let end = Arc::clone(&closed);
        let (say, mut said) = mpsc::unbounded_channel::<ControlMessage>();
        let task = tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = tunnel.next() => event,
                    Some(message) = said.recv() => {
                        tunnel.send_text(message.to_json());
                        continue;
                    }
                };
                match event {
                    ControlEvent::Text(text) => {
                        drop(sender.send(AgentMessage::parse(&text).unwrap()));
                    }
                    ControlEvent::Closed(reason) => {
                        *end.lock().unwrap() = Some(reason.reason);
                        return;
                    }
                    ControlEvent::InnerTls(_) | ControlEvent::Pong | ControlEvent::Drained => {}
                    ControlEvent::Violation(violation) => panic!("{}", violation.reason()),
                }
            }
        });
        Self {
            handle,
            messages,
            closed,
            say,
            task,
        }
    }

    /// The next message that is wanted.
    pub async fn message(&mut self) -> AgentMessage {
        tokio::time::timeout(PATIENCE, self.messages.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// A GET through the tunnel: status, who answered, body.
    pub async fn get(&self, path: &str, extra: &[(&str, &str)]) -> (u16, String, Bytes) {
        let mut request =
            http::Request::get(format!("http://hello.localhost{path}")).header("ee-app", "hello");
        for (name, value) in extra {
            request = request.header(*name, *value);
        }
        self.send(request.body(Empty::<Bytes>::new()).unwrap())
            .await
    }

    pub async fn post(&self, path: &str, body: Bytes) -> (u16, String, Bytes) {
        let request =
            http::Request::post(format!("http://hello.localhost{path}")).header("ee-app", "hello");
        self.send(request.body(Full::new(body)).unwrap()).await
    }

    async fn send<B>(&self, request: http::Request<B>) -> (u16, String, Bytes)
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        let exchange = async {
            let response = self.handle.request(request).await.unwrap();
            let status = response.status().as_u16();
            let origin = response.headers()["ee-origin"].to_str().unwrap().to_owned();
            (status, origin, copied(response.into_body()).await)
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("an answer in time")
    }
}

/// The window is given back as the pieces are dropped, so none may be kept.
async fn copied(mut body: TunnelBody) -> Bytes {
    let mut content = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.unwrap().into_data() {
            content.extend_from_slice(&data);
        }
    }
    content.into()
}

/// The server's half of the WebSocket upgrade.
async fn upgrade(mut stream: TcpStream) -> TcpStream {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let key = head
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-key")
                .then(|| value.trim().to_owned())
        })
        .expect("a WebSocket key");
    let joined = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, joined.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        STANDARD.encode(digest)
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream
}
