//! Paying what a verdict says (LEDGER 8), in chunks: a crash resumes from the rows, for a lock
//! that was resolved is open no more.
//!
//! A meter pays what is due on its total, rounded once; which of its locks pays first moves no
//! money between accounts (L13).

use ee_protocol::money::MicroUsd;

use super::{
    Books, EntryNo, Policy,
    accounts::Part,
    dispatch::Step,
    ledger::{less, more},
    rows::{LockRow, LockState, MeterRow, SettlementKey},
};

impl Policy {
    /// Locks that one command resolves at most: then waiting requests go first (LEDGER 8). Each is
    /// up to four rows, and whoever waits shares the commit that holds them.
    pub const fn chunk_locks(&self) -> usize {
        match self.rules {
            0 | 1 => 2_000,
            _ => 250,
        }
    }
}

/// What a verdict pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pay {
    /// What is due.
    Pass,
    /// Nothing.
    Nothing,
    /// `floor(due * covered / judged)`: nobody's fault, and too little was seen.
    Split {
        /// The covered part, µs.
        covered_us: u64,
        /// The part that was judged, µs; not zero.
        judged_us: u64,
    },
    /// Nothing: the deadline passed without verdict.
    Expire,
}

/// What one chunk did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Locks that paid something.
    pub settled: u32,
    /// Locks that gave all back.
    pub failed: u32,
    /// What was paid.
    pub posted: MicroUsd,
    /// What was given back.
    pub returned: MicroUsd,
    /// The last lock that was resolved.
    pub last: Option<EntryNo>,
    /// Whether no lock is left.
    pub done: bool,
}

impl Books {
    /// Resolves up to `limit` open locks of a node in a period, always in the same order.
    pub(super) fn settle_chunk(
        &mut self,
        step: &Step<'_>,
        key: SettlementKey,
        pay: Pay,
        limit: usize,
    ) -> Chunk {
        let locks: Vec<LockRow> = self.open_locks(key).take(limit).cloned().collect();
        let mut chunk = Chunk {
            settled: 0,
            failed: 0,
            posted: MicroUsd::ZERO,
            returned: MicroUsd::ZERO,
            last: locks.last().map(|lock| lock.no),
            done: false,
        };
        for lock in &locks {
            let paid = self.settle_lock(step, lock, pay);
            match paid > MicroUsd::ZERO {
                true => chunk.settled += 1,
                false => chunk.failed += 1,
            }
            chunk.posted = more(chunk.posted, paid);
            chunk.returned = more(chunk.returned, less(lock.amount, paid));
        }
        chunk.done = self.open_locks(key).next().is_none();
        chunk
    }

    fn settle_lock(&mut self, step: &Step<'_>, lock: &LockRow, pay: Pay) -> MicroUsd {
        let meter = self.meter_mut(&lock.meter);
        let owed = (pay.due(meter).micros() - meter.posted.micros()).max(0);
        let paid = MicroUsd::from_micros(owed.min(lock.amount.micros()));
        let state = match pay {
            Pay::Expire => LockState::Expired,
            Pay::Pass | Pay::Nothing | Pay::Split { .. } => LockState::Settled,
        };
        self.pay_lock(step, lock, paid, state);
        paid
    }

    /// Resolves a lock in favour of its node: earnings, or pay that rests.
    pub(super) fn pay_lock(
        &mut self,
        step: &Step<'_>,
        lock: &LockRow,
        paid: MicroUsd,
        state: LockState,
    ) {
        let node = lock.meter.node;
        let rests = paid > MicroUsd::ZERO && self.policy_for(lock.meter.period).payout_hold_s > 0;
        let to = if rests {
            self.part(node, Part::Held)
        } else {
            node
        };
        self.resolve(step, lock, (paid, to), state);
    }
}

impl Pay {
    fn due(self, meter: &MeterRow) -> MicroUsd {
        match self {
            Self::Pass => meter.due(),
            Self::Nothing | Self::Expire => MicroUsd::ZERO,
            Self::Split {
                covered_us,
                judged_us,
            } => {
                let due = i128::from(meter.due().micros());
                let covered = i128::from(covered_us.min(judged_us));
                let part = due * covered / i128::from(judged_us.max(1));
                MicroUsd::from_micros(i64::try_from(part).expect("a part of what is due"))
            }
        }
    }
}
