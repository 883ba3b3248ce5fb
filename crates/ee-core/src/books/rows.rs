//! The rows of the books, one struct a table of LEDGER 12. What the store keeps, the books hold.

use std::cmp::Ordering;

use ee_protocol::{
    account::{AccountName, ClientId, Note},
    money::{MicroUsd, Price, VcpuMicros},
    names::{AppName, Network},
    period::Period,
    time::Timestamp,
};

use super::{
    command::UsageIdentity,
    ids::{AccountNo, ClientKey, EntryId, EntryNo, Fingerprint, NodeNo, Seq},
    outcome::Outcome,
    policy::Policy,
    principal::Principal,
    refusal::Refusal,
};

/// A closed set of words with a number for the journal and the store.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $number,)+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its number in the journal and the store, for ever.
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The value of this number.
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.number() == number)
            }

            /// Its word outside.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words!(
    /// What an account is for.
    AccountKind {
        /// Neither user nor node so far: a transfer opened it.
        Unfixed = 1 "unfixed",
        /// A user's wallet.
        User = 2 "user",
        /// A node's earnings.
        Node = 3 "node",
        /// A node's pay that rests.
        Held = 4 "held",
        /// A node's stake.
        Stake = 5 "stake",
        /// A node's stake on its way out.
        Unbonding = 6 "unbonding",
        /// `sys:slash_pool`.
        Pool = 7 "pool",
        /// Where money comes from and goes to: may be negative.
        Contra = 8 "contra",
    }
);

words!(
    /// What a transfer is.
    TransferKind {
        /// Credits are minted.
        Purchase = 1 "purchase",
        /// A person moves credits.
        Transfer = 2 "transfer",
        /// Credits are set aside: moves nothing yet.
        Lock = 3 "lock",
        /// A lock pays.
        Settle = 4 "settle",
        /// A lock gives back: moves nothing.
        Refund = 5 "refund",
        /// A lock ends unsettled: moves nothing.
        Expire = 6 "expire",
        /// Held pay becomes earnings.
        HoldRelease = 7 "hold_release",
        /// Wallet to stake.
        StakeDeposit = 8 "stake_deposit",
        /// Stake from outside, by an admin.
        ExternalStake = 9 "external_stake",
        /// Stake to unbonding.
        UnbondBegin = 10 "unbond_begin",
        /// Unbonding to wallet.
        UnbondRelease = 11 "unbond_release",
        /// Stake to the slash pool.
        Slash = 12 "slash",
        /// Pay of a failed period back to users.
        Clawback = 13 "clawback",
        /// A debt paid from later earnings.
        ClaimPayment = 14 "claim_payment",
        /// Credits leave the books.
        Payout = 15 "payout",
        /// An admin's correction.
        Adjust = 16 "adjust",
    }
);

words!(
    /// What a pass pays.
    LockMode {
        /// The charge of the meter.
        Metered = 1 "metered",
        /// All of it.
        Reserved = 2 "reserved",
    }
);

words!(
    /// What became of a lock.
    LockState {
        /// Neither paid nor given back.
        Open = 1 "open",
        /// A verdict resolved it.
        Settled = 2 "settled",
        /// Given back before it started.
        Released = 3 "released",
        /// Its deadline passed without verdict.
        Expired = 4 "expired",
    }
);

words!(
    /// How far a usage report got.
    UsageState {
        /// Its charge is locked or paid.
        Collected = 1 "collected",
        /// The payer had no funds: nothing is owed, it stays for the record.
        Uncollected = 2 "uncollected",
    }
);

words!(
    /// The promise that a node's stake backs.
    StakeTier {
        /// 99.999 %.
        Premium = 1 "premium",
        /// 99.99 %.
        Standard = 2 "standard",
        /// 99.9 %.
        Economy = 3 "economy",
    }
);

words!(
    /// One of the two tracks of coverage.
    Track {
        /// Health.
        Health = 1 "health",
        /// Attestation.
        Attestation = 2 "attestation",
    }
);

words!(
    /// A breach.
    BreachCause {
        /// No pass in time.
        HealthTimeout = 1 "health_timeout",
        /// The agent said `fail`.
        HealthFail = 2 "health_fail",
        /// No attestation in time.
        AttestTimeout = 3 "attest_timeout",
        /// An attestation was rejected.
        AttestRejected = 4 "attest_rejected",
        /// Abuse was authorised.
        Abuse = 5 "abuse_authorized",
    }
);

