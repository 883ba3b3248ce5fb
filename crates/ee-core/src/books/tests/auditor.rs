//! An auditor who sees only what was written, as the store would keep it: tables by primary key.
//! It recomputes balances from transfers alone and never asks the books.

use std::collections::BTreeMap;

use super::*;
use crate::books::{AccountNo, Rows, Seq};

/// The tables, and what was seen of each lock.
#[derive(Default)]
pub(super) struct Auditor {
    pub accounts: BTreeMap<AccountNo, AccountRow>,
    pub transfers: BTreeMap<EntryNo, TransferRow>,
    pub meters: BTreeMap<MeterKey, MeterRow>,
    pub locks: BTreeMap<EntryNo, LockRow>,
    pub usage: BTreeMap<EntryNo, UsageRow>,
    pub settlements: BTreeMap<SettlementKey, SettlementRow>,
    pub known: Known,
    rows: Rows,
    posted: BTreeMap<AccountNo, i128>,
    pending: BTreeMap<AccountNo, (i128, i128)>,
    resolved: BTreeMap<EntryNo, (i128, i128)>,
    touched: Vec<AccountNo>,
}

impl Auditor {
    /// Takes a batch in and checks L1 to L4, L6 and L9 on it.
    pub(super) fn absorb(&mut self, changes: &Changes) {
        self.touched.clear();
        for row in &changes.locks {
            self.absorb_lock(row);
        }
        for row in &changes.transfers {
            self.absorb_transfer(row);
        }
        for row in &changes.accounts {
            self.accounts.insert(row.no, row.clone());
            self.touched.push(row.no);
        }
        for row in &changes.meters {
            assert!(
                row.posted <= row.locked(),
                "L4: a meter pays what was locked"
            );
            self.meters.insert(row.key, row.clone());
        }
        for key in &changes.meters_gone {
            self.meters.remove(key);
        }
        for row in &changes.usage {
            assert!(
                self.usage.insert(row.no, row.clone()).is_none(),
                "L3: rows are new"
            );
        }
        for row in &changes.settlements {
            let old = self.settlements.insert(row.key, row.clone());
            let is_final = |row: &SettlementRow| row.state != SettlementState::Awaiting;
            if let Some(old) = old.filter(is_final) {
                assert_eq!(old.verdict, row.verdict, "L5: one verdict");
            }
        }
        for row in &changes.clients {
            let twin = self.known.clients.insert(row.key.clone(), row.clone());
            assert!(twin.is_none(), "L6: an id is decided once");
        }
        self.keep_rows(changes);
        self.check_touched(changes);
    }

    fn absorb_lock(&mut self, row: &LockRow) {
        let old = self.locks.insert(row.no, row.clone());
        let was_open = old.as_ref().is_none_or(|old| old.state == LockState::Open);
        assert!(was_open, "L4: a lock resolves once");
        self.known.locks.insert(row.no, row.clone());
    }

    fn absorb_transfer(&mut self, row: &TransferRow) {
        let twin = self.transfers.insert(row.no, row.clone());
        assert!(twin.is_none(), "L3: transfers never change");
        let last = self.transfers.last_key_value().map(|(no, _)| *no);
        assert_eq!(last, Some(row.no), "L3: numbers rise");
        let amount = i128::from(row.amount.micros());
        assert!(amount > 0 && row.debit != row.credit);
        let moves = !matches!(
            row.kind,
            TransferKind::Lock | TransferKind::Refund | TransferKind::Expire
        );
        if moves {
            *self.posted.entry(row.debit).or_default() -= amount;
            *self.posted.entry(row.credit).or_default() += amount;
        }
        if row.kind == TransferKind::Lock {
            self.pending.entry(row.debit).or_default().0 += amount;
            self.pending.entry(row.credit).or_default().1 += amount;
        }
        if let Some(lock) = row.pending {
            let meter = self.locks[&lock].meter;
            self.pending.entry(meter.account).or_default().0 -= amount;
            self.pending.entry(meter.node).or_default().1 -= amount;
            let (posted, returned) = self.resolved.entry(lock).or_default();
            *if moves { posted } else { returned } += amount;
        }
    }

    /// Each account that was written is what its transfers say; each resolved lock adds up.
    fn check_touched(&self, changes: &Changes) {
        for no in &self.touched {
            let row = &self.accounts[no];
            let posted = self.posted.get(no).copied().unwrap_or(0);
            assert_eq!(i128::from(row.posted.micros()), posted, "L1: {row:?}");
            let pending = self.pending.get(no).copied().unwrap_or((0, 0));
            let found = (
                row.debits_pending.micros().into(),
                row.credits_pending.micros().into(),
            );
            assert_eq!(pending, found, "L1: {row:?}");
            let contra = row.kind == AccountKind::Contra;
            assert!(contra || row.available() >= MicroUsd::ZERO, "L2: {row:?}");
        }
        for row in changes
            .locks
            .iter()
            .filter(|row| row.state != LockState::Open)
        {
            let (posted, returned) = self.resolved.get(&row.no).copied().unwrap_or((0, 0));
            assert_eq!(posted, i128::from(row.posted.micros()), "L4: {row:?}");
            assert_eq!(
                posted + returned,
                i128::from(row.amount.micros()),
                "L4: {row:?}"
            );
        }
    }

    /// The sum of everything, and the counts of everything.
    pub(super) fn check_all(&self) {
        assert_eq!(self.posted.values().sum::<i128>(), 0, "L1");
        for (no, posted) in &self.posted {
            assert_eq!(i128::from(self.accounts[no].posted.micros()), *posted, "L1");
        }
        for meter in self.meters.values() {
            let charge = meter.price.charge(meter.used);
            let key = SettlementKey {
                node: meter.key.node,
                period: meter.key.period,
            };
            let failed = self.settlements.get(&key).map(|row| row.verdict) == Some(Verdict::Fail);
            let locked = i128::from(meter.locked().micros());
            assert!(failed || charge <= locked, "L9: {meter:?}");
        }
    }

    fn keep_rows(&mut self, changes: &Changes) {
        let rows = &mut self.rows;
        for row in &changes.payers {
            rows.payers.retain(|old| old.app != row.app);
            rows.payers.push(row.clone());
        }
        rows.payers
            .retain(|row| !changes.payers_gone.contains(&row.app));
        rows.policies.extend(changes.policies.iter().cloned());
        for row in &changes.nodes {
            rows.nodes.retain(|old| old.node != row.node);
            rows.nodes.push(row.clone());
        }
        for row in &changes.prices {
            rows.prices
                .retain(|old| (old.node, old.from) != (row.node, row.from));
            rows.prices.push(row.clone());
        }
        for row in &changes.facts {
            rows.facts.retain(|old| old.no != row.no);
            rows.facts.push(row.clone());
        }
        for row in &changes.abuse {
            rows.abuse.retain(|old| old.no != row.no);
            rows.abuse.push(row.clone());
        }
    }

    /// What a start would load.
    pub(super) fn rows(&self, seq: Seq, at: Timestamp) -> Rows {
        let open = |row: &&LockRow| row.state == LockState::Open;
        Rows {
            seq,
            at,
            accounts: self.accounts.values().cloned().collect(),
            meters: self.meters.values().cloned().collect(),
            locks: self.locks.values().filter(open).cloned().collect(),
            settlements: self.settlements.values().cloned().collect(),
            ..self.rows.clone()
        }
    }
}
