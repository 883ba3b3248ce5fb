//! The fields of commands about nodes, facts, verdicts, abuse and stake.

use ee_protocol::{
    account::{AccountId, ClientId, Note},
    money::{Amount, MicroUsd, Price},
    names::{Network, NodeId},
    period::Period,
    time::Timestamp,
};

use crate::books::{
    EntryId,
    rows::{BreachCause, Decision, Dependency, SlashReason, StakeTier, Track},
};

/// See [`super::Command::NodeSeen`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSeen {
    /// The node.
    pub node: NodeId,
    /// Its network.
    pub network: Network,
    /// The vCPUs that its agent registered.
    pub vcpus: Option<u32>,
    /// Its platform, for bans.
    pub platform: Option<[u8; 32]>,
    /// When its registration ends.
    pub expires_at: Timestamp,
}

/// See [`super::Command::RegisterNode`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterNode {
    /// The node.
    pub node: NodeId,
    /// Its price; absent stays.
    pub price: Option<Price>,
    /// From when the price holds; absent: now.
    pub effective_from: Option<Timestamp>,
    /// Its vCPUs; absent stays.
    pub vcpus: Option<u32>,
    /// Target of its stake (admin only); absent stays.
    pub stake: Option<MicroUsd>,
    /// Its tier (admin only); absent stays.
    pub tier: Option<StakeTier>,
    /// Whether it may exist already.
    pub allow_update: bool,
}

/// See [`super::Command::Deposit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deposit {
    /// The client's id, unique for the paying account.
    pub id: Option<ClientId>,
    /// Whose stake grows.
    pub node: NodeId,
    /// Whose wallet pays.
    pub account: AccountId,
    /// How much.
    pub amount: Amount,
}

/// See [`super::Command::Withdraw`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdraw {
    /// The client's id, unique for the node's account.
    pub id: Option<ClientId>,
    /// Whose stake shrinks.
    pub node: NodeId,
    /// How much.
    pub amount: Amount,
}

/// See [`super::Command::FileSlash`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSlash {
    /// The admin's id.
    pub id: Option<ClientId>,
    /// Whose stake.
    pub node: NodeId,
    /// Why: `attestation_fraud` takes all and bans.
    pub reason: SlashReason,
    /// What proves it.
    pub evidence: Note,
}

/// See [`super::Command::DecideSlash`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecideSlash {
    /// Which.
    pub slash: EntryId,
    /// How.
    pub decision: Decision,
    /// By whom, as a note.
    pub authorized_by: Note,
}

/// See [`super::Command::ObserverStart`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserverStart {
    /// A number that no earlier start had, and above all of them.
    pub epoch: u64,
    /// The replica.
    pub replica: ClientId,
}

/// See [`super::Command::ObserverBeat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserverBeat {
    /// Whose.
    pub epoch: u64,
    /// All facts before this instant are in.
    pub watermark: Timestamp,
}

/// See [`super::Command::ObserverStop`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserverStop {
    /// Whose.
    pub epoch: u64,
    /// When.
    pub at: Timestamp,
}

/// See [`super::Command::TrackOpen`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackOpen {
    /// Who observed.
    pub epoch: u64,
    /// The node.
    pub node: NodeId,
    /// Which track.
    pub track: Track,
    /// From when.
    pub at: Timestamp,
}

/// See [`super::Command::TrackClose`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackClose {
    /// Who observed.
    pub epoch: u64,
    /// The node.
    pub node: NodeId,
    /// Which track.
    pub track: Track,
    /// Until when it was covered.
    pub at: Timestamp,
}

/// See [`super::Command::Breach`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Who observed.
    pub epoch: u64,
    /// The node.
    pub node: NodeId,
    /// What.
    pub cause: BreachCause,
    /// When.
    pub at: Timestamp,
}

/// See [`super::Command::Waiting`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Who observed.
    pub epoch: u64,
    /// The node.
    pub node: NodeId,
    /// For what; none: it waits no more.
    pub dependency: Option<Dependency>,
    /// From when.
    pub at: Timestamp,
}

/// See [`super::Command::DependencyDown`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyDown {
    /// Who observed.
    pub epoch: u64,
    /// Which.
    pub dependency: Dependency,
    /// From when.
    pub at: Timestamp,
}

/// See [`super::Command::DependencyUp`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyUp {
    /// Who observed.
    pub epoch: u64,
    /// Which.
    pub dependency: Dependency,
    /// Until when it was down.
    pub at: Timestamp,
}

/// See [`super::Command::Drained`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// Which replica.
    pub epoch: u64,
    /// When.
    pub at: Timestamp,
}

/// See [`super::Command::ReportFacts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFacts {
    /// The node.
    pub node: NodeId,
    /// Which track.
    pub track: Track,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// See [`super::Command::FileAbuse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileAbuse {
    /// Against whom.
    pub node: NodeId,
    /// When; none: from the start of the period of its filing to its decision.
    pub period: Option<Period>,
    /// Why.
    pub reason: Note,
    /// By whom, as a note.
    pub reported_by: Note,
}

/// See [`super::Command::DecideAbuse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecideAbuse {
    /// Which.
    pub report: EntryId,
    /// How.
    pub decision: Decision,
    /// By whom, as a note.
    pub authorized_by: Note,
}

/// See [`super::Command::Finalize`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finalize {
    /// Which period.
    pub period: Period,
    /// Which node; none: all with locks in exactly that period.
    pub node: Option<NodeId>,
}