words!(
    /// Something without which no verdict on evidence is possible.
    Dependency {
        /// Intel's collateral.
        Pccs = 1 "pccs",
        /// GitHub.
        Github = 2 "github",
        /// Our own admission queue.
        Admission = 3 "admission",
    }
);

words!(
    /// A kind of fact; what it concerns is its cause.
    FactKind {
        /// The health track was covered.
        Health = 1 "health",
        /// The attestation track was covered.
        Attestation = 2 "attestation",
        /// A breach.
        Breach = 3 "breach",
        /// The node waited for a dependency.
        Waiting = 4 "waiting",
        /// A dependency was down; no node.
        DependencyDown = 5 "dependency_down",
        /// The node was not in good standing.
        Lack = 6 "lack",
    }
);

words!(
    /// The judgement of a period.
    Verdict {
        /// The node did its part.
        Pass = 1 "pass",
        /// It did not.
        Fail = 2 "fail",
        /// Nobody's fault, too little seen.
        Inconclusive = 3 "inconclusive",
    }
);

words!(
    /// Why a period failed or could not be judged (LEDGER 7).
    Reason {
        /// No such node.
        NodeNotFound = 1 "node_not_found",
        /// The node took no part.
        NodeInactive = 2 "node_inactive",
        /// An attestation was rejected.
        AttestationInvalid = 3 "attestation_invalid",
        /// The agent said `fail`.
        HealthFail = 4 "health_fail",
        /// Less stake than its network demands.
        StakeMissing = 5 "stake_missing",
        /// Health was not covered.
        HealthMiss = 6 "health_miss",
        /// Attestation was not covered.
        AttestMiss = 7 "attest_miss",
        /// Abuse was authorised.
        AbuseAuthorized = 8 "abuse_authorized",
        /// Nothing was seen.
        NoEvidence = 9 "no_evidence",
        /// Its registration ended.
        RegistrationExpired = 10 "registration_expired",
        /// Too little was seen.
        Inconclusive = 11 "inconclusive",
    }
);

words!(
    /// Why a node is not in good standing. Never excused.
    Lack {
        /// It is banned.
        Inactive = 1 "node_inactive",
        /// Less stake than its network demands.
        Stake = 2 "stake_missing",
        /// Its registration ended.
        Registration = 3 "registration_expired",
    }
);

words!(
    /// How a fact, or the life of an observer, ended.
    Ending {
        /// It has not: a fact holds as long as its observer lives.
        Open = 1 "open",
        /// Somebody saw it end.
        Seen = 2 "seen",
        /// The observer died: cut at the last that is known.
        Lost = 3 "lost",
    }
);

words!(
    /// How far a settlement got.
    SettlementState {
        /// Judged, locks are being resolved.
        Settling = 1 "settling",
        /// No lock is left.
        Settled = 2 "settled",
        /// Inconclusive: facts may still come until the deadline.
        Awaiting = 3 "awaiting",
    }
);

words!(
    /// What became of an abuse report or a slash.
    ReportState {
        /// Undecided.
        Pending = 1 "pending",
        /// It is so.
        Authorized = 2 "authorized",
        /// It is not.
        Denied = 3 "denied",
        /// It was so, until a later record said otherwise.
        Overturned = 4 "overturned",
    }
);

words!(
    /// What was decided on a report or slash.
    Decision {
        /// It is so.
        Authorize = 1 "authorize",
        /// It is not.
        Deny = 2 "deny",
        /// What was authorised was wrong; moves no money.
        Overturn = 3 "overturn",
    }
);

words!(
    /// Why stake is taken.
    SlashReason {
        /// A breach, and the app's lock went to another node: filed automatically.
        DowntimeMigration = 1 "downtime_migration",
        /// Takes all and bans for ever.
        AttestationFraud = 2 "attestation_fraud",
    }
);

/// `account`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// Primary key.
    pub no: AccountNo,
    /// Its name, unique.
    pub name: AccountName,
    /// What it is for.
    pub kind: AccountKind,
    /// Sum of credits minus sum of debits.
    pub posted: MicroUsd,
    /// Sum of the open locks that it pays.
    pub debits_pending: MicroUsd,
    /// Sum of the open locks that would pay it.
    pub credits_pending: MicroUsd,
}

