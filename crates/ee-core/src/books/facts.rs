//! The facts of unsettled periods and who watched (LEDGER 7), as the books keep them.
//!
//! **Invariants:** a fact is never about a time before its observer's watermark, nor after the
//! books' own time; only an epoch that lives adds facts; the end of an epoch closes all that it
//! left open, at its watermark. Times outside of these bounds are moved to them, for a clock that
//! strays must not rewrite what was said.

use ee_protocol::{account::ClientId, time::Timestamp};

use super::{
    EntryNo, NodeNo, Seq,
    rows::{FactRow, ObserverRow},
    table::Table,
};
use crate::{
    facts::{Breach, Dependency, Ending, Epoch, Fact, FactKind, Lack, Track, spans::Span},
    observer::{DependencyState, SILENCE_MAX},
};

mod questions;
#[cfg(test)]
mod simulation;

/// Facts kept of one node: one that changes its mind every quarter of an hour for five weeks.
/// Beyond it nothing is added: a node that flaps so is not covered, which only ever costs itself.
const FACTS_PER_NODE_MAX: usize = 4_096;

/// About whom (none: about all of them) and by which command: one node's facts are one range.
pub type FactKey = (Option<NodeNo>, EntryNo);

/// Facts and observers that an unsettled period may need.
#[derive(Debug, Clone, Default)]
pub struct FactBook {
    /// The facts.
    pub facts: Table<FactKey, FactRow>,
    /// Who watched.
    pub observers: Table<u64, ObserverRow>,
}

/// Whether an observer may add facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It may.
    Alive,
    /// Its epoch is over: it has to begin a new one.
    Over,
}

/// The command that makes a fact.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    /// The number of the row, if it makes one.
    pub no: EntryNo,
    /// The books' time.
    pub now: Timestamp,
}

impl FactBook {
    /// A replica begins to watch: whatever an earlier life of it left open is cut. The number
    /// of an epoch is never used again.
    pub fn start(&mut self, mark: Mark, epoch: Epoch, replica: &ClientId) -> Life {
        let last = self.observers.iter().next_back();
        if last.is_some_and(|(last, _)| *last >= epoch.0) || epoch == Epoch::NONE {
            return Life::Over;
        }
        let earlier: Vec<Epoch> = self
            .alive()
            .filter(|(_, observer)| observer.replica == *replica)
            .map(|(epoch, _)| epoch)
            .collect();
        for epoch in earlier {
            self.end(epoch, Ending::Lost, None);
        }
        let observer = ObserverRow {
            epoch: epoch.0,
            replica: replica.clone(),
            started: mark.now,
            watermark: mark.now,
            drained: None,
            ending: Ending::Open,
        };
        self.observers.insert(epoch.0, observer);
        Life::Alive
    }

    /// All facts up to the watermark are in, unless the observer was silent for too long.
    pub fn beat(&mut self, mark: Mark, epoch: Epoch, watermark: Timestamp) -> Life {
        let Some(observer) = self.living(epoch) else {
            return Life::Over;
        };
        if watermark.since(observer.watermark) > SILENCE_MAX {
            self.end(epoch, Ending::Lost, None);
            return Life::Over;
        }
        let watermark = watermark.min(mark.now).max(observer.watermark);
        if let Some(observer) = self.observers.get_mut(&epoch.0) {
            observer.watermark = watermark;
        }
        Life::Alive
    }

    /// The observer asked its nodes to go elsewhere.
    pub fn drained(&mut self, mark: Mark, epoch: Epoch, at: Timestamp) -> Life {
        let Some(at) = self.when(mark, epoch, at) else {
            return Life::Over;
        };
        if let Some(observer) = self.observers.get_mut(&epoch.0) {
            observer.drained.get_or_insert(at);
        }
        Life::Alive
    }

    /// The observer ends on purpose; a stop is a drain at the latest.
    pub fn stop(&mut self, mark: Mark, epoch: Epoch, at: Timestamp) -> Life {
        let Some(at) = self.when(mark, epoch, at) else {
            return Life::Over;
        };
        let _known_alive = self.drained(mark, epoch, at);
        self.end(epoch, Ending::Seen, Some(at));
        Life::Over
    }

    /// A track opens; one that is open stays so.
    pub fn track_open(
        &mut self,
        mark: Mark,
        epoch: Epoch,
        (node, track): (NodeNo, Track),
        at: Timestamp,
    ) -> Life {
        self.open(mark, epoch, (Some(node), FactKind::Covered(track)), at)
    }

