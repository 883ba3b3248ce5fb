//! Ten thousand outages of ours, each with an honest node, a slow one and one that fails by
//! itself: who is at fault is known from the script, and compared with the verdict.
//!
//! The script is not the facts: the watch sees connections and heartbeats only, and a crash takes
//! with it what was not written.

use std::time::Duration;

use ee_protocol::{account::ClientId, names::NodeId, time::Timestamp};

use super::{FactBook, Life, Mark};
use crate::{
    books::{AccountNo, EntryNo, Seq},
    facts::{Dependency, Epoch, spans::Span},
    observer::{DependencyState, FirstPass, Notice, Reach, Watch},
    registry::ProvenNode,
    settlement::{Verdict, judge},
};

const RUNS: u64 = 10_000;
/// The period judged, in seconds of the script; before it everything settles down.
const WINDOW: (i64, i64) = (100, 700);
const END: i64 = 760;
const HEALTH_TIMEOUT: i64 = 60;
const HEARTBEAT: i64 = 20;
const REATTEST: i64 = 200;
const BEAT: i64 = 5;
const RETRY: i64 = 5;
const COMEBACK: Duration = Duration::from_secs(HEALTH_TIMEOUT as u64);
const REACH: Reach = Reach {
    health: Duration::from_secs(HEALTH_TIMEOUT as u64),
    attestation: Duration::from_secs(REATTEST as u64 + 30),
};

/// SplitMix64: enough for choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, from: i64, to: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let span = (to - from).unsigned_abs();
        from + i64::try_from((z ^ (z >> 31)) % span).expect("small")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Crash,
    Drain,
    Suspended,
    DiskFull,
}

/// What goes wrong on our side and upstream, `[from, until)` in seconds.
#[derive(Debug, Clone, Copy)]
struct Outage {
    kind: Kind,
    ours: (i64, i64),
    pccs: (i64, i64),
}

/// What a node does by itself.
#[derive(Debug, Clone, Copy)]
struct Story {
    /// While it is down.
    down: (i64, i64),
    /// How long it takes to come back to us.
    delay: i64,
}

struct Agent {
    node: ProvenNode,
    story: Story,
    state: Line,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Away { back_at: i64 },
    Waiting { again_at: i64 },
    Joined { since: i64, attested_at: i64 },
}

struct World {
    book: FactBook,
    watch: Option<Watch>,
    epoch: Epoch,
    agents: Vec<Agent>,
    outage: Outage,
    seq: u64,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000 + second)
}

fn within(second: i64, (from, until): (i64, i64)) -> bool {
    (from..until).contains(&second)
}

impl World {
    fn new(outage: Outage, stories: &[Story]) -> Self {
        let agent = |(index, story): (usize, &Story)| Agent {
            node: ProvenNode::by_token(NodeId::parse(&format!("n{index}")).expect("an id")),
            story: *story,
            state: Line::Away { back_at: 1 },
        };
        Self {
            book: FactBook::default(),
            watch: None,
            epoch: Epoch::NONE,
            agents: stories.iter().enumerate().map(agent).collect(),
            outage,
            seq: 0,
        }
    }

    fn run(&mut self) {
        for second in 0..END {
            self.second(second);
        }
    }

    fn second(&mut self, second: i64) {
        let Outage { kind, ours, .. } = self.outage;
        let out = within(second, ours);
        match kind {
            Kind::Crash | Kind::Drain if second == ours.0 => self.end(kind, second),
            Kind::Crash | Kind::Drain | Kind::Suspended | Kind::DiskFull => {}
        }
        if out && kind != Kind::DiskFull {
            return;
        }
        if self.watch.is_none() {
            self.watch = Some(Watch::new(REACH, at(second)));
            for agent in &mut self.agents {
                agent.state = Line::Away {
                    back_at: second + agent.story.delay,
                };
            }
        }
        let mut watch = self.watch.take().expect("begun");
        for agent in &mut self.agents {
            agent.second(&mut watch, second, self.outage.pccs);
        }
        if second % BEAT == 0 {
            watch.beat(at(second));
        }
        self.write(&mut watch, second, out);
        self.watch = Some(watch);
    }

