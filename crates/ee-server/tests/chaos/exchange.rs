//! A request and its answer while the tunnel between agent and control plane is cut at every byte.

use ee_testbed::chaos::Direction::{self, Down, Up};

use crate::{
    agent::{Joined, Way},
    calm::calm,
    client::{Seen, UPLOAD, ask, post},
    sweep::{Cut, Lane, Lanes, Reach, Stream, named, passed, whole_page},
    world::World,
};

/// A tunnel over the link, and what its attestation has sent already.
async fn joined(lane: &Lane) -> (Joined, [u64; 2]) {
    let before = passed(lane);
    let joined = lane.boot.join(lane.link.addr()).await.expect("undisturbed");
    let after = passed(lane);
    (joined, [after[0] - before[0], after[1] - before[1]])
}

fn of(direction: Direction, both: [u64; 2]) -> u64 {
    match direction {
        Up => both[0],
        Down => both[1],
    }
}

/// The bytes of the exchange itself.
async fn rehearsed(lanes: &Lanes, direction: Direction, path: &str) -> Stream {
    let lane = &lanes.lanes[0];
    let (joined, _) = joined(lane).await;
    let before = lane.passed(direction);
    let serving = joined.serve();
    let seen = ask(lanes.world.server.proxy_addr, &post(&lane.app, path)).await;
    assert_eq!(seen, whole_page());
    let total = lane.passed(direction) - before;
    drop(serving);
    calm(&lanes.world, "the rehearsal").await;
    Stream {
        direction,
        total,
        payload: (0, 0),
    }
}

/// The cut, and what the client and the app may have seen of it.
async fn cut_off(world: &World, lane: &Lane, cut: Cut, path: &str) {
    let at = named(lane, cut);
    let (joined, before) = joined(lane).await;
    lane.boot
        .app
        .heard
        .lock()
        .expect("no panic held it")
        .clear();
    lane.link.set(cut.fault(of(cut.direction, before)));
    let serving = joined.serve();
    let seen = ask(world.server.proxy_addr, &post(&lane.app, path)).await;
    match &seen {
        Seen::Whole { status: 200, .. } => assert_eq!(seen, whole_page(), "{at:?}"),
        Seen::Whole { .. } => {
            let told = ["agent_disconnected", "no_tunnel"];
            assert!(told.contains(&seen.code().as_str()), "{at:?}: {seen:?}");
        }
        Seen::Part => {}
        Seen::Nothing => panic!("{at:?}: the client was left without a word"),
    }
    drop(serving);
    lane.boot.settled(&at).await;
    for (heard, body) in lane.boot.app.heard.lock().expect("no panic held it").iter() {
        let whole = heard == path && body[..] == UPLOAD[..];
        assert!(whole, "{at:?}: the app took a part for the whole: {body:?}");
    }
}

async fn swept(way: Way, direction: Direction, path: &str, reach: Reach) {
    let lanes = Lanes::start(way).await;
    let stream = rehearsed(&lanes, direction, path).await;
    assert!(stream.total > 300, "{}", stream.total);
    lanes
        .sweep(path, stream, reach, path, async |world, lane, cut| {
            cut_off(world, lane, cut, path).await;
        })
        .await;
}

#[tokio::test]
async fn request_cut_in_the_tunnel_is_never_half_a_success() {
    swept(Way::InnerTls, Down, "/sized", Reach::Sample).await;
}

#[tokio::test]
async fn answer_cut_in_the_tunnel_is_never_half_a_success() {
    swept(Way::InnerTls, Up, "/streamed", Reach::Sample).await;
}

#[tokio::test]
async fn request_in_text_cut_in_the_tunnel_is_never_half_a_success() {
    swept(Way::Text, Down, "/sized", Reach::Sample).await;
}

#[tokio::test]
async fn answer_in_text_cut_in_the_tunnel_is_never_half_a_success() {
    swept(Way::Text, Up, "/sized", Reach::Sample).await;
}

/// Some 15 000 cuts.
#[tokio::test]
#[ignore = "every byte of every exchange takes some minutes"]
async fn every_byte_of_every_exchange() {
    for way in [Way::InnerTls, Way::Plain, Way::Text] {
        for (direction, path) in [(Down, "/sized"), (Up, "/sized"), (Up, "/streamed")] {
            swept(way, direction, path, Reach::All).await;
        }
    }
}
