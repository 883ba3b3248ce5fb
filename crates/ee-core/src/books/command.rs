//! Every command of the books (LEDGER 4). What is not in the enum does not happen.
//!
//! Values are valid by construction: amounts are positive, periods are sound, names parsed.

use ee_protocol::{
    account::{AccountId, AccountName, ClientId, Note},
    money::{Amount, MicroUsd, Price, VcpuMicros},
    names::{AppName, Network, NodeId},
    period::Period,
    time::Timestamp,
};

use super::{
    ids::EntryId,
    policy::Policy,
    rows::{BreachCause, Decision, Dependency, LockMode, SlashReason, StakeTier, Track},
};

/// A command; its number in the journal is [`Command::kind`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Mint credits for an account.
    Purchase(Purchase),
    /// Move credits.
    Transfer(Transfer),
    /// Many transfers, each on its own or in all-or-nothing chains.
    TransferBatch(TransferBatch),
    /// Credits leave the books.
    Payout(Payout),
    /// An admin's correction.
    Adjust(Adjust),
    /// Lock credits ahead of compute.
    Lock(Lock),
    /// Lock an app's next period, paid by its payer.
    RenewLock(RenewLock),
    /// Give a lock back that has not started.
    ReleaseLock(ReleaseLock),
    /// Bind or unbind the payer of an app.
    BindPayer(BindPayer),
    /// Usage of a meter.
    ReportUsage(ReportUsage),
    /// A node proved who it is.
    NodeSeen(NodeSeen),
    /// Price, capacity and stake of a node.
    RegisterNode(RegisterNode),
    /// Wallet to stake.
    Deposit(Deposit),
    /// Stake to unbonding.
    Withdraw(Withdraw),
    /// Ask for a slash.
    FileSlash(FileSlash),
    /// Execute or deny a slash.
    DecideSlash(DecideSlash),
    /// A replica starts to observe.
    ObserverStart(ObserverStart),
    /// All facts up to the watermark are in.
    ObserverBeat(ObserverBeat),
    /// A replica stops observing.
    ObserverStop(ObserverStop),
    /// A track is covered from here on.
    TrackOpen(TrackOpen),
    /// A track is covered no more.
    TrackClose(TrackClose),
    /// A breach.
    Breach(Breach),
    /// The node's answer came in time, its result waits for a dependency.
    Waiting(Waiting),
    /// A dependency does not answer.
    DependencyDown(DependencyDown),
    /// It answers again.
    DependencyUp(DependencyUp),
    /// This replica drains: its nodes must reconnect.
    Drained(Drained),
    /// Coverage that the uptime server saw.
    ReportFacts(ReportFacts),
    /// Report abuse.
    FileAbuse(FileAbuse),
    /// Decide a report.
    DecideAbuse(DecideAbuse),
    /// Settle a period now.
    Finalize(Finalize),
    /// Do what is due.
    Tick,
    /// The operator's settings changed.
    SetPolicy(Policy),
}

/// See [`Command::Purchase`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// Who gets the credits; opened if need be.
    pub account: AccountId,
    /// How much.
    pub amount: Amount,
    /// The payment outside, which mints once.
    pub external_ref: Option<ClientId>,
}

/// See [`Command::Transfer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The client's id, unique for the debited account.
    pub id: Option<ClientId>,
    /// Who pays.
    pub from: AccountId,
    /// Who is paid.
    pub to: AccountId,
    /// How much.
    pub amount: Amount,
    /// Whether `to` may be opened by this.
    pub open_account: bool,
}

/// See [`Command::TransferBatch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferBatch {
    /// At most [`BATCH_ITEMS_MAX`], in order.
    pub items: Vec<BatchItem>,
}

/// Most transfers in a batch (LEDGER 11): a batch is one record of the journal and one answer.
pub const BATCH_ITEMS_MAX: usize = 1000;

/// One transfer of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchItem {
    /// The transfer.
    pub transfer: Transfer,
    /// Whether it stands and falls with the next item.
    pub chain: bool,
}

/// See [`Command::Payout`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payout {
    /// The client's id.
    pub id: Option<ClientId>,
    /// Whose credits leave.
    pub account: AccountId,
    /// How much.
    pub amount: Amount,
    /// The payment outside.
    pub external_ref: Option<ClientId>,
}

/// See [`Command::Adjust`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjust {
    /// The admin's id.
    pub id: Option<ClientId>,
    /// Any account of the books.
    pub debit: AccountName,
    /// Any account of the books.
    pub credit: AccountName,
    /// How much.
    pub amount: Amount,
    /// Why.
    pub reason: Note,
}

/// See [`Command::Lock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The client's id, unique for the account.
    pub id: Option<ClientId>,
    /// Who pays.
    pub account: AccountId,
    /// Who computes.
    pub node: NodeId,
    /// How many vCPUs; at least 1.
    pub vcpus: u32,
    /// For which period.
    pub period: Period,
    /// What a pass pays.
    pub mode: LockMode,
}

/// See [`Command::RenewLock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewLock {
    /// The app.
    pub app: AppName,
    /// The period to be paid.
    pub period: Period,
    /// Nodes in routing order; the first `nodes_max` that can be locked are.
    pub candidates: Vec<NodeId>,
}

