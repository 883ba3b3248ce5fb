//! What the live half tells the books: from what sessions report to facts, changes only.
//!
//! Sans-IO: inputs carry their time, [`Watch::poll`] gives the notices in the order in which the
//! books must hear them. **Invariants:** every input first applies the deadlines that have passed;
//! a notice about a time up to the last beat is never made; only a [`ProvenNode`] gets facts.
//!
//! An observer that was silent too long (a suspended machine, a store that does not take writes)
//! was not alive: it begins a new epoch, and what it missed meanwhile is nobody's fault.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use ee_protocol::{names::NodeId, time::Timestamp};

use crate::{
    facts::{Breach, Dependency, Track},
    policy::LivePolicy,
    registry::ProvenNode,
};

mod notice;
#[cfg(test)]
mod tests;

pub use notice::{DependencyState, Notice};

/// Time between two beats (LEDGER 7): what a crash leaves unseen, at most.
pub const BEAT_EVERY: Duration = Duration::from_secs(5);
/// Silence after which an observer counts as dead: six beats, so that a busy disk is not a death,
/// and less than the shortest health time-out, so that our pause is never a node's miss.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The time that a pass covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Of a heartbeat.
    pub health: Duration,
    /// Of an attestation: interval and deadline.
    pub attestation: Duration,
}

impl Reach {
    /// By the operator's settings.
    pub fn of(policy: &LivePolicy) -> Self {
        Self {
            health: policy.health_timeout,
            attestation: policy.attest_interval + policy.attest_deadline(),
        }
    }
}

/// What is known of one node.
#[derive(Debug, Clone, Default)]
struct Watched {
    health_until: Option<Timestamp>,
    attested_until: Option<Timestamp>,
    waiting: Option<Dependency>,
    /// Its last heartbeat said so; another one that does is the same failure.
    failing: bool,
}

impl Watched {
    fn is_idle(&self) -> bool {
        let covered = self.health_until.is_some() || self.attested_until.is_some();
        !covered && self.waiting.is_none() && !self.failing
    }
}

/// Watches nodes, in one epoch after the other.
#[derive(Debug)]
pub struct Watch {
    reach: Reach,
    nodes: BTreeMap<NodeId, Watched>,
    down: BTreeSet<Dependency>,
    beaten: Timestamp,
    notices: VecDeque<Notice>,
}

impl Watch {
    /// Begins to watch: the first notice is a start.
    pub fn new(reach: Reach, now: Timestamp) -> Self {
        let mut watch = Self {
            reach,
            nodes: BTreeMap::new(),
            down: BTreeSet::new(),
            beaten: now,
            notices: VecDeque::new(),
        };
        watch.start(now);
        watch
    }

