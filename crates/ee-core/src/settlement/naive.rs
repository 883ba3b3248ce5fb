//! A judge that looks at every second by itself: slow, obvious, and the measure of the real one.

use std::{collections::BTreeSet, time::Duration};

use ee_protocol::time::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::books::rows::ObserverRow;
use crate::facts::{
    Dependency, Ending, Epoch, Fact, FactKind, OUTAGE_MAX, Observers, Track, evidence::Gathering,
};
use ee_protocol::account::ClientId;

/// Everything a verdict rests on, in whole seconds.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) facts: Vec<Fact>,
    pub(super) observers: Observers,
    pub(super) outages: Vec<Fact>,
    pub(super) comeback_s: i64,
    pub(super) window: (i64, i64),
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_seconds(second)
}

impl Case {
    pub(super) fn gathering(&self) -> Gathering<'_> {
        Gathering {
            facts: &self.facts,
            observers: &self.observers,
            outages: &self.outages,
            comeback: Duration::from_secs(self.comeback_s.unsigned_abs()),
        }
    }

    pub(super) fn window(&self) -> Span {
        Span::new(at(self.window.0), at(self.window.1)).expect("not empty")
    }

    pub(super) fn verdict(&self) -> Judgement {
        judge(&self.gathering().evidence(self.window()))
    }

    fn holds(&self, kind: FactKind, second: i64) -> bool {
        self.facts
            .iter()
            .any(|fact| fact.kind == kind && lasts(fact, second))
    }

    fn covered(&self, second: i64) -> bool {
        self.holds(FactKind::Covered(Track::Health), second)
            && self.holds(FactKind::Covered(Track::Attestation), second)
    }

    fn watched(&self, second: i64) -> bool {
        self.observers
            .values()
            .any(|o| o.started <= at(second) && at(second) < o.watermark)
    }

    fn excused(&self, second: i64) -> bool {
        let recently =
            |t: Timestamp| t <= at(second) && at(second) < at(t.unix_seconds() + self.comeback_s);
        let unwatched = (second - self.comeback_s..=second).any(|s| !self.watched(s));
        let tracks = || {
            self.facts
                .iter()
                .filter(|f| matches!(f.kind, FactKind::Covered(_)))
        };
        let died = tracks().any(|f| f.ending == Ending::Lost && recently(f.until));
        let drained = tracks().any(|f| {
            let drained = self.observers.get(&f.epoch).and_then(|o| o.drained);
            drained.is_some_and(|d| f.from <= d && d <= f.until && recently(d))
        });
        unwatched || died || drained || self.waits(second)
    }

    fn waits(&self, second: i64) -> bool {
        [Dependency::Pccs, Dependency::Github, Dependency::Admission]
            .into_iter()
            .any(|dependency| {
                self.holds(FactKind::Waiting(dependency), second)
                    && self.outages.iter().any(|outage| {
                        outage.kind == FactKind::Down(dependency)
                            && outage.from <= at(second)
                            && at(second - self.comeback_s) < outage.until
                            && at(second) < outage.from.after(OUTAGE_MAX)
                    })
            })
    }

    /// Decision, reasons, covered and excused seconds.
    pub(super) fn naive(&self) -> (Verdict, BTreeSet<Reason>, u64, u64) {
        let (mut reasons, mut covered, mut excused) = (BTreeSet::new(), 0, 0);
        for second in self.window.0..self.window.1 {
            reasons.extend(self.lacks_at(second));
            if self.covered(second) {
                covered += 1;
            } else if self.excused(second) {
                excused += 1;
            } else if self.holds(FactKind::Covered(Track::Health), second) {
                reasons.insert(Reason::AttestMiss);
            } else {
                reasons.insert(Reason::HealthMiss);
            }
            reasons.extend(self.breaches_at(second));
        }
        let length = self.window.1.abs_diff(self.window.0);
        let verdict = match (reasons.is_empty(), covered * 2 >= length) {
            (false, _) => Verdict::Fail,
            (true, true) => Verdict::Pass,
            (true, false) => Verdict::Inconclusive,
        };
        if verdict == Verdict::Inconclusive {
            reasons.insert(Reason::Inconclusive);
        }
        if verdict != Verdict::Pass && covered == 0 {
            reasons.insert(Reason::NoEvidence);
        }
        (verdict, reasons, covered, excused)
    }

    fn lacks_at(&self, second: i64) -> impl Iterator<Item = Reason> {
        [Lack::Inactive, Lack::Stake, Lack::Registration]
            .into_iter()
            .filter(move |lack| self.holds(FactKind::Lack(*lack), second))
            .map(Reason::from)
    }

    fn breaches_at(&self, second: i64) -> impl Iterator<Item = Reason> {
        self.facts.iter().filter_map(move |fact| {
            let FactKind::Breach(breach) = fact.kind else {
                return None;
            };
            let here = fact.from == at(second) || lasts(fact, second);
            let excusable = matches!(breach, Breach::HealthTimeout | Breach::AttestTimeout);
            (here && !(excusable && self.excused(second))).then(|| breach.into())
        })
    }
}

