//! The rows that a store would keep, for books that start again.

use std::collections::BTreeMap;

use crate::books::{AccountNo, Changes, EntryNo, Head, NodeNo, Rows, Seq, facts::FactKey, rows::*};

/// Every table by its primary key.
#[derive(Default)]
pub(super) struct Kept {
    accounts: BTreeMap<AccountNo, AccountRow>,
    meters: BTreeMap<MeterKey, MeterRow>,
    locks: BTreeMap<EntryNo, LockRow>,
    policies: BTreeMap<Seq, PolicyRow>,
    payers: BTreeMap<ee_protocol::names::AppName, PayerRow>,
    nodes: BTreeMap<NodeNo, NodeRow>,
    prices: BTreeMap<(NodeNo, ee_protocol::time::Timestamp), NodePriceRow>,
    facts: BTreeMap<FactKey, FactRow>,
    observers: BTreeMap<u64, ObserverRow>,
    settlements: BTreeMap<SettlementKey, SettlementRow>,
    abuse: BTreeMap<EntryNo, AbuseRow>,
    slashes: BTreeMap<EntryNo, SlashRow>,
    unbondings: BTreeMap<EntryNo, UnbondingRow>,
    holds: BTreeMap<SettlementKey, HoldRow>,
    claims: BTreeMap<EntryNo, ClaimRow>,
}

impl Kept {
    pub(super) fn take(&mut self, changes: &Changes) {
        keep(&mut self.accounts, &changes.accounts, |row| row.no);
        keep(&mut self.meters, &changes.meters, |row| row.key);
        keep(&mut self.locks, &changes.locks, |row| row.no);
        keep(&mut self.policies, &changes.policies, |row| row.seq);
        keep(&mut self.payers, &changes.payers, |row| row.app.clone());
        keep(&mut self.nodes, &changes.nodes, |row| row.node);
        keep(&mut self.prices, &changes.prices, |row| {
            (row.node, row.from)
        });
        keep(&mut self.facts, &changes.facts, |row| (row.node, row.no));
        keep(&mut self.observers, &changes.observers, |row| row.epoch);
        keep(&mut self.settlements, &changes.settlements, |row| row.key);
        keep(&mut self.abuse, &changes.abuse, |row| row.no);
        keep(&mut self.slashes, &changes.slashes, |row| row.no);
        keep(&mut self.unbondings, &changes.unbondings, |row| row.no);
        keep(&mut self.holds, &changes.holds, |row| row.key);
        keep(&mut self.claims, &changes.claims, |row| row.no);
    }

    pub(super) fn rows(&self, head: Head) -> Rows {
        Rows {
            seq: head.seq,
            at: head.at,
            accounts: all(&self.accounts, |_| true),
            meters: all(&self.meters, |_| true),
            locks: all(&self.locks, |row| row.state == LockState::Open),
            payers: all(&self.payers, |_| true),
            policies: all(&self.policies, |_| true),
            nodes: all(&self.nodes, |_| true),
            prices: all(&self.prices, |_| true),
            facts: all(&self.facts, |_| true),
            observers: all(&self.observers, |_| true),
            settlements: all(&self.settlements, |_| true),
            abuse: all(&self.abuse, |_| true),
            slashes: all(&self.slashes, |row| row.state == ReportState::Pending),
            unbondings: all(&self.unbondings, |row| row.amount.micros() > 0),
            holds: all(&self.holds, |row| row.amount.micros() > 0),
            claims: all(&self.claims, |row| row.amount.micros() > 0),
        }
    }
}

fn keep<K: Ord, V: Clone>(table: &mut BTreeMap<K, V>, rows: &[V], key: impl Fn(&V) -> K) {
    table.extend(rows.iter().map(|row| (key(row), row.clone())));
}

fn all<K, V: Clone>(table: &BTreeMap<K, V>, loads: impl Fn(&V) -> bool) -> Vec<V> {
    table.values().filter(|row| loads(row)).cloned().collect()
}
