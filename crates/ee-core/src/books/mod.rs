//! The books (LEDGER 4): one deterministic machine of credits, locks, facts and verdicts.
//!
//! No I/O, no clock, no randomness: the instant and rows that are not in memory are handed in.
//! Replaying the journal rebuilds every table bit for bit. **Invariant:** a refused command
//! changes nothing but what LEDGER says it leaves (the answer under its client id, an uncollected
//! usage row). Between commits every table remembers its old rows, so a batch that could not be
//! written is taken back whole.

use ee_protocol::{account::AccountName, names::AppName, time::Timestamp};

mod abuse;
mod accounts;
pub mod audit;
mod batch;
mod batch_log;
mod capacity;
pub mod changes;
mod claims;
mod clawback;
mod clients;
pub mod command;
mod deadline;
mod dispatch;
pub mod facts;
pub mod funding;
pub mod ids;
mod judgement;
pub mod known;
mod ledger;
mod locks;
mod lookup;
mod meters;
mod nodes;
mod numbered;
mod observers;
mod open_locks;
pub mod outcome;
mod payer;
mod policies;
pub mod policy;
pub mod principal;
pub mod refusal;
mod restore;
pub mod rows;
pub mod settle;
mod settlements;
mod slashes;
mod stake;
pub mod table;
mod ticks;
mod usage;
pub mod views;

#[cfg(test)]
mod tests;

pub use changes::{Changes, Rows};
pub use command::Command;
pub use ids::{AccountNo, EntryId, EntryNo, NodeNo, Seq};
pub use known::{Known, Need};
pub use lookup::Lookup;
pub use outcome::Outcome;
pub use policy::Policy;
pub use principal::Principal;
pub use refusal::Refusal;

use rows::*;
pub use table::Table;

/// The number and instant of the last command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Its number.
    pub seq: Seq,
    /// Its instant.
    pub at: Timestamp,
}

/// The state of the books.
#[derive(Debug, Clone, Default)]
pub struct Books {
    head: Head,
    durable: Head,
    /// The next row of the command in hand.
    next_idx: u32,
    accounts: numbered::Accounts,
    names: Lookup<AccountName, AccountNo>,
    transfers: Vec<TransferRow>,
    meters: Table<MeterKey, MeterRow>,
    locks: Table<EntryNo, LockRow>,
    /// Periods of one account on one node by their start: disjoint.
    meter_spans: Table<(NodeNo, AccountNo, i64), i64>,
    locks_by_meter: Table<(MeterKey, EntryNo), ()>,
    locks_by_period: Table<(SettlementKey, EntryNo), ()>,
    locks_by_account: Table<(AccountNo, Timestamp, EntryNo), ()>,
    locks_by_app: Table<(AppName, MeterKey), EntryNo>,
    /// Open locks that hold vCPUs, by the end of their period.
    holders: Table<(NodeNo, i64, EntryNo), ()>,
    open_periods: Table<(i64, SettlementKey), open_locks::OpenPeriod>,
    open_deadlines: Table<(Timestamp, SettlementKey), ()>,
    usage: Vec<UsageRow>,
    payers: Table<AppName, PayerRow>,
    clients: batch_log::ClientLog,
    policies: Table<Seq, PolicyRow>,
    nodes: Table<NodeNo, NodeRow>,
    prices: Table<(NodeNo, Timestamp), NodePriceRow>,
    facts: facts::FactBook,
    settlements: Table<SettlementKey, SettlementRow>,
    /// Verdicts whose locks are not all resolved.
    settling: Table<SettlementKey, ()>,
    abuse: Table<EntryNo, AbuseRow>,
    slashes: Table<EntryNo, SlashRow>,
    unbondings: Table<EntryNo, UnbondingRow>,
    holds: Table<SettlementKey, HoldRow>,
    claims: Table<EntryNo, ClaimRow>,
}
