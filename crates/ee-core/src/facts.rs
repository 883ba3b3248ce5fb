//! Facts about nodes: what a verdict rests on, and nothing else (LEDGER 7).
//!
//! Only changes are facts. A node is *covered* while two tracks are open, health and attestation;
//! a breach is an instant, a lack of standing and a wait are spans. Observers are ourselves: a
//! fact is worth as much as the observer that was alive to see it.

use std::{collections::BTreeMap, time::Duration};

use ee_protocol::time::Timestamp;

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

/// One of the two things that must hold for a node to be covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Track {
    /// Its heartbeats pass.
    Health,
    /// Its attestation is valid and young enough.
    Attestation,
}

/// What a node did wrong at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// No heartbeat in time.
    HealthTimeout,
    /// A heartbeat that says that the backend is not well.
    HealthFail,
    /// No attestation in time.
    AttestTimeout,
    /// Evidence that was refused.
    AttestRejected,
    /// Abuse that the owner authorised; it lasts as long as the report says.
    Abuse,
}

/// What we need to reach a verdict on evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// The collateral service.
    Pccs,
    /// The releases with their allowlists.
    Github,
    /// Our own queue of evidence.
    Admission,
}

/// Why a node is not in good standing. Never excused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// It is banned.
    Inactive,
    /// Less stake than its network demands.
    Stake,
    /// Its registration ended.
    Registration,
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

impl FactKind {
    /// Every kind, in the order of its code.
    pub const ALL: [Self; 16] = [
        Self::Covered(Track::Health),
        Self::Covered(Track::Attestation),
        Self::Breach(Breach::HealthTimeout),
        Self::Breach(Breach::HealthFail),
        Self::Breach(Breach::AttestTimeout),
        Self::Breach(Breach::AttestRejected),
        Self::Breach(Breach::Abuse),
        Self::Waiting(Dependency::Pccs),
        Self::Waiting(Dependency::Github),
        Self::Waiting(Dependency::Admission),
        Self::Down(Dependency::Pccs),
        Self::Down(Dependency::Github),
        Self::Down(Dependency::Admission),
        Self::Lack(Lack::Inactive),
        Self::Lack(Lack::Stake),
        Self::Lack(Lack::Registration),
    ];

    /// The stable number in tables, hashes and the journal.
    pub const fn code(self) -> u8 {
        match self {
            Self::Covered(Track::Health) => 1,
            Self::Covered(Track::Attestation) => 2,
            Self::Breach(Breach::HealthTimeout) => 10,
            Self::Breach(Breach::HealthFail) => 11,
            Self::Breach(Breach::AttestTimeout) => 12,
            Self::Breach(Breach::AttestRejected) => 13,
            Self::Breach(Breach::Abuse) => 14,
            Self::Waiting(Dependency::Pccs) => 20,
            Self::Waiting(Dependency::Github) => 21,
            Self::Waiting(Dependency::Admission) => 22,
            Self::Down(Dependency::Pccs) => 30,
            Self::Down(Dependency::Github) => 31,
            Self::Down(Dependency::Admission) => 32,
            Self::Lack(Lack::Inactive) => 40,
            Self::Lack(Lack::Stake) => 41,
            Self::Lack(Lack::Registration) => 42,
        }
    }

    /// The kind with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The word that people read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Covered(Track::Health) => "health",
            Self::Covered(Track::Attestation) => "attestation",
            Self::Breach(Breach::HealthTimeout) => "health_timeout",
            Self::Breach(Breach::HealthFail) => "health_fail",
            Self::Breach(Breach::AttestTimeout) => "attest_timeout",
            Self::Breach(Breach::AttestRejected) => "attest_rejected",
            Self::Breach(Breach::Abuse) => "abuse_authorized",
            Self::Waiting(Dependency::Pccs) => "waiting_pccs",
            Self::Waiting(Dependency::Github) => "waiting_github",
            Self::Waiting(Dependency::Admission) => "waiting_admission",
            Self::Down(Dependency::Pccs) => "pccs_down",
            Self::Down(Dependency::Github) => "github_down",
            Self::Down(Dependency::Admission) => "admission_down",
            Self::Lack(Lack::Inactive) => "node_inactive",
            Self::Lack(Lack::Stake) => "stake_missing",
            Self::Lack(Lack::Registration) => "registration_expired",
        }
    }
}

/// How a fact ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// It has not: it holds as long as its observer lives.
    Open,
    /// Somebody saw it end.
    Seen,
    /// Its observer died: it is cut at the last that is known.
    Lost,
}

impl Ending {
    /// The stable number in tables and hashes.
    pub const fn code(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Seen => 1,
            Self::Lost => 2,
        }
    }

    /// The ending with this code.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Open),
            1 => Some(Self::Seen),
            2 => Some(Self::Lost),
            _ => None,
        }
    }
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

/// One life of a process that watches nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observer {
    /// Which replica it is.
    pub replica: String,
    /// Since when it watches.
    pub started: Timestamp,
    /// All facts up to here are in.
    pub watermark: Timestamp,
    /// When it asked its nodes to go elsewhere.
    pub drained: Option<Timestamp>,
    /// How its life ended; open while it lives.
    pub ending: Ending,
}

impl Observer {
    /// Whether it lives.
    pub fn is_alive(&self) -> bool {
        self.ending == Ending::Open
    }
}

/// The observers that unsettled periods may need, by epoch.
pub type Observers = BTreeMap<Epoch, Observer>;
