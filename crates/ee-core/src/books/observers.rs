//! What observers say (LEDGER 7): each command names an epoch, and one that is over is told so.

use super::{
    Books, Outcome,
    command::{
        Breach, DependencyDown, DependencyUp, Drained, ObserverBeat, ObserverStart, ObserverStop,
        ReportFacts, TrackClose, TrackOpen, Waiting,
    },
    dispatch::Step,
    facts::{Life, Mark},
    refusal::Refusal,
};
use crate::{
    facts::{Epoch, spans::Span},
    observer::DependencyState,
};

impl Books {
    /// A replica begins to watch.
    pub(super) fn observer_start(&mut self, step: &Step<'_>, command: &ObserverStart) -> Outcome {
        let mark = self.mark(step);
        let ObserverStart { epoch, replica } = command;
        said(self.facts.start(mark, Epoch(*epoch), replica))
    }

    /// All facts up to the watermark are in.
    pub(super) fn observer_beat(&mut self, step: &Step<'_>, command: &ObserverBeat) -> Outcome {
        let mark = self.mark(step);
        let ObserverBeat { epoch, watermark } = *command;
        let life = self.facts.beat(mark, Epoch(epoch), watermark);
        self.facts.end_silent(step.at);
        said(life)
    }

    /// A replica stops on purpose.
    pub(super) fn observer_stop(&mut self, step: &Step<'_>, command: &ObserverStop) -> Outcome {
        let mark = self.mark(step);
        let ObserverStop { epoch, at } = *command;
        self.facts.stop(mark, Epoch(epoch), at);
        Outcome::Recorded
    }

    /// A replica asked its nodes to go elsewhere.
    pub(super) fn observer_drained(&mut self, step: &Step<'_>, command: &Drained) -> Outcome {
        let mark = self.mark(step);
        let Drained { epoch, at } = *command;
        said(self.facts.drained(mark, Epoch(epoch), at))
    }

    /// A track opens. A node that the books never heard of has no periods to cover.
    pub(super) fn track_open(&mut self, step: &Step<'_>, command: &TrackOpen) -> Outcome {
        let TrackOpen {
            epoch,
            node,
            track,
            at,
        } = command;
        let Some(node) = self.node_no(node) else {
            return Outcome::Recorded;
        };
        let mark = self.mark(step);
        said(
            self.facts
                .track_open(mark, Epoch(*epoch), (node, *track), *at),
        )
    }

    /// A track closes.
    pub(super) fn track_close(&mut self, step: &Step<'_>, command: &TrackClose) -> Outcome {
        let TrackClose {
            epoch,
            node,
            track,
            at,
        } = command;
        let Some(node) = self.node_no(node) else {
            return Outcome::Recorded;
        };
        let mark = self.mark(step);
        said(
            self.facts
                .track_close(mark, Epoch(*epoch), (node, *track), *at),
        )
    }

    /// A node did something wrong.
    pub(super) fn breach(&mut self, step: &Step<'_>, command: &Breach) -> Outcome {
        let Breach {
            epoch,
            node,
            cause,
            at,
        } = command;
        let Some(node) = self.node_no(node) else {
            return Outcome::Recorded;
        };
        let mark = self.mark(step);
        said(self.facts.breach(mark, Epoch(*epoch), (node, *cause), *at))
    }

    /// A node's evidence waits, or waits no more.
    pub(super) fn waiting(&mut self, step: &Step<'_>, command: &Waiting) -> Outcome {
        let Waiting {
            epoch,
            node,
            dependency,
            at,
        } = command;
        let Some(node) = self.node_no(node) else {
            return Outcome::Recorded;
        };
        let mark = self.mark(step);
        said(
            self.facts
                .waiting(mark, Epoch(*epoch), (node, *dependency), *at),
        )
    }

    /// A dependency went down.
    pub(super) fn dependency_down(&mut self, step: &Step<'_>, command: &DependencyDown) -> Outcome {
        let DependencyDown {
            epoch,
            dependency,
            at,
        } = *command;
        let mark = self.mark(step);
        let what = (dependency, DependencyState::Down);
        said(self.facts.dependency(mark, Epoch(epoch), what, at))
    }

    /// A dependency came back.
    pub(super) fn dependency_up(&mut self, step: &Step<'_>, command: &DependencyUp) -> Outcome {
        let DependencyUp {
            epoch,
            dependency,
            at,
        } = *command;
        let mark = self.mark(step);
        let what = (dependency, DependencyState::Up);
        said(self.facts.dependency(mark, Epoch(epoch), what, at))
    }

    /// Coverage that the uptime server vouches for: of the past only, and never against a
    /// verdict that stands.
    pub(super) fn report_facts(
        &mut self,
        step: &Step<'_>,
        command: &ReportFacts,
    ) -> Result<Outcome, Refusal> {
        let ReportFacts {
            node,
            track,
            from,
            until,
        } = command;
        let node = self.node_or_refuse(node)?;
        let mark = self.mark(step);
        if let Some(span) = Span::new(*from, (*until).min(step.at)) {
            self.facts.report(mark, node, *track, span);
            self.note_news(step, node, span);
        }
        Ok(Outcome::Recorded)
    }

    /// Up to where every living observer has told all; the epoch if none lives.
    pub fn watermark(&self) -> ee_protocol::time::Timestamp {
        match self.facts.told_until(self.head().at) {
            ee_protocol::time::Timestamp::FAR_FUTURE => ee_protocol::time::Timestamp::EPOCH,
            told => told,
        }
    }

    /// The number of the next epoch.
    pub fn next_epoch(&self) -> Epoch {
        self.facts.next_epoch()
    }

    pub(super) fn mark(&mut self, step: &Step<'_>) -> Mark {
        Mark {
            no: self.next_no(step),
            now: step.at,
        }
    }
}

const fn said(life: Life) -> Outcome {
    match life {
        Life::Alive => Outcome::Recorded,
        Life::Over => Outcome::EpochOver,
    }
}
