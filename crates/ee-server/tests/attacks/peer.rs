//! An agent whose every word the test decides: the honest half of the protocol, in pieces.

use std::{net::SocketAddr, sync::LazyLock, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ee_protocol::report_data::{
    Binding, BindingFields, Digest, Nonce, ReportData, Role, WorkloadClaims,
};
use ee_testbed::{DemoImage, QuoteVersion, SimPlatform, Td};
use ee_tunnel::{
    Closed, IncomingBody, InnerTls, InnerTlsInfo, InnerTlsServer, TunnelKey, TunnelOptions,
    agent::{AgentEvent, AgentTunnel},
};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use crate::world::{PATIENCE, image, platform};

/// The `register` of an agent, before it is written out.
#[derive(Debug, Clone)]
pub struct Registration {
    pub repo: String,
    pub tag: String,
    pub app: String,
    pub network: String,
    pub agent: String,
    pub node: Option<String>,
    pub instance: Option<String>,
    pub capabilities: Vec<&'static str>,
    pub max_inflight: Option<u32>,
}

impl Registration {
    /// An agent of the victim's release on forge-1.
    pub fn new(app: &str, agent: &str) -> Self {
        Self {
            repo: DemoImage::REPO.to_owned(),
            tag: DemoImage::TAG.to_owned(),
            app: app.to_owned(),
            network: "forge-1".to_owned(),
            agent: agent.to_owned(),
            node: None,
            instance: Some(format!("boot of {agent}")),
            capabilities: vec!["h2", "itls"],
            max_inflight: None,
        }
    }

    /// The same, changed.
    pub fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    /// As it goes over the wire.
    pub fn message(&self) -> Value {
        let mut message = json!({
            "type": "register", "repo": self.repo, "release_tag": self.tag,
            "app_name": self.app, "network": self.network, "agent_id": self.agent,
            "tunnel_version": "2", "capabilities": self.capabilities,
        });
        if let Some(most) = self.max_inflight {
            message["max_inflight"] = json!(most);
        }
        if let Some(node) = &self.node {
            message["node_id"] = json!(node);
        }
        if let Some(instance) = &self.instance {
            message["instance"] = json!(instance);
        }
        message
    }

    fn binding_digest(&self, nonce: &Nonce, reason: &str, binding: &Binding) -> Digest {
        let fields = BindingFields {
            role: Role::Agent,
            nonce,
            reason,
            network: &self.network,
            repo: &self.repo,
            release_tag: &self.tag,
            app_name: &self.app,
            agent_id: &self.agent,
            node_id: self.node.as_ref().unwrap_or(&self.agent),
            binding,
        };
        fields.digest()
    }
}

/// A challenge of the control plane, and the channel it came over.
#[derive(Debug, Clone)]
pub struct Challenge {
    pub nonce: Nonce,
    pub reason: String,
    /// The session inside the tunnel; none where the control plane asked for none.
    pub channel: Option<InnerTlsInfo>,
}

impl Challenge {
    /// What ties a quote to this challenge's channel.
    pub fn binding(&self) -> Binding {
        self.channel
            .map_or(Binding::None, |channel| Binding::TlsExporter {
                exporter: channel.exporter,
                agent_spki: channel.agent_spki_sha256,
                control_spki: channel.control_spki_sha256,
            })
    }
}

/// A machine, the TD on it and what it claims to run.
#[derive(Clone)]
pub struct Prover {
    pub platform: SimPlatform,
    pub td: Td,
    pub claims: WorkloadClaims,
    pub event_log: Option<Value>,
}

impl Prover {
    /// The victim's release on a good machine.
    pub fn good() -> Self {
        Self::of(&image())
    }

    /// An image on a good machine.
    pub fn of(image: &DemoImage) -> Self {
        Self {
            platform: platform(),
            td: image.td(),
            claims: image.claims(),
            event_log: Some(image.event_log()),
        }
    }

    /// Somebody's rebuild that claims to be the victim's release.
    pub fn rogue() -> Self {
        Self::of(&image().rogue())
    }

    /// The same, changed.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The quote over these bytes.
    pub fn quote(&self, report_data: &ReportData) -> Vec<u8> {
        self.platform
            .quote(&self.td, QuoteVersion::V4, &report_data.0)
    }

    /// The bytes that an honest agent has signed for this challenge.
    pub fn report_data(&self, challenge: &Challenge, registration: &Registration) -> ReportData {
        let Challenge { nonce, reason, .. } = challenge;
        let bound = registration.binding_digest(nonce, reason, &challenge.binding());
        ReportData::new(&self.claims.digest(), &bound)
    }

    /// The honest answer to a challenge.
    pub fn answer(&self, challenge: &Challenge, registration: &Registration) -> Value {
        self.answer_with(challenge, &self.report_data(challenge, registration))
    }

    /// An answer over these bytes, whatever they are.
    pub fn answer_with(&self, challenge: &Challenge, report_data: &ReportData) -> Value {
        json!({
            "type": "attest_response",
            "nonce": hex::encode(challenge.nonce),
            "quote": STANDARD.encode(self.quote(report_data)),
            "report_data": hex::encode(report_data.0),
            "measurements": self.claims,
            "event_log": self.event_log,
            "binding": "tls-exporter",
        })
    }
}

/// How a tunnel was refused: what the agent was told, and the close.
#[derive(Debug)]
pub struct Refused {
    pub status: Value,
    pub closed: Closed,
}

impl Refused {
    /// Asserts that the agent was told this word, why, and what to do, and was closed with 1008.
    #[track_caller]
    pub fn says(&self, reason: &str) {
        let Self { status, closed } = self;
        assert_eq!(status["state"], "invalid", "{status}");
        assert_eq!(status["reason"], reason, "{status}");
        assert!(is_explained(status), "nothing to act on: {status}");
        assert_eq!(
            (closed.code, closed.reason.as_str()),
            (Some(1008), reason),
            "{closed:?}"
        );
    }
}

/// Whether a status tells a person what to do next.
pub fn is_explained(status: &Value) -> bool {
    let rows = status["detail"].as_array().map_or(&[][..], Vec::as_slice);
    let said = |row: &Value| row["hint"].as_str().is_some_and(|hint| !hint.is_empty());
    !rows.is_empty() && rows.iter().all(said)
}

/// One tunnel of an agent that has not been attested.
pub struct Peer {
    pub tunnel: AgentTunnel<TcpStream>,
    tls: InnerTlsServer,
}

impl Peer {
    /// Opens the WebSocket.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &TunnelKey::generate()).await
    }

    /// Opens the WebSocket; `key` is shown inside the tunnel.
    pub async fn connect_with(address: SocketAddr, key: &TunnelKey) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("a socket");
        let uri: Uri = format!("ws://{address}/v1/tunnel").parse().expect("a URL");
        let tunnel = AgentTunnel::connect(stream, &uri, &TunnelOptions::default()).await;
        let mut tunnel = tunnel.unwrap_or_else(|error| panic!("no tunnel: {error:?}"));
        tunnel.set_text_limit(1 << 20);
        Self {
            tunnel,
            tls: InnerTlsServer::new(key),
        }
    }

    /// Sends a message as it is.
    pub fn send(&mut self, message: &Value) {
        self.tunnel.send_text(message.to_string());
    }

    /// The next text, parsed, or the end.
    pub async fn hear(&mut self) -> Result<Value, Closed> {
        loop {
            match self.event().await {
                AgentEvent::Text { text, .. } => return Ok(parsed(&text)),
                AgentEvent::Closed(closed) => return Err(closed),
                AgentEvent::InnerTls(_) | AgentEvent::Violation(_) => {}
                AgentEvent::Request(..) => panic!("a request before attestation"),
            }
        }
    }

    /// The next text, which must be a status.
    pub async fn status(&mut self) -> Value {
        let text = self.hear().await.expect("a status");
        assert_eq!(text["type"], "status", "{text}");
        text
    }

    /// The refusal and the close that must follow now.
    pub async fn refused(&mut self) -> Refused {
        let status = self.status().await;
        let closed = self.hear().await.expect_err("closed after the refusal");
        Refused { status, closed }
    }

    /// Registers; goes on until the challenge is there and the channel stands.
    pub async fn challenge(&mut self, registration: &Registration) -> Challenge {
        self.send(&registration.message());
        let request = self.hear().await.expect("a challenge");
        self.taken(&request).await
    }

    /// Takes an `attest_request`.
    pub async fn taken(&mut self, request: &Value) -> Challenge {
        assert_eq!(request["type"], "attest_request", "{request}");
        let nonce = request["nonce"].as_str().expect("a nonce");
        let nonce = hex::decode(nonce)
            .expect("hex")
            .try_into()
            .expect("32 bytes");
        let reason = request["reason"].as_str().expect("a reason").to_owned();
        let channel = match request["tunnel"]["inner_tls"].as_str() {
            Some("required") => Some(self.inner_tls().await),
            Some(_) | None => None,
        };
        Challenge {
            nonce,
            reason,
            channel,
        }
    }

    async fn inner_tls(&mut self) -> InnerTlsInfo {
        self.tunnel.expect_inner_tls(&self.tls);
        match self.event().await {
            AgentEvent::InnerTls(InnerTls::Established(info)) => info,
            AgentEvent::InnerTls(InnerTls::Failed(error)) => panic!("inner TLS: {error}"),
            AgentEvent::Closed(closed) => panic!("closed in the handshake: {closed:?}"),
            AgentEvent::Text { text, .. } => panic!("text in the handshake: {text}"),
            AgentEvent::Violation(_) | AgentEvent::Request(..) => panic!("not in a handshake"),
        }
    }

    /// Does everything an honest agent does, up to `attested`.
    pub async fn join(mut self, registration: &Registration, prover: &Prover) -> Self {
        let challenge = self.challenge(registration).await;
        let answer = prover.answer(&challenge, registration);
        self.send(&answer);
        let status = self.status().await;
        assert_eq!(
            (&status["state"], &status["reason"]),
            (&json!("ok"), &json!("attested"))
        );
        self.tunnel.attested();
        self
    }

    /// Registers, answers as `answer` says, and waits for the refusal.
    pub async fn attempt(
        mut self,
        registration: &Registration,
        answer: impl FnOnce(&Challenge) -> Value,
    ) -> Refused {
        let challenge = self.challenge(registration).await;
        self.send(&answer(&challenge));
        self.refused().await
    }

    /// Registers with this evidence and waits for the refusal.
    pub async fn prove(self, registration: &Registration, prover: &Prover) -> Refused {
        self.attempt(registration, |challenge| {
            prover.answer(challenge, registration)
        })
        .await
    }

    /// Serves `body` for every request from now on, in the background.
    pub fn serve(self, body: &'static str) -> Serving {
        Serving {
            task: tokio::spawn(serve(self.tunnel, body)),
        }
    }

    async fn event(&mut self) -> AgentEvent {
        timeout(PATIENCE, self.tunnel.next())
            .await
            .expect("the control plane answers in time")
    }
}

