//! Where open locks are found: by meter, period, account, app, by the end and the deadline of their
//! period, and by the vCPUs that they hold.

use ee_protocol::{money::MicroUsd, period::Period, time::Timestamp};

use super::{
    AccountNo, Books, EntryNo, NodeNo,
    ledger::more,
    rows::{LockRow, MeterKey, SettlementKey},
};

/// The open locks of one node in one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenPeriod {
    /// How many.
    locks: u32,
    /// Where the first begins.
    first_ms: i64,
    /// When they end unsettled.
    expires_at: Timestamp,
}

impl Books {
    /// The open locks of a node in a period, in the order in which they were made: as they lie in
    /// the store, so that a settlement writes each page of them once.
    pub fn open_locks(&self, key: SettlementKey) -> impl Iterator<Item = &LockRow> {
        self.locks_by_period
            .range((key, EntryNo::FIRST)..=(key, EntryNo::LAST))
            .map(|((_, no), ())| self.open_lock(*no))
    }

    /// The open locks of a meter, likewise.
    pub(super) fn locks_of_meter(&self, key: &MeterKey) -> impl Iterator<Item = &LockRow> {
        self.locks_by_meter
            .range((*key, EntryNo::FIRST)..=(*key, EntryNo::LAST))
            .map(|((_, no), ())| self.open_lock(*no))
    }

    /// The open locks of an account that end unsettled by `until`, soonest first.
    pub fn locks_of_account(
        &self,
        account: AccountNo,
        until: Timestamp,
    ) -> impl Iterator<Item = &LockRow> {
        let first = (
            account,
            Timestamp::from_unix_micros(i64::MIN),
            EntryNo::FIRST,
        );
        let range = self
            .locks_by_account
            .range(first..=(account, until, EntryNo::LAST));
        range.map(|((_, _, no), ())| self.open_lock(*no))
    }

    /// The open lock of this number.
    pub fn lock_row(&self, no: EntryNo) -> Option<&LockRow> {
        self.locks.get(&no)
    }

    fn open_lock(&self, no: EntryNo) -> &LockRow {
        self.locks.get(&no).expect("indices name open locks")
    }

    /// Where the first open lock of a node in a period begins.
    pub fn first_lock_start(&self, key: SettlementKey) -> Option<Timestamp> {
        let open = self.open_periods.get(&(key.period.end_ms(), key))?;
        Some(Timestamp::from_unix_micros(open.first_ms * 1000))
    }

    /// Nodes and periods with open locks whose period ended by `until`, earliest end first.
    pub fn due_settlements(&self, until: Timestamp) -> impl Iterator<Item = SettlementKey> {
        let last_ms = until.unix_micros().div_euclid(1000);
        let rows = self
            .open_periods
            .iter()
            .map(|((end_ms, key), _)| (*end_ms, *key));
        rows.take_while(move |(end_ms, _)| *end_ms <= last_ms)
            .map(|(_, key)| key)
    }

    /// Nodes with open locks in exactly this period.
    pub fn nodes_with_locks(&self, period: Period) -> Vec<NodeNo> {
        let key = |node| {
            (
                period.end_ms(),
                SettlementKey {
                    node: AccountNo(node),
                    period,
                },
            )
        };
        let rows = self.open_periods.range(key(0)..=key(u32::MAX));
        rows.map(|((_, open), _)| open.node).collect()
    }

    /// Nodes and periods with locks past their deadline, longest past first.
    pub fn expired_settlements(&self, now: Timestamp) -> impl Iterator<Item = SettlementKey> {
        let rows = self
            .open_deadlines
            .iter()
            .map(|((at, key), ())| (*at, *key));
        rows.take_while(move |(at, _)| *at <= now)
            .map(|(_, key)| key)
    }

    /// Counts one more lock in a period; says when it ends unsettled.
    pub(super) fn open_period(&mut self, meter: &MeterKey, from_ms: i64) -> Timestamp {
        let key = SettlementKey {
            node: meter.node,
            period: meter.period,
        };
        let end_ms = key.period.end_ms();
        if let Some(open) = self.open_periods.get_mut(&(end_ms, key)) {
            open.locks += 1;
            open.first_ms = open.first_ms.min(from_ms);
            return open.expires_at;
        }
        let expires_at = self.deadline(key.period);
        let open = OpenPeriod {
            locks: 1,
            first_ms: from_ms,
            expires_at,
        };
        self.open_periods.insert((end_ms, key), open);
        self.open_deadlines.insert((expires_at, key), ());
        expires_at
    }

    fn close_period(&mut self, lock: &LockRow) {
        let key = lock.settlement();
        let at = (key.period.end_ms(), key);
        let open = self
            .open_periods
            .get(&at)
            .copied()
            .expect("it counts its locks");
        if open.locks == 1 {
            self.open_periods.remove(&at);
            self.open_deadlines.remove(&(open.expires_at, key));
            return;
        }
        let first_ms = match lock.from_ms == open.first_ms && lock.from_ms > key.period.start_ms() {
            true => self
                .open_locks(key)
                .map(|lock| lock.from_ms)
                .min()
                .unwrap_or(open.first_ms),
            false => open.first_ms,
        };
        let open = OpenPeriod {
            locks: open.locks - 1,
            first_ms,
            ..open
        };
        self.open_periods.insert(at, open);
    }

    pub(super) fn index_lock(&mut self, lock: &LockRow) {
        let meter = lock.meter;
        self.locks_by_meter.insert((meter, lock.no), ());
        self.locks_by_period
            .insert((lock.settlement(), lock.no), ());
        self.locks_by_account
            .insert((meter.account, lock.expires_at, lock.no), ());
        if lock.vcpus > 0 {
            self.holders
                .insert((meter.node, meter.period.end_ms(), lock.no), ());
        }
        if let Some(app) = &lock.app {
            self.locks_by_app.insert((app.clone(), meter), lock.no);
        }
    }

    /// Counts what an open lock sets aside in the pending sums of both its accounts.
    pub(super) fn pend(&mut self, meter: &MeterKey, amount: MicroUsd) {
        let payer = self.account_mut(meter.account);
        payer.debits_pending = more(payer.debits_pending, amount);
        assert!(
            payer.available() >= MicroUsd::ZERO,
            "what is locked was available"
        );
        let payee = self.account_mut(meter.node);
        payee.credits_pending = more(payee.credits_pending, amount);
    }

    pub(super) fn unindex_lock(&mut self, lock: &LockRow) {
        let meter = lock.meter;
        self.locks_by_meter.remove(&(meter, lock.no));
        self.locks_by_period.remove(&(lock.settlement(), lock.no));
        self.locks_by_account
            .remove(&(meter.account, lock.expires_at, lock.no));
        if lock.vcpus > 0 {
            self.holders
                .remove(&(meter.node, meter.period.end_ms(), lock.no));
        }
        if let Some(app) = &lock.app {
            self.locks_by_app.remove(&(app.clone(), meter));
        }
        self.close_period(lock);
    }
}
