//! The man in the middle: he ends the inner TLS towards the control plane himself and lets an
//! honest machine answer his challenges.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use ee_agent::{Agent, AgentState, settings::AgentSettings};
use ee_protocol::settings::{SecretRule, Sources};
use ee_testbed::{QuoteVersion, SimQuoteProvider};
use ee_tunnel::{
    InnerTls, InnerTlsClient, TunnelKey, TunnelOptions,
    control::{ControlEvent, ControlTunnel},
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    peer::{Peer, Registration},
    world::{PATIENCE, World, image, platform},
};

const APP: &str = "relayed";

/// The attacker's end towards the victim: a control plane of his own.
struct FalseControl {
    tunnel: ControlTunnel<TcpStream>,
    key: TunnelKey,
}

impl FalseControl {
    async fn accept(listener: &TcpListener) -> Self {
        let (mut stream, _) = timeout(PATIENCE, listener.accept())
            .await
            .expect("in time")
            .expect("ok");
        upgrade(&mut stream).await;
        let tunnel = ControlTunnel::accept(stream, &TunnelOptions::default());
        Self {
            tunnel,
            key: TunnelKey::generate(),
        }
    }

    async fn next(&mut self) -> ControlEvent {
        timeout(PATIENCE, self.tunnel.next())
            .await
            .expect("the agent answers in time")
    }

    async fn hear(&mut self) -> Result<Value, String> {
        loop {
            match self.next().await {
                ControlEvent::Text(text) => return Ok(serde_json::from_str(&text).expect("JSON")),
                ControlEvent::Closed(closed) => return Err(closed.reason),
                ControlEvent::InnerTls(InnerTls::Established(_))
                | ControlEvent::Pong
                | ControlEvent::Drained => {}
                other @ (ControlEvent::InnerTls(_) | ControlEvent::Violation(_)) => {
                    panic!("{other:?}")
                }
            }
        }
    }

    /// Puts the challenge to the victim and takes its answer.
    async fn ask(&mut self, challenge: &Value) -> Result<Value, String> {
        self.tunnel.set_text_limit(1 << 21);
        self.tunnel.send_text(challenge.to_string());
        self.tunnel.start_inner_tls(&InnerTlsClient::new(&self.key));
        self.hear().await
    }
}

async fn upgrade(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the head"));
    }
    let head = String::from_utf8(head).expect("ASCII");
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let mut keys = fields.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let (_, key) = keys.next().expect("a key");
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.expect("sent");
}

