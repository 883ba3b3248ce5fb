//! Peers that fall silent without a word: each end finds out by its own pings, and a request in
//! text by its own time (TUNNEL 2.2 and 7).
//!
//! Time stands still but for `Seconds::pass`: the tests never wait idly, so that nothing but them
//! moves the clock.

use std::{sync::Arc, time::Duration};

use ee_control::ports::Clock;
use ee_protocol::time::Timestamp;
use ee_testbed::{
    ChaosLink, LinkFault,
    chaos::Direction::{Down, Up},
};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    agent::{Boot, Serving, Way},
    calm::calm,
    client::{Seen, ask, post},
    sweep::whole_page,
    world::{World, platform},
};

const APP: &str = "silent";
/// 30 s + 20 % to the ping, 15 s for its answer; the test's half seconds make each of the two a
/// step late.
const FOUND_WITHIN_S: u64 = 36 + 15 + 2;
/// 30 s − 20 % to the ping, 15 s for its answer, less what the tunnel had lived before.
const FOUND_AFTER_S: u64 = 24 + 15 - 2;
/// Turns of the runtime within half a second of the test's time: everything that waits for no
/// disk is done in them.
const TURNS: usize = 400;
/// Turns that the disk may take while time stands still: seconds of the machine's.
const TURNS_OF_THE_DISK: usize = 2_000_000;

/// The wall clock of a server in a test: the runtime's, from a fixed moment on.
struct Stopped {
    base: Timestamp,
    start: Instant,
}

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.base.after(self.start.elapsed())
    }
}

/// A world whose clock only the test moves.
async fn world() -> World {
    let clock = Stopped {
        base: ee_server::clock::SystemClock.now(),
        start: Instant::now(),
    };
    World::built(platform(), &[], Arc::new(clock)).await
}

/// Lets a second pass, and everything that it brings about.
async fn second() {
    // In halves: timers fire a millisecond late, and what they begin has its own.
    for _ in 0..2 {
        tokio::time::advance(Duration::from_millis(500)).await;
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }
}

/// Whole seconds until it is true; what follows the last of them may take the disk's time.
async fn seconds_until(mut condition: impl FnMut() -> bool) -> u64 {
    for seconds in 0..FOUND_WITHIN_S {
        if condition() {
            return seconds;
        }
        second().await;
    }
    for _ in 0..TURNS_OF_THE_DISK {
        if condition() {
            return FOUND_WITHIN_S;
        }
        tokio::task::yield_now().await;
    }
    panic!("not within {FOUND_WITHIN_S} s");
}

fn is_routed(world: &World) -> bool {
    world.server.state.plane.routes().counts().1 == 2
}

/// A client of its own.
fn asking(world: &World) -> JoinHandle<Seen> {
    let address = world.server.proxy_addr;
    tokio::spawn(async move { ask(address, &post(APP, "/sized")).await })
}

async fn joined(boot: &Boot, link: &ChaosLink) -> Serving {
    let joined = boot.join(link.addr()).await;
    joined.expect("undisturbed").serve()
}

/// Whoever hears nothing finds out; whoever still hears is told by the end of the connection.
async fn found(way: Way) {
    for fault in [
        LinkFault::Blackhole,
        LinkFault::HalfOpen(Up),
        LinkFault::HalfOpen(Down),
    ] {
        let world = world().await;
        let link = ChaosLink::start(world.server.api_addr)
            .await
            .expect("a link");
        let boot = Boot::new(APP, way);
        let serving = joined(&boot, &link).await;
        tokio::time::pause();
        link.set(fault);
        let (mut control, mut agent) = (None, None);
        let began = Instant::now();
        seconds_until(|| {
            let now = began.elapsed().as_secs();
            if !is_routed(&world) {
                control.get_or_insert(now);
            }
            if !serving.is_open() {
                agent.get_or_insert(now);
            }
            control.is_some() && agent.is_some()
        })
        .await;
        let first = control.min(agent);
        assert!(
            first >= Some(FOUND_AFTER_S),
            "{way:?} {fault:?}: {control:?} {agent:?}"
        );
        tokio::time::resume();
        link.set(LinkFault::None);
        drop(serving);
        calm(&world, (way, fault)).await;
        let serving = joined(&boot, &link).await;
        let seen = ask(world.server.proxy_addr, &post(APP, "/sized")).await;
        assert_eq!(seen, whole_page(), "{way:?} {fault:?}");
        drop(serving);
        world.stands().await;
    }
}

#[tokio::test]
async fn silent_peers_are_found_from_both_ends() {
    found(Way::InnerTls).await;
}

#[tokio::test]
async fn silent_peers_in_text_are_found_from_both_ends() {
    found(Way::Text).await;
}

/// What is under way when an agent falls silent ends when that is found out: never as a success.
#[tokio::test]
async fn request_of_a_silent_agent_ends_when_it_is_found() {
    let world = world().await;
    let link = ChaosLink::start(world.server.api_addr)
        .await
        .expect("a link");
    let boot = Boot::new(APP, Way::InnerTls);
    let serving = joined(&boot, &link).await;
    tokio::time::pause();
    link.set(LinkFault::Blackhole);
    let asking = asking(&world);
    let took = seconds_until(|| asking.is_finished()).await;
    let seen = asking.await.expect("no panic");
    assert_eq!(seen.code(), "agent_disconnected", "{seen:?}");
    assert!(took >= FOUND_AFTER_S, "{took}");
    tokio::time::resume();
    link.set(LinkFault::None);
    drop(serving);
    calm(&world, "the silence").await;
    world.stands().await;
}

/// A request in text waits 15 s in the queue and 15 s for its answer at most, whatever the agent
/// does.
#[tokio::test]
async fn requests_of_a_silent_agent_in_text_are_given_up_after_15_and_15_seconds() {
    let world = world().await;
    let link = ChaosLink::start(world.server.api_addr)
        .await
        .expect("a link");
    let boot = Boot::new(APP, Way::Text);
    let serving = joined(&boot, &link).await;
    tokio::time::pause();
    link.set(LinkFault::Blackhole);
    // The first is sent at once; the second after 14 s; the third waits too long.
    let mut asked = Vec::new();
    let mut ended = [None; 3];
    for now in 0..=34 {
        if asked.len() < ended.len() {
            asked.push(asking(&world));
        }
        for (asking, ended) in asked.iter().zip(&mut ended) {
            if asking.is_finished() {
                ended.get_or_insert(now);
            }
        }
        second().await;
    }
    for asking in asked {
        let seen = asking.await.expect("no panic");
        assert_eq!(seen.code(), "proxy_timeout", "{seen:?}");
        assert!(matches!(seen, Seen::Whole { status: 504, .. }), "{seen:?}");
    }
    let times = [15..=17, 29..=33, 17..=19];
    for (ended, time) in ended.iter().zip(times) {
        assert!(
            ended.is_some_and(|at| time.contains(&at)),
            "{ended:?}, not {time:?}"
        );
    }
    assert!(serving.is_open(), "pings find it later");
    tokio::time::resume();
    drop(serving);
    link.set(LinkFault::None);
    calm(&world, "the silence").await;
    world.stands().await;
}