/// See [`Command::ReleaseLock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseLock {
    /// Which.
    pub lock: EntryId,
}

/// See [`Command::BindPayer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindPayer {
    /// The app.
    pub app: AppName,
    /// Its payer; none unbinds.
    pub payer: Option<PayerTerms>,
}

/// What a payer agrees to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayerTerms {
    /// Who pays.
    pub account: AccountId,
    /// How many vCPUs on each node; at least 1.
    pub vcpus: u32,
    /// The highest price per vCPU-hour; none: any.
    pub price_max: Option<Price>,
    /// On how many nodes at once; at least 1.
    pub nodes_max: u32,
}

/// See [`Command::ReportUsage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportUsage {
    /// Who used.
    pub account: AccountId,
    /// What was used.
    pub node: NodeId,
    /// When.
    pub period: Period,
    /// How much.
    pub used: VcpuMicros,
    /// What makes the report unrepeatable.
    pub identity: UsageIdentity,
    /// Whether `used` is the total of the meter so far, not an addition.
    pub cumulative: bool,
}

/// What makes a report idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageIdentity {
    /// Nothing: each report counts.
    None,
    /// `usage_id`.
    Usage(ClientId),
    /// `source` and `id`.
    Source(ClientId, ClientId),
}

/// See [`Command::NodeSeen`].
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

/// See [`Command::RegisterNode`].
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

/// See [`Command::Deposit`].
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

/// See [`Command::Withdraw`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdraw {
    /// The client's id, unique for the node's account.
    pub id: Option<ClientId>,
    /// Whose stake shrinks.
    pub node: NodeId,
    /// How much.
    pub amount: Amount,
}

/// See [`Command::FileSlash`].
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

/// See [`Command::DecideSlash`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecideSlash {
    /// Which.
    pub slash: EntryId,
    /// How.
    pub decision: Decision,
    /// By whom, as a note.
    pub authorized_by: Note,
}

/// See [`Command::ObserverStart`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserverStart {
    /// A number that no earlier start had, and above all of them.
    pub epoch: u64,
    /// The replica.
    pub replica: ClientId,
}

/// See [`Command::ObserverBeat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserverBeat {
    /// Whose.
    pub epoch: u64,
    /// All facts before this instant are in.
    pub watermark: Timestamp,
}

/// See [`Command::ObserverStop`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserverStop {
    /// Whose.
    pub epoch: u64,
    /// When.
    pub at: Timestamp,
}

/// See [`Command::TrackOpen`].
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

/// See [`Command::TrackClose`].
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

/// See [`Command::Breach`].
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

/// See [`Command::Waiting`].
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

/// See [`Command::DependencyDown`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyDown {
    /// Who observed.
    pub epoch: u64,
    /// Which.
    pub dependency: Dependency,
    /// From when.
    pub at: Timestamp,
}

/// See [`Command::DependencyUp`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyUp {
    /// Who observed.
    pub epoch: u64,
    /// Which.
    pub dependency: Dependency,
    /// Until when it was down.
    pub at: Timestamp,
}

/// See [`Command::Drained`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// Which replica.
    pub epoch: u64,
    /// When.
    pub at: Timestamp,
}

/// See [`Command::ReportFacts`].
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

/// See [`Command::FileAbuse`].
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

/// See [`Command::DecideAbuse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecideAbuse {
    /// Which.
    pub report: EntryId,
    /// How.
    pub decision: Decision,
    /// By whom, as a note.
    pub authorized_by: Note,
}

/// See [`Command::Finalize`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finalize {
    /// Which period.
    pub period: Period,
    /// Which node; none: all with locks in exactly that period.
    pub node: Option<NodeId>,
}

/// The number of [`Command::Transfer`].
pub(super) const TRANSFER_KIND: u16 = 2;

impl Command {
    /// Its number in the journal, for ever.
    pub const fn kind(&self) -> u16 {
        match self {
            Self::Purchase(_) => 1,
            Self::Transfer(_) => 2,
            Self::TransferBatch(_) => 3,
            Self::Payout(_) => 4,
            Self::Adjust(_) => 5,
            Self::Lock(_) => 10,
            Self::RenewLock(_) => 11,
            Self::ReleaseLock(_) => 12,
            Self::BindPayer(_) => 13,
            Self::ReportUsage(_) => 14,
            Self::NodeSeen(_) => 20,
            Self::RegisterNode(_) => 21,
            Self::Deposit(_) => 22,
            Self::Withdraw(_) => 23,
            Self::FileSlash(_) => 24,
            Self::DecideSlash(_) => 25,
            Self::ObserverStart(_) => 30,
            Self::ObserverBeat(_) => 31,
            Self::ObserverStop(_) => 32,
            Self::TrackOpen(_) => 33,
            Self::TrackClose(_) => 34,
            Self::Breach(_) => 35,
            Self::Waiting(_) => 36,
            Self::DependencyDown(_) => 37,
            Self::DependencyUp(_) => 38,
            Self::Drained(_) => 39,
            Self::ReportFacts(_) => 40,
            Self::FileAbuse(_) => 50,
            Self::DecideAbuse(_) => 51,
            Self::Finalize(_) => 52,
            Self::Tick => 53,
            Self::SetPolicy(_) => 54,
        }
    }
}
