//! The last hop: an app whose connection to the agent breaks at every byte of its answer, behind
//! the agent that we ship.

use std::{net::SocketAddr, sync::Arc};

use ee_agent::{Agent, AgentState, settings::AgentSettings};
use ee_protocol::settings::{SecretRule, Sources};
use ee_testbed::{
    ChaosLink, LinkFault, QuoteVersion, SimQuoteProvider,
    chaos::Direction::{Down, Up},
};
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::page,
    calm::{calm, comes, idle, in_time},
    client::{Seen, ask},
    sweep::{Kind, whole_page},
    world::{World, image, platform},
};

const APP: &str = "shipped";
/// Requests at the same time.
const CROWD: usize = 8;

/// The agent that we ship, in this process.
struct Shipped {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Shipped {
    async fn serving(world: &World, backend: SocketAddr) -> Self {
        Self::through(world.server.api_addr, backend).await
    }

    /// The same, to the control plane at this address.
    async fn through(control: SocketAddr, backend: SocketAddr) -> Self {
        let control = format!("ws://{control}/v1/tunnel");
        let backend = format!("http://{backend}");
        let pairs = [
            ("EE_CONTROL_WS", control.as_str()),
            ("EE_REPO", "easyenclave/hello"),
            ("EE_RELEASE_TAG", "v0.1.0"),
            ("EE_APP_NAME", APP),
            ("EE_AGENT_ID", "shipped-agent"),
            ("EE_BACKEND_URL", backend.as_str()),
        ];
        let sources = Sources::from_pairs(pairs);
        let read = AgentSettings::read(&sources, &[], SecretRule::AnyForDevelopment);
        let provider = SimQuoteProvider::new(platform(), &image(), QuoteVersion::V4);
        let agent = Agent::new(read.expect("settings").settings, Arc::new(provider));
        let agent = agent.expect("an agent");
        let (mut states, shutdown) = (agent.states(), CancellationToken::new());
        let task = tokio::spawn(agent.run(shutdown.clone()));
        let active = states.wait_for(|state| *state == AgentState::Active);
        in_time(active).await.expect("the agent runs");
        Self { shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        in_time(self.task).await.expect("no panic");
    }
}

/// The forms of an answer.
#[derive(Debug, Clone, Copy)]
enum Form {
    Sized,
    Chunked,
    /// Its end is the connection's.
    Endless,
}

fn whole(form: Form) -> Vec<u8> {
    let page = page();
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n".to_vec();
    match form {
        Form::Sized => answer.extend(format!("Content-Length: {}\r\n\r\n", page.len()).bytes()),
        Form::Chunked => answer.extend(b"Transfer-Encoding: chunked\r\n\r\n"),
        Form::Endless => answer.extend(b"Connection: close\r\n\r\n"),
    }
    match form {
        Form::Sized | Form::Endless => answer.extend(page),
        Form::Chunked => {
            for chunk in page.chunks(97) {
                answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
                answer.extend_from_slice(chunk);
                answer.extend(b"\r\n");
            }
            answer.extend(b"0\r\n\r\n");
        }
    }
    answer
}

/// An app that is told by the path how much it says before it breaks off: `/reset/17`.
async fn start_app(form: Form) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(app_connection(stream, form));
        }
    });
    address
}

async fn app_connection(mut stream: TcpStream, form: Form) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            // The agent's look at whether the app is there.
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).expect("ASCII");
    let path = head.split(' ').nth(1).expect("a path");
    let (kind, bytes) = path[1..].split_once('/').expect("how and where");
    let bytes: usize = bytes.parse().expect("a number");
    stream
        .write_all(&whole(form)[..bytes])
        .await
        .expect("the agent reads");
    if kind == "reset" {
        stream.set_zero_linger().expect("a socket");
    }
}

async fn swept(form: Form, kinds: &[Kind]) {
    let world = World::start().await;
    let agent = Shipped::serving(&world, start_app(form).await).await;
    let total = whole(form).len();
    for kind in kinds {
        let word = match kind {
            Kind::Reset => "reset",
            Kind::End => "end",
        };
        for round in (0..total).collect::<Vec<_>>().chunks(CROWD) {
            let asked = round.iter().map(|at| {
                let head = format!(
                    "GET /{word}/{at} HTTP/1.1\r\nHost: {APP}.localhost\r\n\
                     Connection: close\r\n\r\n"
                );
                let address = world.server.proxy_addr;
                async move { ask(address, head.as_bytes()).await }
            });
            for (seen, at) in join_all(asked).await.iter().zip(round) {
                let fair = match seen {
                    Seen::Whole { status, .. } => *status == 502,
                    Seen::Nothing => false,
                    Seen::Part => true,
                };
                assert!(fair, "{form:?} {kind:?} {at}: {seen:?}");
            }
            idle(&world, (form, kind, round)).await;
        }
    }
    let head =
        format!("GET /end/{total} HTTP/1.1\r\nHost: {APP}.localhost\r\nConnection: close\r\n\r\n");
    let seen = ask(world.server.proxy_addr, head.as_bytes()).await;
    assert_eq!(seen, whole_page(), "{form:?}: the same tunnel serves on");
    agent.stop().await;
    calm(&world, form).await;
    world.stands().await;
}

#[tokio::test]
async fn sized_answer_cut_at_the_app_is_never_half_a_success() {
    swept(Form::Sized, &[Kind::Reset, Kind::End]).await;
}

#[tokio::test]
async fn chunked_answer_cut_at_the_app_is_never_half_a_success() {
    swept(Form::Chunked, &[Kind::Reset, Kind::End]).await;
}

/// A clean end is the only end that such an answer has; a reset is none.
#[tokio::test]
async fn answer_without_a_length_reset_at_the_app_is_never_a_success() {
    swept(Form::Endless, &[Kind::Reset]).await;
}

/// The agent that we ship comes back by itself, however often its way is cut.
#[tokio::test]
async fn agent_comes_back_by_itself_after_every_cut() {
    let world = World::start().await;
    let link = ChaosLink::start(world.server.api_addr)
        .await
        .expect("a link");
    let app = start_app(Form::Sized).await;
    let agent = Shipped::through(link.addr(), app).await;
    let head = format!(
        "GET /end/{} HTTP/1.1\r\nHost: {APP}.localhost\r\nConnection: close\r\n\r\n",
        whole(Form::Sized).len()
    );
    for (direction, bytes) in [(Up, 900), (Up, 4_000), (Down, 1_000)] {
        link.set(LinkFault::Reset);
        assert!(comes(|| world.server.state.plane.routes().counts().1 == 1).await);
        link.set(LinkFault::CutAfter { direction, bytes });
        let before = link.passed(direction);
        assert!(comes(|| link.passed(direction) >= before + bytes).await);
        link.set(LinkFault::None);
        assert!(comes(|| world.server.state.plane.routes().counts().1 == 2).await);
        let seen = ask(world.server.proxy_addr, head.as_bytes()).await;
        assert_eq!(seen, whole_page(), "{direction:?} {bytes}");
    }
    agent.stop().await;
    calm(&world, "the cuts").await;
    world.stands().await;
}