    /// A track closes; one that is closed stays so.
    pub fn track_close(
        &mut self,
        mark: Mark,
        epoch: Epoch,
        (node, track): (NodeNo, Track),
        at: Timestamp,
    ) -> Life {
        self.close(mark, epoch, (Some(node), FactKind::Covered(track)), at)
    }

    /// A node did something wrong. A time-out that another observer does not see is none.
    pub fn breach(
        &mut self,
        mark: Mark,
        epoch: Epoch,
        (node, breach): (NodeNo, Breach),
        at: Timestamp,
    ) -> Life {
        let Some(at) = self.when(mark, epoch, at) else {
            return Life::Over;
        };
        let track = match breach {
            Breach::HealthTimeout => Some(Track::Health),
            Breach::AttestTimeout => Some(Track::Attestation),
            Breach::HealthFail | Breach::AttestRejected | Breach::Abuse => None,
        };
        let held_elsewhere = track.is_some_and(|track| {
            let kind = FactKind::Covered(track);
            open_facts(&self.facts, Some(node), kind).any(|row| row.epoch != Some(epoch.0))
        });
        if !held_elsewhere {
            self.add(
                mark,
                Some(node),
                Fact::instant(FactKind::Breach(breach), epoch, at),
            );
        }
        Life::Alive
    }

    /// A node's evidence waits for a dependency, or for none any more.
    pub fn waiting(
        &mut self,
        mark: Mark,
        epoch: Epoch,
        (node, dependency): (NodeNo, Option<Dependency>),
        at: Timestamp,
    ) -> Life {
        for other in Dependency::ALL.iter().copied() {
            if Some(other) != dependency {
                self.close(mark, epoch, (Some(node), FactKind::Waiting(other)), at);
            }
        }
        match dependency {
            Some(dependency) => {
                self.open(mark, epoch, (Some(node), FactKind::Waiting(dependency)), at)
            }
            None => self.life(epoch),
        }
    }

    /// A dependency goes down or comes back.
    pub fn dependency(
        &mut self,
        mark: Mark,
        epoch: Epoch,
        (dependency, state): (Dependency, DependencyState),
        at: Timestamp,
    ) -> Life {
        let what = (None, FactKind::Down(dependency));
        match state {
            DependencyState::Down => self.open(mark, epoch, what, at),
            DependencyState::Up => self.close(mark, epoch, what, at),
        }
    }

    /// Coverage that the uptime server vouches for; the union counts, so a repeat is harmless.
    pub fn report(&mut self, mark: Mark, node: NodeNo, track: Track, span: Span) {
        self.add(
            mark,
            Some(node),
            Fact::past(FactKind::Covered(track), Epoch::NONE, span),
        );
    }

    /// Abuse that the owner authorised, for as long as the report says.
    pub fn abuse(&mut self, mark: Mark, node: NodeNo, span: Span) {
        let kind = FactKind::Breach(Breach::Abuse);
        self.add(mark, Some(node), Fact::past(kind, Epoch::NONE, span));
    }

    /// A node's registration had ended before it was renewed.
    pub fn unregistered(&mut self, mark: Mark, node: NodeNo, span: Span) {
        let kind = FactKind::Lack(Lack::Registration);
        self.add(mark, Some(node), Fact::past(kind, Epoch::NONE, span));
    }

    /// Says whether a node lacks something from now on.
    pub fn standing(&mut self, mark: Mark, node: NodeNo, lack: Lack, holds: Standing) {
        let kind = FactKind::Lack(lack);
        let open = open_facts(&self.facts, Some(node), kind).next().map(key_of);
        match (open, holds) {
            (None, Standing::Lacking) => {
                self.add(mark, Some(node), Fact::open(kind, Epoch::NONE, mark.now));
            }
            (Some(key), Standing::Good) => self.end_fact(key, mark.now, Ending::Seen),
            (Some(_), Standing::Lacking) | (None, Standing::Good) => {}
        }
    }

    /// Ends the epochs of which nothing was heard for too long.
    pub fn end_silent(&mut self, now: Timestamp) {
        let silent: Vec<Epoch> = self
            .alive()
            .filter(|(_, observer)| now.since(observer.watermark) > SILENCE_MAX)
            .map(|(epoch, _)| epoch)
            .collect();
        for epoch in silent {
            self.end(epoch, Ending::Lost, None);
        }
    }

    fn alive(&self) -> impl Iterator<Item = (Epoch, &ObserverRow)> {
        alive(&self.observers)
    }

