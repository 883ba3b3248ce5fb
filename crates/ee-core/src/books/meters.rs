//! Meters: one account on one node in one period, with one price (LEDGER 2).
//!
//! **Invariants:** periods of one account on one node are equal or disjoint; what the use of a
//! meter needs is locked or paid, so its charge is too (L9).

use std::time::Duration;

use ee_protocol::{
    money::{MicroUsd, Price, VcpuMicros},
    period::{PERIOD_MAX_MS, Period},
    time::Timestamp,
};

use super::{
    AccountNo, Books, NodeNo, Refusal,
    rows::{MeterKey, MeterRow},
};

/// The longest period: one that began with a meter may end so much later.
const PERIOD_MAX: Duration = Duration::from_millis(PERIOD_MAX_MS.unsigned_abs());

impl Books {
    /// The price of a meter that begins with this period: the one in force at its start, or the
    /// node's first if it had none by then.
    pub fn price_for(&self, node: NodeNo, period: Period) -> Option<Price> {
        let prices = |from, until| self.prices.range((node, from)..=(node, until));
        let in_force = prices(Timestamp::EPOCH, period.start()).next_back();
        let row = in_force.or_else(|| prices(Timestamp::EPOCH, Timestamp::FAR_FUTURE).next());
        row.map(|(_, row)| row.price)
    }

    /// Whether the account has no meter on the node that overlaps this period and is another.
    pub(super) fn fits(
        &self,
        (account, node): (AccountNo, NodeNo),
        period: Period,
    ) -> Result<(), Refusal> {
        let first = (node, account, i64::MIN);
        let last = (node, account, period.end_ms() - 1);
        let Some(((_, _, start_ms), end_ms)) = self.meter_spans.range(first..=last).next_back()
        else {
            return Ok(());
        };
        let same = (*start_ms, *end_ms) == (period.start_ms(), period.end_ms());
        match same || *end_ms <= period.start_ms() {
            true => Ok(()),
            false => Err(Refusal::PeriodOverlap),
        }
    }

    /// The meter, if it has begun.
    pub fn meter(&self, key: &MeterKey) -> Option<&MeterRow> {
        self.meters.get(key)
    }

    /// The meter, begun at this price if need be.
    pub(super) fn meter_or_begin(&mut self, key: MeterKey, price: Price) -> &mut MeterRow {
        if !self.meters.contains(&key) {
            let row = MeterRow {
                key,
                price,
                used: VcpuMicros::ZERO,
                metered: MicroUsd::ZERO,
                reserved: MicroUsd::ZERO,
                posted: MicroUsd::ZERO,
                clawed_back: MicroUsd::ZERO,
            };
            self.meters.insert(key, row);
            self.meter_spans.insert(span_of(&key), key.period.end_ms());
        }
        self.meter_mut(&key)
    }

    pub(super) fn meter_mut(&mut self, key: &MeterKey) -> &mut MeterRow {
        self.meters
            .get_mut(key)
            .expect("a lock's meter stays as long as the lock")
    }

    /// Drops a meter that nothing was locked or used on, so that its period may be another.
    pub(super) fn drop_if_idle(&mut self, key: &MeterKey) {
        let idle = self.meters.get(key).is_some_and(|meter| {
            meter.used == VcpuMicros::ZERO && meter.locked() == MicroUsd::ZERO
        });
        if idle && self.locks_of_meter(key).next().is_none() {
            self.meters.remove(key);
            self.meter_spans.remove(&span_of(key));
        }
    }

    /// Forgets meters that no report can meet any more, at most `limit`: not even one for the
    /// longest period that overlaps theirs. The store keeps them.
    pub(super) fn retire_meters(&mut self, now: Timestamp, limit: usize) -> usize {
        let over = |key: &MeterKey| {
            let overlapping = self.deadline(key.period).after(PERIOD_MAX);
            overlapping <= now && self.locks_of_meter(key).next().is_none()
        };
        let keys: Vec<MeterKey> = self
            .meters
            .iter()
            .map(|(key, _)| *key)
            .take(limit)
            .take_while(over)
            .collect();
        for key in &keys {
            self.meters.retire(key);
            self.meter_spans.remove(&span_of(key));
        }
        keys.len()
    }

    /// When what is open of a period ends unsettled (LEDGER 5).
    pub fn deadline(&self, period: Period) -> Timestamp {
        let seconds = self.policy_for(period).settlement_deadline_s;
        period.end().after(Duration::from_secs(seconds.into()))
    }
}

impl MeterRow {
    /// What was ever locked on it, but for what was given back before it started.
    pub fn locked(&self) -> MicroUsd {
        super::ledger::more(self.metered, self.reserved)
    }

    /// What a pass pays: all that is reserved, and of the rest what the charge exceeds that by.
    pub fn due(&self) -> MicroUsd {
        let charge = self.price.charge(self.used);
        let reserved = i128::from(self.reserved.micros());
        let metered = (charge - reserved).clamp(0, i128::from(self.metered.micros()));
        let due = i64::try_from(reserved + metered).expect("due is at most what was locked");
        MicroUsd::from_micros(due)
    }
}

fn span_of(key: &MeterKey) -> (NodeNo, AccountNo, i64) {
    (key.node, key.account, key.period.start_ms())
}