    /// The next notice.
    pub fn poll(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// A node was attested; a passed attestation is a pass of its health too, unless a sibling
    /// tunnel's word stands.
    pub fn attested(&mut self, node: &ProvenNode, first: FirstPass, now: Timestamp) {
        self.advance(node, now);
        self.wait(node, None, now);
        self.extend(node, Track::Attestation, now);
        if first == FirstPass::Health {
            self.extend(node, Track::Health, now);
        }
    }

    /// A heartbeat passed.
    pub fn passed(&mut self, node: &ProvenNode, now: Timestamp) {
        self.advance(node, now);
        self.extend(node, Track::Health, now);
    }

    /// A heartbeat said that the backend is not well. Repeated, it is the same failure.
    pub fn failed(&mut self, node: &ProvenNode, now: Timestamp) {
        self.advance(node, now);
        let watched = self.nodes.entry(node.id().clone()).or_default();
        let repeated = std::mem::replace(&mut watched.failing, true);
        let was_open = watched.health_until.take().is_some();
        self.close(node, Track::Health, was_open, now);
        if !repeated {
            self.breach(node, Breach::HealthFail, now);
        }
    }

    /// Evidence was refused.
    pub fn rejected(&mut self, node: &ProvenNode, now: Timestamp) {
        self.advance(node, now);
        self.wait(node, None, now);
        let mut watched = self.nodes.remove(node.id()).unwrap_or_default();
        let was_open = watched.attested_until.take().is_some();
        self.keep(node, watched);
        self.close(node, Track::Attestation, was_open, now);
        self.breach(node, Breach::AttestRejected, now);
    }

    /// Evidence came in time and waits for a dependency.
    pub fn waiting(&mut self, node: &ProvenNode, dependency: Dependency, now: Timestamp) {
        self.advance(node, now);
        self.wait(node, Some(dependency), now);
    }

    /// No session of the node is left: nothing of it can wait.
    pub fn left(&mut self, node: &ProvenNode, now: Timestamp) {
        self.advance(node, now);
        self.wait(node, None, now);
        if let Some(mut watched) = self.nodes.remove(node.id()) {
            watched.failing = false;
            self.keep(node, watched);
        }
    }

    /// A dependency was found down, or up again.
    pub fn dependency(&mut self, dependency: Dependency, state: DependencyState, now: Timestamp) {
        self.notice_silence(now);
        let changed = match state {
            DependencyState::Down => self.down.insert(dependency),
            DependencyState::Up => self.down.remove(&dependency),
        };
        if changed {
            self.notices.push_back(Notice::Dependency {
                dependency,
                state,
                at: now,
            });
        }
    }

    /// Closes what has run out and says that all is told up to now.
    pub fn beat(&mut self, now: Timestamp) {
        self.notice_silence(now);
        self.run_out(now);
        self.beaten = now;
        self.notices.push_back(Notice::Beat { watermark: now });
    }

    /// Our nodes are asked to go elsewhere.
    pub fn drained(&mut self, now: Timestamp) {
        self.beat(now);
        self.notices.push_back(Notice::Drained { at: now });
    }

    /// The end, on purpose.
    pub fn stopped(&mut self, now: Timestamp) {
        self.beat(now);
        self.notices.push_back(Notice::Stop { at: now });
    }

    /// The books did not take a notice: what was not told is lost, a new epoch begins.
    pub fn restart(&mut self, now: Timestamp) {
        self.notices.clear();
        self.start(now);
    }

    /// A new epoch: says again what still holds, and nothing of what ran out unseen.
    fn start(&mut self, now: Timestamp) {
        self.beaten = now;
        self.notices.push_back(Notice::Start { at: now });
        for &dependency in &self.down {
            let state = DependencyState::Down;
            self.notices.push_back(Notice::Dependency {
                dependency,
                state,
                at: now,
            });
        }
        for (id, node) in &mut self.nodes {
            node.health_until.take_if(|until| *until <= now);
            node.attested_until.take_if(|until| *until <= now);
            let tracks = [
                (Track::Health, node.health_until),
                (Track::Attestation, node.attested_until),
            ];
            for (track, _) in tracks.into_iter().filter(|(_, until)| until.is_some()) {
                let node = id.clone();
                self.notices.push_back(Notice::TrackOpen {
                    node,
                    track,
                    at: now,
                });
            }
            if node.waiting.is_some() {
                let (node, dependency) = (id.clone(), node.waiting);
                self.notices.push_back(Notice::Waiting {
                    node,
                    dependency,
                    at: now,
                });
            }
        }
        self.nodes.retain(|_, node| !node.is_idle());
    }

    fn notice_silence(&mut self, now: Timestamp) {
        if now.since(self.beaten) > SILENCE_MAX {
            self.start(now);
        }
    }

    fn advance(&mut self, node: &ProvenNode, now: Timestamp) {
        self.notice_silence(now);
        if let Some(mut watched) = self.nodes.remove(node.id()) {
            run_out(node.id(), &mut watched, now, &mut self.notices);
            self.keep(node, watched);
        }
    }

    fn run_out(&mut self, now: Timestamp) {
        for (id, watched) in &mut self.nodes {
            run_out(id, watched, now, &mut self.notices);
        }
        self.nodes.retain(|_, watched| !watched.is_idle());
    }

    fn keep(&mut self, node: &ProvenNode, watched: Watched) {
        if !watched.is_idle() {
            self.nodes.insert(node.id().clone(), watched);
        }
    }

    fn extend(&mut self, node: &ProvenNode, track: Track, now: Timestamp) {
        let reach = self.reach;
        let watched = self.nodes.entry(node.id().clone()).or_default();
        let (until, reach) = match track {
            Track::Health => (&mut watched.health_until, reach.health),
            Track::Attestation => (&mut watched.attested_until, reach.attestation),
        };
        let opens = until.replace(now.after(reach)).is_none();
        if track == Track::Health {
            watched.failing = false;
        }
        if opens {
            let node = node.id().clone();
            self.notices.push_back(Notice::TrackOpen {
                node,
                track,
                at: now,
            });
        }
    }

    fn close(&mut self, node: &ProvenNode, track: Track, was_open: bool, at: Timestamp) {
        if was_open {
            let node = node.id().clone();
            self.notices
                .push_back(Notice::TrackClose { node, track, at });
        }
    }

    fn breach(&mut self, node: &ProvenNode, breach: Breach, at: Timestamp) {
        let node = node.id().clone();
        self.notices.push_back(Notice::Breach { node, breach, at });
    }

    fn wait(&mut self, node: &ProvenNode, dependency: Option<Dependency>, now: Timestamp) {
        let mut watched = self.nodes.remove(node.id()).unwrap_or_default();
        if watched.waiting != dependency {
            watched.waiting = dependency;
            let id = node.id().clone();
            self.notices.push_back(Notice::Waiting {
                node: id,
                dependency,
                at: now,
            });
        }
        self.keep(node, watched);
    }
}

/// Whether an attestation is also the first pass of the node's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstPass {
    /// It is: no other tunnel has said anything.
    Health,
    /// It is not: heartbeats decide.
    AttestationOnly,
}

/// Closes the tracks of a node that have run out.
fn run_out(id: &NodeId, watched: &mut Watched, now: Timestamp, notices: &mut VecDeque<Notice>) {
    let tracks = [
        (
            Track::Health,
            Breach::HealthTimeout,
            &mut watched.health_until,
        ),
        (
            Track::Attestation,
            Breach::AttestTimeout,
            &mut watched.attested_until,
        ),
    ];
    for (track, breach, until) in tracks {
        let Some(at) = until.take_if(|until| *until <= now) else {
            continue;
        };
        notices.push_back(Notice::TrackClose {
            node: id.clone(),
            track,
            at,
        });
        // Who waits for a verdict did answer; that the pass ran out meanwhile is no breach.
        if track == Track::Health || watched.waiting.is_none() {
            notices.push_back(Notice::Breach {
                node: id.clone(),
                breach,
                at,
            });
        }
    }
}