    fn living(&self, epoch: Epoch) -> Option<&ObserverRow> {
        self.observers
            .get(&epoch.0)
            .filter(|observer| observer.ending == Ending::Open)
    }

    fn life(&self, epoch: Epoch) -> Life {
        match self.living(epoch) {
            Some(_) => Life::Alive,
            None => Life::Over,
        }
    }

    /// When something was, within what its observer may still say; none if it may say nothing.
    fn when(&self, mark: Mark, epoch: Epoch, at: Timestamp) -> Option<Timestamp> {
        let observer = self.living(epoch)?;
        Some(at.min(mark.now).max(observer.watermark))
    }

    fn open(
        &mut self,
        mark: Mark,
        epoch: Epoch,
        (node, kind): (Option<NodeNo>, FactKind),
        at: Timestamp,
    ) -> Life {
        let Some(at) = self.when(mark, epoch, at) else {
            return Life::Over;
        };
        let is_held = open_facts(&self.facts, node, kind).any(|row| row.epoch == Some(epoch.0));
        if !is_held {
            self.add(mark, node, Fact::open(kind, epoch, at));
        }
        Life::Alive
    }

    fn close(
        &mut self,
        mark: Mark,
        epoch: Epoch,
        (node, kind): (Option<NodeNo>, FactKind),
        at: Timestamp,
    ) -> Life {
        let Some(at) = self.when(mark, epoch, at) else {
            return Life::Over;
        };
        let open = open_facts(&self.facts, node, kind).find(|row| row.epoch == Some(epoch.0));
        if let Some(key) = open.map(key_of) {
            self.end_fact(key, at, Ending::Seen);
        }
        Life::Alive
    }

    fn end(&mut self, epoch: Epoch, ending: Ending, at: Option<Timestamp>) {
        let Some(observer) = self.observers.get_mut(&epoch.0) else {
            return;
        };
        let at = at.unwrap_or(observer.watermark);
        observer.watermark = at;
        observer.ending = ending;
        let left_open: Vec<FactKey> = self
            .facts
            .iter()
            .filter(|(_, row)| row.epoch == Some(epoch.0) && row.ending == Ending::Open)
            .map(|(key, _)| *key)
            .collect();
        for key in left_open {
            self.end_fact(key, at, ending);
        }
    }

    fn end_fact(&mut self, key: FactKey, at: Timestamp, ending: Ending) {
        if let Some(row) = self.facts.get_mut(&key) {
            row.until = Some(at.max(row.from));
            row.ending = ending;
        }
    }

    fn add(&mut self, mark: Mark, node: Option<NodeNo>, fact: Fact) {
        let (kind, cause) = fact.kind.columns();
        let row = FactRow {
            no: mark.no,
            node,
            kind,
            from: fact.from,
            until: (fact.ending != Ending::Open).then_some(fact.until),
            cause,
            epoch: (fact.epoch != Epoch::NONE).then_some(fact.epoch.0),
            ending: fact.ending,
        };
        let is_bounded = !matches!(
            fact.kind,
            FactKind::Lack(_) | FactKind::Breach(Breach::Abuse)
        );
        if is_bounded && rows_of(&self.facts, node).count() >= FACTS_PER_NODE_MAX {
            return;
        }
        self.facts.insert((node, mark.no), row);
    }
}

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing lacks.
    Good,
    /// It does.
    Lacking,
}

fn alive(observers: &Table<u64, ObserverRow>) -> impl Iterator<Item = (Epoch, &ObserverRow)> {
    observers
        .iter()
        .map(|(epoch, observer)| (Epoch(*epoch), observer))
        .filter(|(_, observer)| observer.ending == Ending::Open)
}

fn rows_of(
    facts: &Table<FactKey, FactRow>,
    node: Option<NodeNo>,
) -> impl Iterator<Item = &FactRow> {
    let bound = |seq, idx| (node, EntryNo { seq: Seq(seq), idx });
    facts
        .range(bound(0, 0)..=bound(u64::MAX, u32::MAX))
        .map(|(_, row)| row)
}

fn open_facts(
    facts: &Table<FactKey, FactRow>,
    node: Option<NodeNo>,
    kind: FactKind,
) -> impl Iterator<Item = &FactRow> {
    let columns = kind.columns();
    rows_of(facts, node)
        .filter(move |row| row.ending == Ending::Open && (row.kind, row.cause) == columns)
}

const fn key_of(row: &FactRow) -> FactKey {
    (row.node, row.no)
}