fn lasts(fact: &Fact, second: i64) -> bool {
    fact.from <= at(second) && at(second) < fact.until
}

/// Seconds that matter: the window is [40, 100).
const WINDOW: (i64, i64) = (40, 100);

fn fact(kind: FactKind) -> impl Strategy<Value = Fact> {
    (0_u64..4, 0_i64..120, 0_i64..100, 0_u8..6).prop_map(move |(epoch, from, length, ending)| {
        let fact = Fact::open(kind, Epoch(epoch), at(from));
        match ending {
            0 => fact,
            1 => fact.ended(at(from + length), Ending::Lost),
            _ => fact.ended(at(from + length), Ending::Seen),
        }
    })
}

fn instant() -> impl Strategy<Value = Fact> {
    let breach = prop_oneof![
        4 => Just(Breach::HealthTimeout),
        1 => Just(Breach::HealthFail),
        4 => Just(Breach::AttestTimeout),
        1 => Just(Breach::AttestRejected),
    ];
    (breach, 0_i64..120)
        .prop_map(|(breach, s)| Fact::instant(FactKind::Breach(breach), Epoch(1), at(s)))
}

pub(super) fn any_fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        8 => fact(FactKind::Covered(Track::Health)),
        8 => fact(FactKind::Covered(Track::Attestation)),
        2 => fact(FactKind::Waiting(Dependency::Pccs)),
        1 => fact(FactKind::Waiting(Dependency::Github)),
        1 => instant(),
        1 => fact(FactKind::Lack(Lack::Stake)).prop_filter("rare", |f| f.from > at(80)),
    ]
}

fn observer() -> impl Strategy<Value = ObserverRow> {
    (
        0_i64..120,
        0_i64..120,
        prop::option::weighted(0.3, 0_i64..100),
        any::<bool>(),
    )
        .prop_map(|(started, length, drained, alive)| ObserverRow {
            epoch: 0,
            replica: ClientId::parse("r0").expect("an id"),
            started: at(started - 20),
            watermark: at(started - 20 + length),
            drained: drained.map(at),
            ending: if alive { Ending::Open } else { Ending::Lost },
        })
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let outage = prop_oneof![
        fact(FactKind::Down(Dependency::Pccs)),
        fact(FactKind::Down(Dependency::Github)),
    ];
    (
        prop::collection::vec(any_fact(), 0..10),
        prop::collection::btree_map((1_u64..4).prop_map(Epoch), observer(), 0..4),
        prop::collection::vec(outage, 0..3),
        1_i64..20,
    )
        .prop_map(|(facts, observers, outages, comeback_s)| Case {
            facts,
            observers,
            outages,
            comeback_s,
            window: WINDOW,
        })
}