/// The honest agent, led to the attacker's address.
struct Victim {
    states: tokio::sync::watch::Receiver<AgentState>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Victim {
    fn start(listener: &TcpListener, settings: &[(&str, &str)]) -> Self {
        let address = listener.local_addr().expect("an address");
        let url = format!("ws://{address}/v1/tunnel");
        let mut pairs = vec![
            ("EE_CONTROL_WS", url.as_str()),
            ("EE_REPO", "easyenclave/hello"),
            ("EE_RELEASE_TAG", "v0.1.0"),
            ("EE_APP_NAME", APP),
            ("EE_AGENT_ID", "victim"),
        ];
        pairs.extend_from_slice(settings);
        let sources = Sources::from_pairs(pairs);
        let read = AgentSettings::read(&sources, &[], SecretRule::AnyForDevelopment);
        let provider = SimQuoteProvider::new(platform(), &image(), QuoteVersion::V4);
        let agent = Agent::new(read.expect("settings").settings, Arc::new(provider));
        let agent = agent.expect("an agent");
        let (states, shutdown) = (agent.states(), CancellationToken::new());
        let task = tokio::spawn(agent.run(shutdown.clone()));
        Self {
            states,
            shutdown,
            task,
        }
    }

    async fn stop(self) {
        assert!(
            !matches!(*self.states.borrow(), AgentState::Active),
            "it was never admitted"
        );
        self.shutdown.cancel();
        timeout(PATIENCE, self.task)
            .await
            .expect("stops")
            .expect("no panic");
    }
}

/// What the attacker tells the control plane to be: exactly what the victim says.
fn as_victim(register: &Value) -> Registration {
    let text = |name: &str| register[name].as_str().expect("text").to_owned();
    let registration = Registration::new(&text("app_name"), &text("agent_id"));
    registration.with(|named| {
        named.repo = text("repo");
        named.tag = text("release_tag");
        named.network = text("network");
        named.instance = register["instance"].as_str().map(str::to_owned);
    })
}

/// Both ends: the victim has registered with the attacker, the attacker with the control plane.
async fn in_the_middle(world: &World, victims: &TcpListener) -> (FalseControl, Peer, Value) {
    let mut towards_victim = FalseControl::accept(victims).await;
    let register = towards_victim.hear().await.expect("register");
    let mut towards_control = world.peer().await;
    let registration = as_victim(&register);
    towards_control.send(&registration.message());
    let challenge = towards_control.hear().await.expect("a challenge");
    towards_control.taken(&challenge).await;
    (towards_victim, towards_control, challenge)
}

/// The challenge goes on as if it were the attacker's own: the victim quotes, and the quote binds
/// the victim's session with the attacker, not the attacker's with the control plane.
#[tokio::test]
async fn quote_relayed_through_another_tls_session_is_refused() {
    let world = World::start().await;
    let victims = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let victim = Victim::start(&victims, &[]);
    let (mut towards_victim, mut towards_control, mut challenge) =
        in_the_middle(&world, &victims).await;
    challenge["cp_key"] = json!(hex::encode(towards_victim.key.spki_sha256()));
    let answer = towards_victim
        .ask(&challenge)
        .await
        .expect("the victim answers");
    assert_eq!(answer["type"], "attest_response", "{answer}");
    towards_control.send(&answer);
    towards_control.refused().await.says("binding_mismatch");
    assert_eq!(world.resolve(APP).await.0, 404);
    victim.stop().await;
    world.stands().await;
}

/// Without inner TLS towards the victim there is nothing the victim would quote for: production
/// agents do not let themselves be talked out of it.
#[tokio::test]
async fn relayed_challenge_without_inner_tls_gets_no_quote() {
    let world = World::start().await;
    let victims = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let victim = Victim::start(&victims, &[]);
    let (mut towards_victim, towards_control, mut challenge) =
        in_the_middle(&world, &victims).await;
    challenge["tunnel"]["inner_tls"] = json!("off");
    challenge["binding"] = json!("none");
    towards_victim.tunnel.send_text(challenge.to_string());
    assert_eq!(
        towards_victim.hear().await,
        Err("inner_tls_required".to_owned())
    );
    drop(towards_control);
    assert_eq!(world.resolve(APP).await.0, 404);
    victim.stop().await;
    world.stands().await;
}

/// The challenge as it is names the control plane's key, and the attacker cannot show that key.
#[tokio::test]
async fn relayed_challenge_under_the_real_key_gets_no_quote() {
    let world = World::start().await;
    let victims = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let victim = Victim::start(&victims, &[]);
    let (mut towards_victim, towards_control, challenge) = in_the_middle(&world, &victims).await;
    assert_eq!(
        towards_victim.ask(&challenge).await,
        Err("control_key_refused".to_owned())
    );
    drop(towards_control);
    assert_eq!(world.resolve(APP).await.0, 404);
    victim.stop().await;
    world.stands().await;
}

/// An agent that pins the control plane's key quotes for nobody else.
#[tokio::test]
async fn pinned_agent_gives_a_rogue_control_plane_no_quote() {
    let world = World::start().await;
    let victims = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let pin = hex::encode(world.server.state.tunnel_key.spki_sha256());
    let victim = Victim::start(&victims, &[("EE_CONTROL_KEY", &pin)]);
    let (mut towards_victim, towards_control, mut challenge) =
        in_the_middle(&world, &victims).await;
    challenge["cp_key"] = json!(hex::encode(towards_victim.key.spki_sha256()));
    assert_eq!(
        towards_victim.ask(&challenge).await,
        Err("control_key_refused".to_owned())
    );
    drop(towards_control);
    assert_eq!(world.resolve(APP).await.0, 404);
    victim.stop().await;
    world.stands().await;
}
