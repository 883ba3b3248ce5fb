//! Autobahn's cases against an echo over this crate's own WebSocket stack, as server and as client:
//! library, our own binary frames, limits, close rules, keep-alive.
//!
//! A tunnel is no echo, and narrower than RFC 6455 on purpose: what its rules refuse is listed
//! with the rule, and left out.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ee_testbed::autobahn::{self, COMPRESSION, FuzzingServer, INSTALL, Selection, Verdicts};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_websockets::{ClientBuilder, ServerBuilder};

use crate::counted::Counted;
use crate::event::{Closed, TunnelOptions};
use crate::limits::{BINARY_MAX, TEXT_IN_CHALLENGE};
use crate::link::{WsStream, lock};
use crate::outgoing::Outgoing;
use crate::quiet::{MaySleep, Quiet};
use crate::socket::BinaryRule;
use crate::wire::{Fate, Wire};

/// Cases that ask for what a tunnel refuses.
const REFUSED: [&str; 12] = [
    // Empty binary messages mean nothing to a byte stream.
    "1.2.1", "9.8.1",
    // Binary messages have at most 64 KiB, and ours 64 000 bytes: these come back as two.
    "1.2.6", "1.2.7", "1.2.8", "9.2.*", "9.4.*", "9.6.*", // Text has at most 2 MiB.
    "9.1.4", "9.1.5", "9.1.6", "9.3.*",
];

/// How many cases are left.
const CASES: usize = 263;

/// Sends every message back as one message.
struct Echo<S> {
    wire: Wire<S>,
    binary: WsStream<S>,
    /// A binary message that has come, and how much of it was written.
    back: (Vec<u8>, usize),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Echo<S> {
    fn new(ws: Quiet<S>) -> Self {
        let options = TunnelOptions {
            text_limit: TEXT_IN_CHALLENGE,
            ..TunnelOptions::default()
        };
        let wire = Wire::new(ws, &options);
        wire.set_rule(BinaryRule::Open);
        Self {
            binary: wire.stream(),
            wire,
            back: (Vec::new(), 0),
        }
    }

    /// Echoes until the connection ends.
    async fn run(mut self) -> Closed {
        poll_fn(|cx| {
            self.wire.begin_turn();
            self.poll(cx)
        })
        .await
    }

    /// The first text, for questions to Autobahn.
    async fn first_text(mut self) -> Option<String> {
        poll_fn(|cx| match self.wire.poll_text(cx, MaySleep::Yes) {
            Some(text) => Poll::Ready(Some(text)),
            None => self.wire.poll_fate(cx).map(|_| None),
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        loop {
            let moved = self.poll_echo(cx);
            if let Poll::Ready(Fate::Closed(closed)) = self.wire.poll_fate(cx) {
                return Poll::Ready(closed);
            }
            if moved.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// One message, once the one before it has left.
    fn poll_echo(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.wire.is_open() {
            return Poll::Pending;
        }
        while self.back.1 < self.back.0.len() {
            let rest = &self.back.0[self.back.1..];
            let Ok(count) = ready!(Pin::new(&mut self.binary).poll_write(cx, rest)) else {
                return Poll::Pending;
            };
            self.back.1 += count;
        }
        let sent = ready!(lock(&self.binary.0).poll_send(cx));
        if sent.is_err() {
            return Poll::Pending;
        }
        if let Some(text) = self.wire.poll_text(cx, MaySleep::Yes) {
            self.wire.push_text(text);
            return Poll::Ready(());
        }
        if !self.wire.has_binary() {
            return Poll::Pending;
        }
        let mut bytes = vec![0; BINARY_MAX];
        let mut buffer = ReadBuf::new(&mut bytes);
        let _ready = Pin::new(&mut self.binary).poll_read(cx, &mut buffer);
        self.back = (buffer.filled().to_vec(), 0);
        Poll::Ready(())
    }
}

fn tools() -> Option<PathBuf> {
    let tools = autobahn::tools();
    if tools.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "kosoku is missing: {INSTALL}"
        );
        eprintln!("skipped: kosoku is missing: {INSTALL}");
    }
    tools
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ee-autobahn-{name}-{}", std::process::id()))
}

fn judge(verdicts: &Verdicts, folder: &Path) {
    assert_eq!(
        verdicts.not_ok(),
        Vec::<String>::new(),
        "see {}",
        folder.display()
    );
    assert_eq!(verdicts.0.len(), CASES);
    std::fs::remove_dir_all(folder).expect("ours");
}

fn exclude() -> Vec<&'static str> {
    COMPRESSION.into_iter().chain(REFUSED).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn autobahn_finds_nothing_at_the_control_planes_end() {
    let Some(tools) = tools() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let folder = folder("server");
    let reports = folder.clone();
    let run = tokio::task::spawn_blocking(move || {
        let exclude = exclude();
        let selection = Selection {
            exclude: &exclude,
            ..Selection::default()
        };
        autobahn::fuzz_server(&tools, &reports, &url, selection)
    });
    let serve = async {
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let (io, _) = listener.accept().await.unwrap();
            tasks.spawn(async {
                let io = Counted::with_handshake(io, Outgoing::of_server());
                // Autobahn also looks at how handshakes fail.
                if let Ok((_, ws)) = ServerBuilder::new().accept(io).await {
                    Echo::new(Quiet::of_server(ws)).run().await;
                }
            });
        }
    };
    let verdicts = tokio::select! {
        verdicts = run => verdicts.unwrap().unwrap(),
        () = serve => unreachable!("it accepts for ever"),
    };
    judge(&verdicts, &folder);
}

async fn client(address: &str, path: &str) -> Echo<TcpStream> {
    let io = TcpStream::connect(address).await.unwrap();
    let io = Counted::with_handshake(io, Outgoing::of_client());
    let uri = format!("ws://{address}{path}").parse().unwrap();
    let (ws, _) = ClientBuilder::from_uri(uri).connect_on(io).await.unwrap();
    Echo::new(Quiet::of_client(ws))
}

#[tokio::test]
async fn autobahn_finds_nothing_at_the_agents_end() {
    let Some(tools) = tools() else { return };
    let folder = folder("client");
    let exclude = exclude();
    let selection = Selection {
        exclude: &exclude,
        ..Selection::default()
    };
    let server = FuzzingServer::start(&tools, &folder, selection).unwrap();
    let count = client(&server.address, FuzzingServer::COUNT).await;
    let count: usize = count.first_text().await.unwrap().parse().unwrap();
    for number in 1..=count {
        client(&server.address, &FuzzingServer::case(number))
            .await
            .run()
            .await;
    }
    client(&server.address, FuzzingServer::REPORT)
        .await
        .run()
        .await;
    let verdicts = tokio::task::spawn_blocking(|| server.finish())
        .await
        .unwrap()
        .unwrap();
    judge(&verdicts, &folder);
}
