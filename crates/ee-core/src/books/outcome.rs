//! What a command came to. Stored under its key or id, and answered again word for word.

use ee_protocol::{
    account::AccountId,
    money::{MicroUsd, Price},
    period::Period,
    time::Timestamp,
};

use super::{
    ids::EntryId,
    refusal::Refusal,
    rows::{ReasonRow, ReportState, SettlementState, UsageState, Verdict},
};

/// The outcome of a command; its number in the journal is [`Outcome::number`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Credits moved: purchase, transfer, payout, adjustment, stake.
    Moved(Moved),
    /// A result per item, in order.
    Batch(Vec<ItemResult>),
    /// A lock was made.
    Locked(Locked),
    /// The app's period, as far as it could be locked.
    Renewed(Renewed),
    /// A lock was given back.
    Released(Released),
    /// The payer of the app is as asked.
    PayerBound,
    /// Usage was counted.
    UsageReported(UsageReported),
    /// A fact, a beat or a setting was recorded: nothing to say.
    Recorded,
    /// The epoch is over: the observer must begin a new one.
    EpochOver,
    /// The node is as asked.
    NodeRegistered(NodeRegistered),
    /// An abuse report or a slash was filed, or is as it was decided.
    Filed(Filed),
    /// What was settled.
    Finalized(Vec<NodeSettlement>),
    /// What a tick did.
    Ticked(Ticked),
}

/// A wallet after the command, for those who may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// Whose.
    pub account: AccountId,
    /// `posted` less what is locked.
    pub available: MicroUsd,
    /// Everything that is the account's.
    pub posted: MicroUsd,
    /// Set aside by open locks.
    pub locked: MicroUsd,
    /// A node's pay that rests.
    pub held: MicroUsd,
}

/// See [`Outcome::Moved`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The transfer.
    pub transfer: EntryId,
    /// The accounts that it touched.
    pub balances: Vec<Balance>,
}

/// What became of one transfer of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemResult {
    /// It moved.
    Moved(EntryId),
    /// It was refused.
    Refused(Refusal),
    /// Another of its chain was refused.
    ChainBroken,
}

/// See [`Outcome::Locked`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The lock.
    pub lock: EntryId,
    /// What was set aside.
    pub amount: MicroUsd,
    /// At which price.
    pub price: Price,
    /// When it ends unsettled.
    pub expires_at: Timestamp,
    /// The payer's account.
    pub balances: Vec<Balance>,
}

/// See [`Outcome::Renewed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// Locks of the app in this period: node, lock, whether it was made by this command.
    pub locks: Vec<RenewedLock>,
    /// Why there are fewer than `nodes_max`; none if there are enough or no candidate is left.
    pub short: Option<Refusal>,
    /// How many more periods at this price the payer can lock.
    pub runway_periods: u32,
}

/// One lock of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewedLock {
    /// On which node.
    pub node: AccountId,
    /// The lock.
    pub lock: EntryId,
    /// Whether this command made it.
    pub is_new: bool,
}

/// See [`Outcome::Released`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// What came back.
    pub returned: MicroUsd,
    /// The payer's account.
    pub balances: Vec<Balance>,
}

/// See [`Outcome::UsageReported`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReported {
    /// The row of the report.
    pub usage: EntryId,
    /// The lock that it made, if it needed one.
    pub lock: Option<EntryId>,
    /// The charge that it added.
    pub charge: MicroUsd,
    /// How far it got.
    pub state: UsageState,
    /// The payer's account.
    pub balances: Vec<Balance>,
}

/// See [`Outcome::NodeRegistered`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRegistered {
    /// Whether it was new.
    pub is_new: bool,
    /// Its stake now.
    pub stake: MicroUsd,
}

/// See [`Outcome::Filed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filed {
    /// The report or slash.
    pub id: EntryId,
    /// What became of it.
    pub state: ReportState,
    /// What was taken or clawed back.
    pub moved: MicroUsd,
}

/// The settlement of one node, after a finalise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettlement {
    /// Who was judged.
    pub node: AccountId,
    /// For when.
    pub period: Period,
    /// The judgement.
    pub verdict: Verdict,
    /// Why.
    pub reasons: Vec<ReasonRow>,
    /// How far it got.
    pub state: SettlementState,
    /// Locks that paid by this call.
    pub settled: u32,
    /// Locks that gave everything back by this call.
    pub failed: u32,
    /// What was paid in all.
    pub posted: MicroUsd,
    /// What was given back in all.
    pub returned: MicroUsd,
    /// Undecided reports that an explicit finalise did not wait for.
    pub pending_abuse: Vec<EntryId>,
}

/// See [`Outcome::Ticked`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ticked {
    /// Verdicts made.
    pub judged: u32,
    /// Locks resolved.
    pub resolved: u32,
    /// Locks that ended unsettled.
    pub expired: u32,
    /// Holds, unbondings and slashes carried out.
    pub released: u32,
    /// Whether more is due.
    pub more: bool,
}

impl Outcome {
    /// Its number in the journal, above those of refusals, for ever.
    pub const fn number(&self) -> u16 {
        match self {
            Self::Recorded => 100,
            Self::Moved(_) => 101,
            Self::Batch(_) => 102,
            Self::Locked(_) => 103,
            Self::Renewed(_) => 104,
            Self::Released(_) => 105,
            Self::PayerBound => 106,
            Self::UsageReported(_) => 107,
            Self::EpochOver => 113,
            Self::NodeRegistered(_) => 108,
            Self::Filed(_) => 109,
            Self::Finalized(_) => 110,
            Self::Ticked(_) => 111,
        }
    }
}
