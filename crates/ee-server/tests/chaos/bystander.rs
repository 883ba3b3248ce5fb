//! What happens to one agent never disturbs another: of the same app, or of another one. The
//! bystander carries an answer that goes on and a WebSocket meanwhile.

use std::time::Duration;

use bytes::Bytes;
use ee_testbed::{ChaosLink, LinkFault, chaos::Direction::Up};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use crate::{
    agent::{Boot, Serving, Way},
    calm::{calm, comes, in_time},
    client::{ask, post},
    sweep::whole_page,
    world::World,
};

const APP: &str = "shared";

/// An answer that goes on, and a WebSocket, through one agent.
struct InFlight {
    feed: mpsc::UnboundedSender<Bytes>,
    stream: TcpStream,
    socket: TcpStream,
    said: u8,
}

impl InFlight {
    async fn begin(world: &World, boot: &Boot, app: &str) -> Self {
        let feed = boot.feed();
        let connect = async || {
            let stream = TcpStream::connect(world.server.proxy_addr).await;
            stream.expect("connected")
        };
        let (mut stream, mut socket) = (connect().await, connect().await);
        let head =
            format!("GET /fed HTTP/1.1\r\nHost: {app}.localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        head_of(&mut stream, "HTTP/1.1 200 ").await;
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {app}.localhost\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.expect("sent");
        head_of(&mut socket, "HTTP/1.1 101 ").await;
        let mut in_flight = Self {
            feed,
            stream,
            socket,
            said: 0,
        };
        in_flight.goes_on("the beginning").await;
        in_flight
    }

    /// Both carry something new, there and back.
    async fn goes_on(&mut self, after: &str) {
        self.said += 1;
        let piece = [b'a' + self.said; 10];
        self.feed
            .send(Bytes::copy_from_slice(&piece))
            .expect("the app serves");
        let mut chunk = [0; 14];
        let heard = in_time(self.stream.read_exact(&mut chunk)).await;
        heard.unwrap_or_else(|error| panic!("the answer broke after {after}: {error}"));
        assert_eq!(chunk[..3], *b"A\r\n", "after {after}");
        assert_eq!(chunk[3..13], piece, "after {after}");
        let mut newline = [0];
        in_time(self.stream.read_exact(&mut newline))
            .await
            .expect("the chunk's end");
        self.echoes(after).await;
    }

    async fn echoes(&mut self, after: &str) {
        self.socket.write_all(&[self.said; 5]).await.expect("open");
        let mut echo = [0; 5];
        let heard = in_time(self.socket.read_exact(&mut echo)).await;
        heard.unwrap_or_else(|error| panic!("the WebSocket broke after {after}: {error}"));
        assert_eq!(echo, [self.said; 5], "after {after}");
    }

    /// The answer comes to its end as a whole.
    async fn ends(&mut self) {
        let (closed, _) = mpsc::unbounded_channel();
        drop(std::mem::replace(&mut self.feed, closed));
        let mut end = Vec::new();
        in_time(self.stream.read_to_end(&mut end))
            .await
            .expect("a clean end");
        assert_eq!(end, b"0\r\n\r\n");
    }
}

async fn head_of(stream: &mut TcpStream, begins: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(in_time(stream.read_u8()).await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("ASCII");
    assert!(head.starts_with(begins), "{head}");
}

async fn serving(boot: &Boot, link: &ChaosLink) -> Serving {
    let joined = boot.join(link.addr()).await;
    joined.expect("undisturbed").serve()
}

fn tunnels(world: &World) -> u64 {
    world.server.state.plane.routes().counts().1
}

/// What is done to the other agent, again and again; nobody else notices.
async fn disturbed(app_of_the_other: &str) {
    let world = World::start().await;
    let link = ChaosLink::start(world.server.api_addr)
        .await
        .expect("a link");
    let calm_link = ChaosLink::start(world.server.api_addr)
        .await
        .expect("a link");
    let bystander = Boot::new(APP, Way::InnerTls).with(|named| named.agent = "calm".to_owned());
    let mut stays = vec![serving(&bystander, &calm_link).await];
    let mut in_flight = InFlight::begin(&world, &bystander, APP).await;
    let other = Boot::new(app_of_the_other, Way::InnerTls);

    // Its connection is reset, before and after it was attested.
    for bytes in [100, 700, 3_000] {
        link.set(LinkFault::CutAfter {
            direction: Up,
            bytes,
        });
        assert!(other.join(link.addr()).await.is_err());
        link.set(LinkFault::None);
    }
    in_flight.goes_on("attempts that broke off").await;
    let reset = serving(&other, &link).await;
    link.set(LinkFault::Reset);
    reset.closed().await;
    link.set(LinkFault::None);
    assert!(comes(|| tunnels(&world) == 2).await);
    in_flight.goes_on("a reset").await;

    // It leaves in good order.
    let mut leaves = serving(&other, &link).await;
    leaves.leave();
    let closed = leaves.closed().await;
    assert_eq!(closed.code, Some(1001), "{closed:?}");
    in_flight.goes_on("a drain").await;

    // It falls silent and is replaced by its next boot.
    let silent = serving(&other, &link).await;
    link.set(LinkFault::Blackhole);
    let reborn = Boot::new(app_of_the_other, Way::InnerTls)
        .with(|named| named.instance = Some("another boot".to_owned()));
    stays.push(serving(&reborn, &calm_link).await);
    in_flight.goes_on("a replacement").await;
    link.set(LinkFault::None);
    let closed = silent.closed().await;
    assert_eq!(closed.reason, "replaced", "{closed:?}");
    in_flight.goes_on("the late end of the replaced").await;

    in_flight.ends().await;
    in_flight.echoes("the end of the answer").await;
    for app in [APP, app_of_the_other] {
        let seen = ask(world.server.proxy_addr, &post(app, "/sized")).await;
        assert_eq!(seen, whole_page(), "{app}");
    }
    assert!(stays.iter().all(Serving::is_open));
    drop((in_flight, stays));
    calm(&world, "all of it").await;
    world.stands().await;
}

#[tokio::test]
async fn agents_of_one_app_do_not_disturb_each_other() {
    disturbed(APP).await;
}

#[tokio::test]
async fn agents_of_two_apps_do_not_disturb_each_other() {
    disturbed("another").await;
}

/// An agent that leaves finishes what it has, WebSockets as long as they last.
#[tokio::test]
async fn agent_that_leaves_finishes_what_it_carries() {
    let world = World::start().await;
    let link = ChaosLink::start(world.server.api_addr)
        .await
        .expect("a link");
    let boot = Boot::new(APP, Way::InnerTls);
    let mut old = serving(&boot, &link).await;
    let mut in_flight = InFlight::begin(&world, &boot, APP).await;
    old.leave();
    // The next boot serves what is new; the old tunnel goes on with what it has.
    let fresh = serving(&boot, &link).await;
    for _ in 0..4 {
        let seen = ask(world.server.proxy_addr, &post(APP, "/sized")).await;
        assert_eq!(seen, whole_page());
    }
    in_flight.goes_on("the drain").await;
    in_flight.ends().await;
    in_flight.echoes("the end of the answer").await;
    assert!(old.is_open(), "a WebSocket is under way");
    drop(in_flight);
    let closed = old.closed().await;
    assert_eq!(closed.code, Some(1001), "{closed:?}");
    assert!(fresh.is_open());
    drop(fresh);
    calm(&world, "the drain").await;
    world.stands().await;
}

/// A server that stops lets answers come to their end; a WebSocket goes on until then, and then
/// ends with the tunnel under it, which is closed with 1012 (TUNNEL 10 and 11).
#[tokio::test]
async fn server_that_stops_finishes_answers_and_then_ends_websockets() {
    let world = World::with(&[("EE_DRAIN_SEC", "20")]).await;
    let link = ChaosLink::start(world.server.api_addr)
        .await
        .expect("a link");
    let boot = Boot::new(APP, Way::InnerTls);
    let serving = serving(&boot, &link).await;
    let mut in_flight = InFlight::begin(&world, &boot, APP).await;
    let address = world.server.proxy_addr;
    world.server.shutdown();
    let stopped = tokio::spawn(world.server.join());
    for _ in 0..3 {
        in_flight.goes_on("the beginning of the drain").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(serving.is_open() && !stopped.is_finished());
    let late = TcpStream::connect(address).await;
    assert!(late.is_err(), "nothing new is accepted");
    in_flight.ends().await;
    // Nobody else is waited for: the drain is over long before its limit.
    let stopped = in_time(stopped).await.expect("no panic");
    stopped.expect("nothing died");
    let mut end = Vec::new();
    let ended = in_time(in_flight.socket.read_to_end(&mut end)).await;
    assert!(ended.is_err() || end.is_empty(), "{end:?}");
    let closed = serving.closed().await;
    assert_eq!(closed.code, Some(1012), "{closed:?}");
}
