//! Rows of accounts, transfers, meters, locks, usage, payers, and of what was asked.

use std::cmp::Ordering;

use ee_protocol::{
    account::{AccountName, ClientId, Note},
    money::{MicroUsd, Price, VcpuMicros},
    names::AppName,
    period::Period,
    time::Timestamp,
};

use super::words::{AccountKind, LockMode, LockState, TransferKind, UsageState};
use crate::books::{
    AccountNo, EntryId, EntryNo, NodeNo, Outcome, Policy, Principal, Refusal, Seq,
    command::UsageIdentity,
    ids::{ClientKey, Fingerprint},
    known::RequestKey,
};

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
    /// The newest transfer in which it stands: where its history begins.
    pub last: Option<EntryNo>,
}

/// `transfer`: appended, never changed. Each names the one before it in either account's history,
/// so an account's lines are found without an index, whose pages every batch would write anew.
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
    /// The transfer before this one in which the debit stands.
    pub debit_before: Option<EntryNo>,
    /// The transfer before this one in which the credit stands.
    pub credit_before: Option<EntryNo>,
}

impl TransferRow {
    /// The transfer before this one in an account's history; none if it stands on neither side.
    pub fn before(&self, account: AccountNo) -> Option<EntryNo> {
        match account {
            debit if debit == self.debit => self.debit_before,
            credit if credit == self.credit => self.credit_before,
            _ => None,
        }
    }

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
    pub key: RequestKey,
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