    /// A crash says nothing; a drain says goodbye.
    fn end(&mut self, kind: Kind, second: i64) {
        let Some(mut watch) = self.watch.take() else {
            return;
        };
        if kind == Kind::Drain {
            watch.drained(at(second));
            watch.stopped(at(second));
            self.write(&mut watch, second, false);
        }
    }

    /// Writes what was noticed; a disk that is full loses it all, and the watch hears of that.
    fn write(&mut self, watch: &mut Watch, second: i64, disk_full: bool) {
        if disk_full {
            if watch.poll().is_some() {
                watch.restart(at(second));
            }
            return;
        }
        while let Some(notice) = watch.poll() {
            if self.apply(&notice, second) == Life::Over && !matches!(notice, Notice::Stop { .. }) {
                watch.restart(at(second));
            }
        }
    }

    fn apply(&mut self, notice: &Notice, second: i64) -> Life {
        self.seq += 1;
        let no = EntryNo {
            seq: Seq(self.seq),
            idx: 0,
        };
        let mark = Mark {
            no,
            now: at(second),
        };
        let (book, epoch) = (&mut self.book, self.epoch);
        match notice {
            Notice::Start { .. } => {
                self.epoch = book.next_epoch();
                book.start(mark, self.epoch, &ClientId::parse("r0").expect("an id"))
            }
            Notice::Beat { watermark } => book.beat(mark, epoch, *watermark),
            Notice::Drained { at } => book.drained(mark, epoch, *at),
            Notice::Stop { at } => book.stop(mark, epoch, *at),
            Notice::TrackOpen { node, track, at } => {
                book.track_open(mark, epoch, (number(node), *track), *at)
            }
            Notice::TrackClose { node, track, at } => {
                book.track_close(mark, epoch, (number(node), *track), *at)
            }
            Notice::Breach { node, breach, at } => {
                book.breach(mark, epoch, (number(node), *breach), *at)
            }
            Notice::Waiting {
                node,
                dependency,
                at,
            } => book.waiting(mark, epoch, (number(node), *dependency), *at),
            Notice::Dependency {
                dependency,
                state,
                at,
            } => book.dependency(mark, epoch, (*dependency, *state), *at),
        }
    }

    fn decision(&self, agent: &Agent) -> Verdict {
        let window = Span::new(at(WINDOW.0), at(WINDOW.1)).expect("not empty");
        judge(
            &self
                .book
                .evidence(number(agent.node.id()), window, COMEBACK),
        )
        .verdict
    }
}

impl Agent {
    fn second(&mut self, watch: &mut Watch, second: i64, pccs: (i64, i64)) {
        if within(second, self.story.down) {
            if second == self.story.down.0 {
                watch.left(&self.node, at(second));
            }
            self.state = Line::Away {
                back_at: self.story.down.1 + self.story.delay,
            };
            return;
        }
        match self.state {
            Line::Away { back_at } if second >= back_at => self.attest(watch, second, pccs),
            Line::Waiting { again_at } if second >= again_at => self.attest(watch, second, pccs),
            Line::Joined { since, attested_at } => {
                if (second - since) % HEARTBEAT == 0 {
                    watch.passed(&self.node, at(second));
                }
                if second - attested_at >= REATTEST {
                    self.reattest(watch, second, (since, pccs));
                }
            }
            Line::Away { .. } | Line::Waiting { .. } => {}
        }
    }

