//! From facts to evidence: what was covered, what is excused, what went wrong.
//!
//! Excused is what is nobody's fault, by four rules and never by hand: (1) no observer was alive,
//! and the time to come back after one is; (2) the time to come back after the observer that held
//! the node died; (3) the same after our own drain; (4) while the node's evidence waited for a
//! dependency that is journalled as down.

use std::time::Duration;

use ee_protocol::time::Timestamp;

use super::{
    Breach, Dependency, Ending, Fact, FactKind, Lack, OUTAGE_MAX, Observers, Track,
    spans::{Span, Spans},
};
use crate::journal::{Canonical, sha256};

/// What is known of a node in a window of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The window; nothing below reaches beyond it.
    pub window: Span,
    /// While its heartbeats passed.
    pub health: Spans,
    /// While its attestation was valid.
    pub attestation: Spans,
    /// What is nobody's fault.
    pub excused: Spans,
    /// What it did wrong, and since when.
    pub breaches: Vec<(Timestamp, Breach)>,
    /// Lacks of standing.
    pub lacks: Vec<(Lack, Span)>,
}

impl Evidence {
    /// SHA-256 over all of it, so that a verdict can be traced to what it rests on.
    pub fn digest(&self) -> [u8; 32] {
        let mut bytes = Vec::new();
        write_spans(&mut bytes, &self.window.into());
        for spans in [&self.health, &self.attestation, &self.excused] {
            write_spans(&mut bytes, spans);
        }
        write_count(&mut bytes, self.breaches.len());
        for (at, breach) in &self.breaches {
            at.write(&mut bytes);
            bytes.push(breach.number());
        }
        write_count(&mut bytes, self.lacks.len());
        for (lack, span) in &self.lacks {
            bytes.push(lack.number());
            span.from().write(&mut bytes);
            span.until().write(&mut bytes);
        }
        sha256(&[b"easyenclave evidence 1\0", &bytes])
    }
}

fn write_spans(bytes: &mut Vec<u8>, spans: &Spans) {
    write_count(bytes, spans.iter().count());
    for span in spans.iter() {
        span.from().write(bytes);
        span.until().write(bytes);
    }
}

fn write_count(bytes: &mut Vec<u8>, count: usize) {
    u64::try_from(count).unwrap_or(u64::MAX).write(bytes);
}

/// Gathers the evidence about a node.
#[derive(Debug, Clone, Copy)]
pub struct Gathering<'a> {
    /// The node's facts, in any order.
    pub facts: &'a [Fact],
    /// Who watched.
    pub observers: &'a Observers,
    /// Facts of the kind [`FactKind::Down`].
    pub outages: &'a [Fact],
    /// How long a node that lost us may take to come back: the longer of health time-out and
    /// attestation deadline.
    pub comeback: Duration,
}

impl Gathering<'_> {
    /// The evidence in a window.
    pub fn evidence(&self, window: Span) -> Evidence {
        let within = Spans::from(window);
        Evidence {
            window,
            health: self.covered(Track::Health).intersection(&within),
            attestation: self.covered(Track::Attestation).intersection(&within),
            excused: self.excused(window).intersection(&within),
            breaches: self.breaches(window),
            lacks: self.lacks(window),
        }
    }

    fn covered(&self, track: Track) -> Spans {
        self.of(FactKind::Covered(track))
            .filter_map(|fact| Span::new(fact.from, fact.until))
            .collect()
    }

    fn of(&self, kind: FactKind) -> impl Iterator<Item = &Fact> {
        self.facts.iter().filter(move |fact| fact.kind == kind)
    }

    fn breaches(&self, window: Span) -> Vec<(Timestamp, Breach)> {
        let breach = |fact: &Fact| match fact.kind {
            FactKind::Breach(breach) => clip(fact, window).map(|at| (at, breach)),
            FactKind::Covered(_) | FactKind::Waiting(_) | FactKind::Down(_) | FactKind::Lack(_) => {
                None
            }
        };
        let mut breaches: Vec<_> = self.facts.iter().filter_map(breach).collect();
        breaches.sort_unstable();
        breaches
    }

    fn lacks(&self, window: Span) -> Vec<(Lack, Span)> {
        let lack = |fact: &Fact| match fact.kind {
            FactKind::Lack(lack) => Span::new(fact.from, fact.until)
                .and_then(|span| span.shared(window))
                .map(|span| (lack, span)),
            FactKind::Covered(_)
            | FactKind::Waiting(_)
            | FactKind::Down(_)
            | FactKind::Breach(_) => None,
        };
        let mut lacks: Vec<_> = self.facts.iter().filter_map(lack).collect();
        lacks.sort_unstable();
        lacks
    }

    fn excused(&self, window: Span) -> Spans {
        self.nobody_watched(window)
            .chain(self.observer_died())
            .chain(self.drained())
            .chain(self.waited())
            .collect()
    }

    /// Rule 1.
    fn nobody_watched(&self, window: Span) -> impl Iterator<Item = Span> {
        let from = window.from().before(self.comeback);
        let watched: Spans = self
            .observers
            .values()
            .filter_map(|observer| Span::new(observer.started, observer.watermark))
            .filter(|alive| alive.until() >= from)
            .collect();
        let looked_at: Spans = Span::new(from, window.until()).into_iter().collect();
        let unwatched: Vec<Span> = looked_at.minus(&watched).iter().collect();
        unwatched
            .into_iter()
            .filter_map(|gap| Span::new(gap.from(), gap.until().after(self.comeback)))
    }

    /// Rule 2. Without another replica it is a part of rule 1.
    fn observer_died(&self) -> impl Iterator<Item = Span> {
        self.facts
            .iter()
            .filter(|fact| matches!(fact.kind, FactKind::Covered(_)))
            .filter(|fact| fact.ending == Ending::Lost)
            .filter_map(|fact| self.comeback_from(fact.until))
    }

    /// Rule 3.
    fn drained(&self) -> impl Iterator<Item = Span> {
        self.facts
            .iter()
            .filter(|fact| matches!(fact.kind, FactKind::Covered(_)))
            .filter_map(|fact| {
                let drained = self.observers.get(&fact.epoch)?.drained?;
                let held = fact.from <= drained && drained <= fact.until;
                held.then(|| self.comeback_from(drained))?
            })
    }

    /// Rule 4. Beyond the end of an outage there is the time to come back, for the verdict is
    /// reached after the dependency answers.
    fn waited(&self) -> impl Iterator<Item = Span> {
        const DEPENDENCIES: [Dependency; 3] =
            [Dependency::Pccs, Dependency::Github, Dependency::Admission];
        DEPENDENCIES.into_iter().flat_map(|dependency| {
            let waiting: Spans = self
                .of(FactKind::Waiting(dependency))
                .filter_map(|fact| Span::new(fact.from, fact.until))
                .collect();
            let down: Spans = self
                .outages
                .iter()
                .filter(|fact| fact.kind == FactKind::Down(dependency))
                .filter_map(|fact| {
                    let over = fact.until.after(self.comeback);
                    Span::new(fact.from, over.min(fact.from.after(OUTAGE_MAX)))
                })
                .collect();
            waiting.intersection(&down).iter().collect::<Vec<_>>()
        })
    }

    fn comeback_from(&self, at: Timestamp) -> Option<Span> {
        Span::new(at, at.after(self.comeback))
    }
}

/// Where a breach first lies in the window.
fn clip(fact: &Fact, window: Span) -> Option<Timestamp> {
    if window.contains(fact.from) {
        return Some(fact.from);
    }
    let lasts = Span::new(fact.from, fact.until)?;
    lasts.shared(window).map(Span::from)
}
