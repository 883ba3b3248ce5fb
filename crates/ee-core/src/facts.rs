//! Facts about nodes: what a verdict rests on, and nothing else (LEDGER 7).
//!
//! Only changes are facts. A node is *covered* while two tracks are open, health and attestation;
//! a breach is an instant, a lack of standing and a wait are spans. Observers are ourselves: a
//! fact is worth as much as the observer that was alive to see it.

use std::{collections::BTreeMap, time::Duration};

use ee_protocol::time::Timestamp;

pub use crate::books::rows::{BreachCause as Breach, Dependency, Ending, Lack, Track};
use crate::books::rows::{FactKind as RowKind, FactRow, ObserverRow};

pub mod evidence;
pub mod spans;

/// How long one outage of a dependency excuses those who wait for it. As long as the live half
/// lets a pass stand meanwhile ([`crate::eligibility::WAITING_MAX`]).
pub const OUTAGE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// One life of one observer; counted by the books from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// No session saw it: the uptime server reported it, or the books know it themselves.
    pub const NONE: Self = Self(0);
}

/// What a fact says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactKind {
    /// A track was open.
    Covered(Track),
    /// The node did something wrong.
    Breach(Breach),
    /// The node's evidence waited for this dependency.
    Waiting(Dependency),
    /// This dependency was down; about no node.
    Down(Dependency),
    /// The node was not in good standing.
    Lack(Lack),
}

/// One fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    /// What it says.
    pub kind: FactKind,
    /// The life of the observer that saw it.
    pub epoch: Epoch,
    /// Since when.
    pub from: Timestamp,
    /// Until when, exclusive: [`Timestamp::FAR_FUTURE`] while it is open. A breach of an instant
    /// ends where it begins.
    pub until: Timestamp,
    /// How it ended.
    pub ending: Ending,
}

impl Fact {
    /// Something that holds from now on.
    pub const fn open(kind: FactKind, epoch: Epoch, from: Timestamp) -> Self {
        Self {
            kind,
            epoch,
            from,
            until: Timestamp::FAR_FUTURE,
            ending: Ending::Open,
        }
    }

    /// Something that happened at one instant.
    pub const fn instant(kind: FactKind, epoch: Epoch, at: Timestamp) -> Self {
        Self {
            kind,
            epoch,
            from: at,
            until: at,
            ending: Ending::Seen,
        }
    }

    /// Something that is over.
    pub const fn past(kind: FactKind, epoch: Epoch, span: spans::Span) -> Self {
        Self {
            kind,
            epoch,
            from: span.from(),
            until: span.until(),
            ending: Ending::Seen,
        }
    }

    /// The same fact, ended; never before it began.
    #[must_use]
    pub fn ended(mut self, until: Timestamp, ending: Ending) -> Self {
        self.until = until.max(self.from);
        self.ending = ending;
        self
    }
}

impl FactKind {
    /// How a row says it: kind and cause.
    pub const fn columns(self) -> (RowKind, u8) {
        match self {
            Self::Covered(Track::Health) => (RowKind::Health, 0),
            Self::Covered(Track::Attestation) => (RowKind::Attestation, 0),
            Self::Breach(breach) => (RowKind::Breach, breach.number()),
            Self::Waiting(dependency) => (RowKind::Waiting, dependency.number()),
            Self::Down(dependency) => (RowKind::DependencyDown, dependency.number()),
            Self::Lack(lack) => (RowKind::Lack, lack.number()),
        }
    }

    /// What a row says; none for a cause that no row has.
    pub fn from_columns(kind: RowKind, cause: u8) -> Option<Self> {
        match kind {
            RowKind::Health => Some(Self::Covered(Track::Health)),
            RowKind::Attestation => Some(Self::Covered(Track::Attestation)),
            RowKind::Breach => Breach::from_number(cause).map(Self::Breach),
            RowKind::Waiting => Dependency::from_number(cause).map(Self::Waiting),
            RowKind::DependencyDown => Dependency::from_number(cause).map(Self::Down),
            RowKind::Lack => Lack::from_number(cause).map(Self::Lack),
        }
    }
}

impl Fact {
    /// The fact that a row keeps; none for a row that the books never write.
    pub fn from_row(row: &FactRow) -> Option<Self> {
        Some(Self {
            kind: FactKind::from_columns(row.kind, row.cause)?,
            epoch: Epoch(row.epoch.unwrap_or(Epoch::NONE.0)),
            from: row.from,
            until: row.until.unwrap_or(Timestamp::FAR_FUTURE),
            ending: row.ending,
        })
    }
}

/// The observers that unsettled periods may need, by epoch.
pub type Observers = BTreeMap<Epoch, ObserverRow>;