    fn attest(&mut self, watch: &mut Watch, second: i64, pccs: (i64, i64)) {
        if within(second, pccs) {
            watch.dependency(Dependency::Pccs, DependencyState::Down, at(second));
            watch.waiting(&self.node, Dependency::Pccs, at(second));
            self.state = Line::Waiting {
                again_at: second + RETRY,
            };
            return;
        }
        watch.dependency(Dependency::Pccs, DependencyState::Up, at(second));
        watch.attested(&self.node, FirstPass::Health, at(second));
        self.state = Line::Joined {
            since: second,
            attested_at: second,
        };
    }

    fn reattest(&mut self, watch: &mut Watch, second: i64, (since, pccs): (i64, (i64, i64))) {
        if within(second, pccs) {
            watch.dependency(Dependency::Pccs, DependencyState::Down, at(second));
            watch.waiting(&self.node, Dependency::Pccs, at(second));
            return;
        }
        watch.dependency(Dependency::Pccs, DependencyState::Up, at(second));
        watch.attested(&self.node, FirstPass::AttestationOnly, at(second));
        self.state = Line::Joined {
            since,
            attested_at: second,
        };
    }
}

/// `n3` is account 3.
fn number(node: &NodeId) -> AccountNo {
    AccountNo(node.as_str()[1..].parse().expect("a number"))
}

fn outage(dice: &mut Dice) -> Outage {
    let kind = [Kind::Crash, Kind::Drain, Kind::Suspended, Kind::DiskFull];
    let kind = kind[usize::try_from(dice.roll(0, 4)).expect("small")];
    let from = dice.roll(120, 600);
    // Shorter than the silence that counts as death is no outage of a suspended machine.
    let length = dice.roll(if kind == Kind::Suspended { 40 } else { 2 }, 200);
    let pccs_from = dice.roll(100, 700);
    let pccs_length = dice.roll(0, 2) * dice.roll(5, 150);
    Outage {
        kind,
        ours: (from, from + length),
        pccs: (pccs_from, pccs_from + pccs_length),
    }
}

/// Whether nobody else can be blamed: the node was away at a second that nothing excuses.
fn is_at_fault(outage: &Outage, story: &Story) -> bool {
    let comeback = HEALTH_TIMEOUT;
    let (ours, pccs) = (outage.ours, outage.pccs);
    let away = (story.down.0 + HEALTH_TIMEOUT, story.down.1 + story.delay);
    let excused = |second: i64| {
        within(second, (ours.0 - BEAT - 1, ours.1 + comeback + BEAT))
            || within(second, (pccs.0, pccs.1 + comeback + RETRY))
    };
    story.down.0 < story.down.1
        && (away.0..away.1).any(|second| within(second, WINDOW) && !excused(second))
}

#[test]
fn ten_thousand_outages_cost_nobody_and_pay_nobody() {
    let (mut passes, mut faults, mut thin) = (0, 0, 0);
    for seed in 0..RUNS {
        let dice = &mut Dice(seed);
        let outage = outage(dice);
        let down_at = dice.roll(90, 690);
        let honest = Story {
            down: (0, 0),
            delay: dice.roll(1, HEALTH_TIMEOUT - 2 * BEAT),
        };
        let failing = Story {
            down: (down_at, down_at + dice.roll(1, 300)),
            delay: dice.roll(1, 20),
        };
        let stories = [honest, failing];
        let mut world = World::new(outage, &stories);
        world.run();
        let told = |index: usize| world.decision(&world.agents[index]);
        assert_ne!(
            told(0),
            Verdict::Fail,
            "seed {seed}: false fail in {outage:?}, {honest:?}"
        );
        thin += u64::from(told(0) == Verdict::Inconclusive);
        passes += u64::from(told(0) == Verdict::Pass);
        if is_at_fault(&outage, &failing) {
            faults += 1;
            assert_eq!(
                told(1),
                Verdict::Fail,
                "seed {seed}: not failed in {outage:?}, {failing:?}"
            );
        }
    }
    assert!(
        passes > RUNS / 2 && faults > RUNS / 4,
        "{passes} {faults} {thin}"
    );
}
