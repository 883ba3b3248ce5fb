//! The books (LEDGER 4): one deterministic machine of credits, locks, facts and verdicts.
//!
//! No I/O, no clock, no randomness: the instant and rows that are not in memory are handed in.
//! Replaying the journal rebuilds every table bit for bit. **Invariant:** a refused command
//! changes nothing but what LEDGER says it leaves (the answer under its client id, an uncollected
//! usage row). Between commits every table remembers its old rows, so a batch that could not be
//! written is taken back whole.

use std::collections::HashMap;

use ee_protocol::{account::AccountName, time::Timestamp};

mod accounts;
pub mod changes;
pub mod command;
mod dispatch;
pub mod facts;
pub mod ids;
pub mod known;
pub mod outcome;
pub mod policy;
pub mod principal;
pub mod refusal;
pub mod rows;
pub mod table;

pub use changes::{Changes, Rows};
pub use command::Command;
pub use ids::{AccountNo, EntryId, EntryNo, NodeNo, Seq};
pub use known::{Known, Need};
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
    next_idx: u16,
    accounts: Table<AccountNo, AccountRow>,
    names: HashMap<AccountName, AccountNo>,
    accounts_durable: AccountNo,
    transfers: Vec<TransferRow>,
    meters: Table<MeterKey, MeterRow>,
    locks: Table<EntryNo, LockRow>,
    locks_by_meter: Table<(MeterKey, EntryNo), ()>,
    locks_by_account: Table<(AccountNo, EntryNo), ()>,
    locks_by_expiry: Table<(Timestamp, EntryNo), ()>,
    locks_by_app: Table<(ee_protocol::names::AppName, MeterKey), EntryNo>,
    usage: Vec<UsageRow>,
    payers: Table<ee_protocol::names::AppName, PayerRow>,
    clients: Vec<ClientRow>,
    policies: Table<Seq, PolicyRow>,
    nodes: Table<NodeNo, NodeRow>,
    prices: Table<(NodeNo, Timestamp), NodePriceRow>,
    facts: Table<facts::FactKey, FactRow>,
    observers: Table<u64, ObserverRow>,
    settlements: Table<SettlementKey, SettlementRow>,
    abuse: Table<EntryNo, AbuseRow>,
    slashes: Table<EntryNo, SlashRow>,
    unbondings: Table<EntryNo, UnbondingRow>,
    holds: Table<SettlementKey, HoldRow>,
    claims: Table<EntryNo, ClaimRow>,
}