/// `transfer`: appended, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferRow {
    /// Primary key and, with `at`, the id.
    pub no: EntryNo,
    /// What it is.
    pub kind: TransferKind,
    /// Who pays.
    pub debit: AccountNo,
    /// Who is paid.
    pub credit: AccountNo,
    /// More than nothing.
    pub amount: MicroUsd,
    /// The lock that this resolves.
    pub pending: Option<EntryNo>,
    /// The client's id.
    pub client_id: Option<ClientId>,
    /// What it refers to: an external payment, an app, a report.
    pub reference: Option<Note>,
    /// On whose behalf.
    pub actor: Principal,
    /// When.
    pub at: Timestamp,
}

impl TransferRow {
    /// The id that people see.
    pub const fn id(&self) -> EntryId {
        EntryId::new(self.at, self.no)
    }
}

/// Key of a meter. Ordered by period (its end first), node and account: a settlement reads one
/// range, and the oldest come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MeterKey {
    /// Who computes.
    pub node: NodeNo,
    /// When.
    pub period: Period,
    /// Who pays.
    pub account: AccountNo,
}

impl Ord for MeterKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = |key: &Self| {
            let Self {
                node,
                period,
                account,
            } = *key;
            (period.end_ms(), period.start_ms(), node, account)
        };
        order(self).cmp(&order(other))
    }
}

impl PartialOrd for MeterKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `meter`: one account on one node in one period. Invariant: `posted <= metered + reserved`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterRow {
    /// Primary key.
    pub key: MeterKey,
    /// Price when it began.
    pub price: Price,
    /// Cumulative use.
    pub used: VcpuMicros,
    /// Sum of its metered locks, resolved ones too, released ones not.
    pub metered: MicroUsd,
    /// Sum of its reserved locks, likewise.
    pub reserved: MicroUsd,
    /// What its locks have paid.
    pub posted: MicroUsd,
    /// What of that was clawed back.
    pub clawed_back: MicroUsd,
}

/// `lock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRow {
    /// Primary key; the transfer of kind `lock` has the same.
    pub no: EntryNo,
    /// When it was made: with `no`, its id.
    pub at: Timestamp,
    /// Which meter it backs.
    pub meter: MeterKey,
    /// From when, within the period.
    pub from_ms: i64,
    /// How many vCPUs it holds; 0 for a shortfall of usage.
    pub vcpus: u32,
    /// What a pass pays.
    pub mode: LockMode,
    /// What is set aside.
    pub amount: MicroUsd,
    /// What of that was paid.
    pub posted: MicroUsd,
    /// What became of it.
    pub state: LockState,
    /// When it ends unsettled.
    pub expires_at: Timestamp,
    /// The app that it is for.
    pub app: Option<AppName>,
}

impl LockRow {
    /// The id that people see.
    pub const fn id(&self) -> EntryId {
        EntryId::new(self.at, self.no)
    }
}

/// `usage`: appended, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// Primary key.
    pub no: EntryNo,
    /// When it came.
    pub at: Timestamp,
    /// Which meter.
    pub meter: MeterKey,
    /// What makes it unrepeatable.
    pub identity: UsageIdentity,
    /// As reported.
    pub used: VcpuMicros,
    /// The charge that it added.
    pub charge: MicroUsd,
    /// The lock that it made, if it needed one.
    pub lock: Option<EntryNo>,
    /// How far it got.
    pub state: UsageState,
}

/// `payer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayerRow {
    /// Primary key.
    pub app: AppName,
    /// Who pays.
    pub account: AccountNo,
    /// How many vCPUs on each node.
    pub vcpus: u32,
    /// The highest price per vCPU-hour.
    pub price_max: Option<Price>,
    /// On how many nodes at once.
    pub nodes_max: u32,
    /// When it was bound.
    pub since: Timestamp,
}

/// `client`: what came under an id that a client chose, kept for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    /// Primary key.
    pub key: ClientKey,
    /// Of the fields that came with it.
    pub fingerprint: Fingerprint,
    /// The command that decided it.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// What was answered, and is answered again.
    pub result: Result<Outcome, Refusal>,
}

/// `request`: what came under an idempotency key, kept 30 days. Written by the sequencer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// Primary key.
    pub key: super::known::RequestKey,
    /// Of the command.
    pub fingerprint: Fingerprint,
    /// What was answered, and is answered again.
    pub result: Result<Outcome, Refusal>,
    /// The command.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
}

/// `policy`: settings and the period start from which they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRow {
    /// Primary key.
    pub seq: Seq,
    /// For periods that start from here on.
    pub from: Timestamp,
    /// The settings.
    pub policy: Policy,
}

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
