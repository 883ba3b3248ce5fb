//! The fields of commands about money.

use ee_protocol::{
    account::{AccountId, AccountName, ClientId, Note},
    money::{Amount, Price, VcpuMicros},
    names::{AppName, NodeId},
    period::Period,
};

use crate::books::{EntryId, rows::LockMode};

/// See [`super::Command::Purchase`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// Who gets the credits; opened if need be.
    pub account: AccountId,
    /// How much.
    pub amount: Amount,
    /// The payment outside, which mints once.
    pub external_ref: Option<ClientId>,
}

/// See [`super::Command::Transfer`].
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

/// See [`super::Command::TransferBatch`].
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

/// See [`super::Command::Payout`].
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

/// See [`super::Command::Adjust`].
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

/// See [`super::Command::Lock`].
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

/// See [`super::Command::RenewLock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewLock {
    /// The app.
    pub app: AppName,
    /// The period to be paid.
    pub period: Period,
    /// Nodes in routing order; the first `nodes_max` that can be locked are.
    pub candidates: Vec<NodeId>,
}

/// See [`super::Command::ReleaseLock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseLock {
    /// Which.
    pub lock: EntryId,
}

/// See [`super::Command::BindPayer`].
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

/// See [`super::Command::ReportUsage`].
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
