//! The books checked against themselves: each invariant by a second, redundant fact (L1, L2, L4,
//! L9). A batch is checked by what it touched; all of it hourly, in tests and by `audit verify`.

use std::collections::BTreeMap;

use ee_protocol::money::MicroUsd;

use super::{
    AccountNo, Books,
    rows::{AccountKind, AccountRow, MeterKey},
};

/// What does not add up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// L1: the sum of all `posted` is not zero.
    #[error("all accounts together hold {0} µ$")]
    Sum(i128),
    /// L1: an account's pending sums are not those of its open locks.
    #[error("account {0:?} has other pending sums than its open locks")]
    Pending(AccountNo),
    /// L2: an account is overdrawn.
    #[error("account {0:?} is overdrawn")]
    Overdrawn(AccountNo),
    /// L4: a meter paid more than was locked, or its open locks are more than is left.
    #[error("a meter of account {0:?} is out of step with its locks")]
    Meter(AccountNo),
}

impl Books {
    /// Checks everything that stands in memory.
    ///
    /// # Errors
    /// The first thing that does not add up.
    pub fn audit(&self) -> Result<(), Unsound> {
        let sum: i128 = self
            .accounts()
            .map(|row| i128::from(row.posted.micros()))
            .sum();
        if sum != 0 {
            return Err(Unsound::Sum(sum));
        }
        self.audit_pending()?;
        self.audit_meters()
    }

    fn audit_pending(&self) -> Result<(), Unsound> {
        let mut pending: BTreeMap<AccountNo, (i128, i128)> = BTreeMap::new();
        for (_, lock) in self.locks.iter() {
            let amount = i128::from(lock.amount.micros());
            pending.entry(lock.meter.account).or_default().0 += amount;
            pending.entry(lock.meter.node).or_default().1 += amount;
        }
        for row in self.accounts() {
            let expected = pending.get(&row.no).copied().unwrap_or_default();
            if expected != row.pending() {
                return Err(Unsound::Pending(row.no));
            }
            if row.kind != AccountKind::Contra && row.available() < MicroUsd::ZERO {
                return Err(Unsound::Overdrawn(row.no));
            }
        }
        Ok(())
    }

    fn audit_meters(&self) -> Result<(), Unsound> {
        let mut open: BTreeMap<MeterKey, i128> = BTreeMap::new();
        for (_, lock) in self.locks.iter() {
            *open.entry(lock.meter).or_default() += i128::from(lock.amount.micros());
        }
        for (key, open) in open {
            let meter = self.meter(&key).ok_or(Unsound::Meter(key.account))?;
            if open + i128::from(meter.posted.micros()) > i128::from(meter.locked().micros()) {
                return Err(Unsound::Meter(key.account));
            }
        }
        Ok(())
    }

    /// L1 of a batch: what it touched still adds up to nothing, posted and pending.
    pub(super) fn assert_balanced(&self) {
        let mut posted = 0_i128;
        let mut pending = 0_i128;
        for (old, new) in self.accounts.touched() {
            for (row, sign) in [(old, -1), (Some(new), 1)] {
                let Some(row) = row else { continue };
                let (debits, credits) = row.pending();
                posted += sign * i128::from(row.posted.micros());
                pending += sign * (debits - credits);
            }
        }
        assert!(
            posted == 0 && pending == 0,
            "a batch moves money and makes none"
        );
    }
}

impl AccountRow {
    fn pending(&self) -> (i128, i128) {
        let (debits, credits) = (self.debits_pending, self.credits_pending);
        (i128::from(debits.micros()), i128::from(credits.micros()))
    }
}
