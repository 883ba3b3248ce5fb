//! Where connections are cut, and how; and the agents that it is done to, several at a time.

use std::fmt::Debug;

use ee_testbed::{
    ChaosLink, LinkFault,
    chaos::Direction::{self, Down, Up},
};
use futures_util::future::join_all;

use crate::{
    agent::{Boot, Way, page},
    calm::calm,
    client::{Seen, ask, post},
    world::World,
};

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Both ends see a reset.
    Reset,
    /// Both ends see a clean end, which must not pass for the end of a message.
    End,
}

/// One cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub kind: Kind,
    pub direction: Direction,
    /// Bytes that still arrive.
    pub bytes: u64,
}

impl Cut {
    /// The fault of a link where so many bytes of the connection have passed before.
    pub fn fault(self, before: u64) -> LinkFault {
        let (direction, bytes) = (self.direction, before + self.bytes);
        match self.kind {
            Kind::Reset => LinkFault::CutAfter { direction, bytes },
            Kind::End => LinkFault::EndAfter { direction, bytes },
        }
    }
}

/// How much a sweep does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every byte, but of long payloads a sample; resets and clean ends in turn; now and then a
    /// look at whether all serve again.
    Sample,
    /// Every byte in both ways, and a look after each round.
    All,
}

/// Bytes of a stream, and from where to where it is one long payload.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    pub direction: Direction,
    pub total: u64,
    pub payload: (u64, u64),
}

/// Places of a long payload in a sample; each run takes the same.
const SAMPLED: u64 = 64;
/// Bytes at both ends of a payload that count as its header and its end.
const EDGE: u64 = 16;
/// In a sample, rounds from one look at everything to the next.
const LOOK_EVERY: usize = 4;

impl Stream {
    /// Where and how to cut.
    pub fn cuts(self, reach: Reach) -> Vec<Cut> {
        let kinds = |bytes: u64| match reach {
            Reach::All => vec![Kind::Reset, Kind::End],
            Reach::Sample if bytes.is_multiple_of(2) => vec![Kind::Reset],
            Reach::Sample => vec![Kind::End],
        };
        let cut = |bytes| {
            let direction = self.direction;
            kinds(bytes).into_iter().map(move |kind| Cut {
                kind,
                direction,
                bytes,
            })
        };
        (0..self.total)
            .filter(|bytes| reach == Reach::All || self.is_sampled(*bytes))
            .flat_map(cut)
            .collect()
    }

    fn is_sampled(self, bytes: u64) -> bool {
        let from = self.payload.0 + EDGE;
        let to = self.payload.1.saturating_sub(EDGE).max(from);
        // An odd distance, so that resets and ends alternate in the sample, too.
        let distance = ((to - from) / SAMPLED) | 1;
        !(from..to).contains(&bytes) || (bytes - from).is_multiple_of(distance)
    }
}

/// An agent whose way to the control plane can be cut.
pub struct Lane {
    pub app: String,
    pub link: ChaosLink,
    pub boot: Boot,
}

impl Lane {
    /// Bytes that have gone this way so far.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.link.passed(direction)
    }

    /// The agent joins and answers a request to the end.
    pub async fn serves(&self, world: &World, path: &str) {
        let joined = self.boot.join(self.link.addr()).await;
        let _serving = joined.expect("undisturbed").serve();
        let seen = ask(world.server.proxy_addr, &post(&self.app, path)).await;
        assert_eq!(seen, whole_page(), "{}", self.app);
    }
}

/// The answer to every request, in whole.
pub fn whole_page() -> Seen {
    Seen::Whole {
        status: 200,
        body: page().to_vec(),
    }
}

/// Agents whose connections are cut at the same time, so that their waits for the disk overlap.
pub struct Lanes {
    pub world: World,
    pub lanes: Vec<Lane>,
}

const LANES: usize = 8;

impl Lanes {
    pub async fn start(way: Way) -> Self {
        let world = World::start().await;
        let mut lanes = Vec::new();
        for number in 0..LANES {
            let app = format!("swept-{number}");
            lanes.push(Lane {
                link: ChaosLink::start(world.server.api_addr)
                    .await
                    .expect("a link"),
                boot: Boot::new(&app, way),
                app,
            });
        }
        Self { world, lanes }
    }

    /// Makes each cut on some lane; after every round nothing is left, and everybody serves anew.
    pub async fn sweep(
        self,
        name: &str,
        stream: Stream,
        reach: Reach,
        path: &str,
        cut: impl AsyncFn(&World, &Lane, Cut),
    ) {
        let (world, lanes) = (&self.world, &self.lanes);
        let cuts = stream.cuts(reach);
        for (number, round) in cuts.chunks(LANES).enumerate() {
            join_all(lanes.iter().zip(round).map(|(lane, at)| async {
                cut(world, lane, *at).await;
                lane.link.set(LinkFault::None);
            }))
            .await;
            calm(world, round).await;
            if reach == Reach::All || number % LOOK_EVERY == 0 {
                join_all(lanes.iter().map(|lane| lane.serves(world, path))).await;
                calm(world, (round, "served again")).await;
            }
        }
        let (direction, total) = (stream.direction, stream.total);
        eprintln!(
            "{name}, {direction:?}: {} cuts of {total} bytes",
            cuts.len()
        );
        self.world.stands().await;
    }
}

/// Bytes of either direction so far.
pub fn passed(lane: &Lane) -> [u64; 2] {
    [lane.passed(Up), lane.passed(Down)]
}

/// What a panic says of a cut.
pub fn named(lane: &Lane, cut: Cut) -> impl Debug {
    format!("{} {cut:?}", lane.app)
}
