//! Rows of nodes, facts, settlements, abuse and stake.

use ee_protocol::{
    account::{ClientId, Note},
    money::{MicroUsd, Price},
    names::Network,
    period::Period,
    time::Timestamp,
};

use super::words::{
    Decision, Ending, FactKind, Reason, ReportState, SettlementState, SlashReason, StakeTier,
    Verdict,
};
use crate::books::{AccountNo, EntryNo, NodeNo, Principal, Seq};

/// `node`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Primary key: its earnings account.
    pub node: NodeNo,
    /// Its network, once seen.
    pub network: Option<Network>,
    /// vCPUs by `nodes/register`.
    pub vcpus: Option<u32>,
    /// vCPUs by its agent.
    pub agent_vcpus: Option<u32>,
    /// Its tier.
    pub tier: StakeTier,
    /// Whether `nodes/register` made it.
    pub registered: bool,
    /// Whether it is banned for ever.
    pub banned: bool,
    /// Its platform, for bans.
    pub platform: Option<[u8; 32]>,
    /// When its registration ends, once seen.
    pub expires_at: Option<Timestamp>,
    /// What its settlements paid by day, of the last 30 days: the measure of penalties.
    pub revenue: Vec<DayRevenue>,
    /// When it was first heard of.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a node earned on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRevenue {
    /// Days since the Unix epoch.
    pub day: u32,
    /// What settlements paid that day.
    pub paid: MicroUsd,
}

/// `node_price`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePriceRow {
    /// Whose.
    pub node: NodeNo,
    /// From when; with `node`, the primary key.
    pub from: Timestamp,
    /// What one vCPU costs for an hour.
    pub price: Price,
}

/// `fact`. Primary key: `no`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactRow {
    /// Which.
    pub no: EntryNo,
    /// About whom; none: about a dependency.
    pub node: Option<NodeNo>,
    /// Of what kind.
    pub kind: FactKind,
    /// From when.
    pub from: Timestamp,
    /// Until when; none: open.
    pub until: Option<Timestamp>,
    /// The number of what it concerns: a breach, a dependency, a lack; 0: nothing more.
    pub cause: u8,
    /// The observer's epoch; none: the uptime server or the books themselves.
    pub epoch: Option<u64>,
    /// How it ended.
    pub ending: Ending,
}

/// `observer`: one life of a process that watches nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserverRow {
    /// Primary key, never used again.
    pub epoch: u64,
    /// The replica.
    pub replica: ClientId,
    /// When it started.
    pub started: Timestamp,
    /// All facts before this instant are in.
    pub watermark: Timestamp,
    /// When it asked its nodes to go elsewhere.
    pub drained: Option<Timestamp>,
    /// How its life ended; open while it lives.
    pub ending: Ending,
}

/// Key of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettlementKey {
    /// Who was judged.
    pub node: NodeNo,
    /// For when.
    pub period: Period,
}

/// `settlement`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettlementRow {
    /// Primary key.
    pub key: SettlementKey,
    /// The judgement.
    pub verdict: Verdict,
    /// Why.
    pub reasons: Vec<ReasonRow>,
    /// Covered part of the period, µs, for the no-fault split.
    pub covered_us: u64,
    /// The part that was judged, µs.
    pub judged_us: u64,
    /// SHA-256 of the facts.
    pub facts_hash: [u8; 32],
    /// SHA-256 of the policy.
    pub policy_hash: [u8; 32],
    /// How far it got.
    pub state: SettlementState,
    /// The last lock that was resolved.
    pub cursor: Option<EntryNo>,
    /// How many locks paid and gave back so far.
    pub settled: u32,
    /// How many gave back all.
    pub failed: u32,
    /// What was paid.
    pub posted: MicroUsd,
    /// What was given back.
    pub returned: MicroUsd,
    /// The command that judged.
    pub seq: Seq,
    /// When it was judged.
    pub at: Timestamp,
}

/// A reason of a verdict, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonRow {
    /// Why.
    pub reason: Reason,
    /// When it first held.
    pub first: Timestamp,
    /// When it last held.
    pub last: Timestamp,
    /// How often.
    pub count: u32,
    /// How much more of the same was excused, ms.
    pub excused_ms: u64,
}

/// `abuse`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbuseRow {
    /// Primary key.
    pub no: EntryNo,
    /// When it was filed.
    pub at: Timestamp,
    /// Against whom.
    pub node: NodeNo,
    /// From when.
    pub from: Timestamp,
    /// Until when; none: until its decision.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Note,
    /// By whom, as a note.
    pub reported_by: Note,
    /// On whose behalf.
    pub actor: Principal,
    /// What became of it.
    pub state: ReportState,
    /// The decision, by whom (note and actor), when.
    pub decision: Option<DecisionRow>,
}

/// A decision on a report or slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// How.
    pub decision: Decision,
    /// By whom, as a note.
    pub authorized_by: Note,
    /// On whose behalf.
    pub actor: Principal,
    /// When.
    pub at: Timestamp,
}

/// `slash`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlashRow {
    /// Primary key.
    pub no: EntryNo,
    /// When it was filed.
    pub at: Timestamp,
    /// Whose stake.
    pub node: NodeNo,
    /// Why.
    pub reason: SlashReason,
    /// What proves it.
    pub evidence: Note,
    /// How much it takes.
    pub amount: MicroUsd,
    /// When it executes by itself; none: only when decided.
    pub due: Option<Timestamp>,
    /// What became of it.
    pub state: ReportState,
    /// The decision.
    pub decision: Option<DecisionRow>,
}

/// `unbonding`: stake on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnbondingRow {
    /// Primary key.
    pub no: EntryNo,
    /// Whose.
    pub node: NodeNo,
    /// How much is left.
    pub amount: MicroUsd,
    /// When it is free.
    pub free_at: Timestamp,
}

/// `hold`: pay that rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRow {
    /// Primary key: one hold a settlement.
    pub key: SettlementKey,
    /// How much is left.
    pub amount: MicroUsd,
    /// When it is free.
    pub free_at: Timestamp,
}

/// `claim`: what a node owes to a user, paid first from later earnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRow {
    /// Primary key.
    pub no: EntryNo,
    /// Who owes.
    pub node: NodeNo,
    /// To whom.
    pub account: AccountNo,
    /// How much is left.
    pub amount: MicroUsd,
}