/// An attested agent that serves in the background.
pub struct Serving {
    task: JoinHandle<Closed>,
}

impl Serving {
    /// Whether its tunnel is open.
    pub fn is_open(&self) -> bool {
        !self.task.is_finished()
    }

    /// Waits until the control plane closes the tunnel.
    pub async fn closed(mut self) -> Closed {
        let closed = timeout(PATIENCE, &mut self.task)
            .await
            .expect("closed in time");
        closed.expect("serving does not panic")
    }

    /// The machine loses its power: no close frame, no reply, nothing.
    pub fn vanish(self) {
        self.task.abort();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads an upload a piece at a time, with a pause behind each; how long it was.
async fn read_slowly(mut body: IncomingBody) -> Response<Full<Bytes>> {
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.expect("the upload comes whole");
        count += frame.data_ref().map_or(0, Bytes::len);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let builder = Response::builder().header("ee-origin", "app");
    let answer = builder.body(Full::from(count.to_string()));
    answer.expect("a response")
}

async fn serve(mut tunnel: AgentTunnel<TcpStream>, body: &'static str) -> Closed {
    loop {
        match tunnel.next().await {
            AgentEvent::Request(request, responder) if request.uri().path() == SLOWLY => {
                let answer = read_slowly(request.into_body());
                tunnel.serve(Box::pin(responder.serve(answer)));
            }
            AgentEvent::Request(request, responder) => {
                let never = request.uri().path() == "/never";
                let answer = answer(request.map(drop), body);
                tunnel.serve(Box::pin(responder.serve(async move {
                    if never {
                        std::future::pending::<()>().await;
                    }
                    answer
                })));
            }
            AgentEvent::Closed(closed) => return closed,
            AgentEvent::Text { .. } | AgentEvent::InnerTls(_) | AgentEvent::Violation(_) => {}
        }
    }
}

/// The page that takes its time to read an upload.
pub const SLOWLY: &str = "/slowly";

/// The front page is `body`; any other path shows the head of the request as it arrived; one path
/// answers with what an app could try against the people who trust us.
fn answer(request: Request<()>, body: &'static str) -> Response<Full<Bytes>> {
    let builder = Response::builder().header("ee-origin", "app");
    if request.method() == Method::CONNECT {
        let refused = builder.status(426).body(Full::default());
        return refused.expect("a response");
    }
    if request.uri().path() == "/huge" {
        let answer = builder.body(Full::new(HUGE.clone()));
        return answer.expect("a response");
    }
    let (builder, text) = match request.uri().path() {
        "/" if request.method() == Method::HEAD => (builder, String::new()),
        "/" => (builder, body.to_owned()),
        "/large" => (builder, "x".repeat(2 * 1024 * 1024)),
        "/forge" => (
            FORGED
                .iter()
                .fold(builder, |b, (name, value)| b.header(*name, *value)),
            "<script>steal()</script>".to_owned(),
        ),
        _ => {
            let head = request.into_parts().0;
            let fields = head.headers.iter().map(|(name, value)| {
                format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
            });
            let fields: Vec<_> = fields.collect();
            (
                builder,
                json!({ "method": head.method.as_str(), "uri": head.uri.to_string(), "fields": fields }).to_string(),
            )
        }
    };
    builder
        .body(Full::new(Bytes::from(text)))
        .expect("a response")
}

/// More than the kernel holds of one answer, so that it waits with us.
static HUGE: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![b'x'; 16 * 1024 * 1024]));

/// What the page `/forge` sends.
const FORGED: [(&str, &str); 10] = [
    ("content-type", "text/html"),
    ("x-ee-node", "forged-node"),
    ("x-ee-origin", "control"),
    ("x-request-id", "forged-id"),
    ("server", "forged"),
    ("alt-svc", "h3=\"evil.example:443\""),
    ("set-cookie", "__Host-ee_session=forged"),
    ("clear-site-data", "\"*\""),
    ("service-worker-allowed", "/"),
    ("strict-transport-security", "max-age=0"),
];

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

/// Long enough for what was wrongly accepted to show, where nothing should happen.
pub const A_WHILE: Duration = Duration::from_millis(150);
