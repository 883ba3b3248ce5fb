//! What the facts say: who has told all, what is known of a node, what nothing needs any more.

use std::time::Duration;

use ee_protocol::time::Timestamp;

use super::{FactBook, FactKey, rows_of};
use crate::{
    books::NodeNo,
    facts::{
        Ending, Epoch, Fact, Observers,
        evidence::{Evidence, Gathering},
        spans::Span,
    },
    observer::SILENCE_MAX,
};

impl FactBook {
    /// Up to where every observer has told all that lives at this instant: one that was silent
    /// for too long does not.
    pub fn told_until(&self, now: Timestamp) -> Timestamp {
        let watermarks = self.alive().map(|(_, observer)| observer.watermark);
        let heard = watermarks.filter(|watermark| now.since(*watermark) <= SILENCE_MAX);
        heard.min().unwrap_or(Timestamp::FAR_FUTURE)
    }

    /// When an observer that stays silent is given up.
    pub fn silent_at(&self) -> Option<Timestamp> {
        const NEXT: Duration = Duration::from_micros(1);
        let watermarks = self.alive().map(|(_, observer)| observer.watermark);
        watermarks.min().map(|at| at.after(SILENCE_MAX).after(NEXT))
    }

    /// The number of the next epoch.
    pub fn next_epoch(&self) -> Epoch {
        let last = self.observers.iter().next_back();
        last.map_or(Epoch(1), |(epoch, _)| Epoch(epoch + 1))
    }

    /// What is known of a node in a window. `comeback` is the time that it may take to come back.
    pub fn evidence(&self, node: NodeNo, window: Span, comeback: Duration) -> Evidence {
        let about = |node| -> Vec<Fact> {
            rows_of(&self.facts, node)
                .filter_map(Fact::from_row)
                .collect()
        };
        let from = window.from().before(comeback);
        let observers: Observers = self
            .observers
            .iter()
            .filter(|(_, row)| row.watermark >= from && row.started < window.until())
            .map(|(epoch, row)| (Epoch(*epoch), row.clone()))
            .collect();
        let gathering = Gathering {
            facts: &about(Some(node)),
            observers: &observers,
            outages: &about(None),
            comeback,
        };
        gathering.evidence(window)
    }

    /// Forgets at most `most` rows that are wholly before `horizon`; the store keeps them.
    pub fn forget(&mut self, horizon: Timestamp, most: usize) -> usize {
        let old: Vec<FactKey> = self
            .facts
            .iter()
            .filter(|(_, row)| row.until.is_some_and(|until| until < horizon))
            .map(|(key, _)| *key)
            .take(most)
            .collect();
        for key in &old {
            self.facts.retire(key);
        }
        // The newest stays, for the next epoch counts from it.
        let newest = self.observers.iter().next_back().map(|(epoch, _)| *epoch);
        let dead: Vec<u64> = self
            .observers
            .iter()
            .filter(|(_, row)| row.ending != Ending::Open && row.watermark < horizon)
            .map(|(epoch, _)| *epoch)
            .filter(|epoch| Some(*epoch) != newest)
            .take(most - old.len())
            .collect();
        for epoch in &dead {
            self.observers.retire(epoch);
        }
        old.len() + dead.len()
    }
}
