//! The agent's way in, cut everywhere: WebSocket upgrade, `register`, challenge, inner TLS, answer,
//! `attested`.

use ee_testbed::chaos::Direction::{self, Down, Up};

use crate::{
    agent::Way,
    calm::calm,
    sweep::{Lanes, Reach, Stream, named},
};

/// An undisturbed way in, and where its one long text lies.
async fn rehearsed(lanes: &Lanes, direction: Direction) -> Stream {
    let lane = &lanes.lanes[0];
    let mut joining = lane
        .boot
        .connect(lane.link.addr())
        .await
        .expect("undisturbed");
    joining.answer(&lane.boot).await.expect("undisturbed");
    let before = lane.passed(Up);
    let joined = joining.attested().await.expect("undisturbed");
    let total = lane.passed(direction);
    drop(joined);
    calm(&lanes.world, "the rehearsal").await;
    Stream {
        direction,
        total,
        payload: match direction {
            Up => (before, total),
            Down => (0, 0),
        },
    }
}

/// Cuts one direction of the way in.
async fn swept(way: Way, direction: Direction, reach: Reach) {
    let lanes = Lanes::start(way).await;
    let stream = rehearsed(&lanes, direction).await;
    lanes
        .sweep(
            "the way in",
            stream,
            reach,
            "/sized",
            async |_, lane, cut| {
                lane.link.set(cut.fault(0));
                let joined = lane.boot.join(lane.link.addr()).await;
                assert!(joined.is_err(), "attested: {:?}", named(lane, cut));
            },
        )
        .await;
}

#[tokio::test]
async fn way_in_cut_on_its_way_up_leaves_nothing() {
    swept(Way::InnerTls, Up, Reach::Sample).await;
}

#[tokio::test]
async fn way_in_cut_on_its_way_down_leaves_nothing() {
    swept(Way::InnerTls, Down, Reach::Sample).await;
}

/// Some 50 000 cuts.
#[tokio::test]
#[ignore = "every byte of every way in takes a quarter of an hour"]
async fn every_byte_of_every_way_in() {
    for way in [Way::InnerTls, Way::Plain, Way::Text] {
        for direction in [Up, Down] {
            swept(way, direction, Reach::All).await;
        }
    }
}
