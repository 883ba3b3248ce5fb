//! Every command of the books (LEDGER 4). What is not in the enum does not happen.
//!
//! Values are valid by construction: amounts are positive, periods are sound, names parsed.

mod judgement;
mod money;

pub use judgement::*;
pub use money::*;

use super::policy::Policy;

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
