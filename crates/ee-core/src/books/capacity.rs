//! Room on a node: the vCPUs that open locks hold at one instant are at most the node's.
//!
//! A reserved lock may take the place of metered ones that have not started, newest first
//! (ADR 0011).

use ee_protocol::{period::PERIOD_MAX_MS, time::Timestamp};

use super::{
    Books, EntryNo, NodeNo, Refusal,
    rows::{LockMode, LockRow},
};

/// Most locks that hold vCPUs in one span: a thousand vCPUs let by the hour for ten hours. Bounds
/// the work of one command; beyond it the node counts as full.
const HOLDERS_MAX: usize = 10_000;

impl Books {
    /// How many vCPUs may be locked on a node; none: no limit.
    pub fn capacity(&self, node: NodeNo) -> Option<u32> {
        let row = self.nodes.get(&node)?;
        row.vcpus.or(row.agent_vcpus)
    }

    /// Whether so many vCPUs are free throughout, and which locks give way for them.
    pub(super) fn room_for(
        &self,
        now: Timestamp,
        node: NodeNo,
        (from_ms, end_ms): (i64, i64),
        (vcpus, mode): (u32, LockMode),
    ) -> Result<Vec<EntryNo>, Refusal> {
        let Some(capacity) = self.capacity(node) else {
            return Ok(Vec::new());
        };
        let span = (from_ms, end_ms);
        let holders: Vec<&LockRow> = self.holders_in(node, span).take(HOLDERS_MAX + 1).collect();
        let free = u64::from(capacity).checked_sub(vcpus.into());
        let free = free
            .filter(|_| holders.len() <= HOLDERS_MAX)
            .ok_or(Refusal::CapacityExceeded)?;
        if peak(&holders, span) <= free {
            return Ok(Vec::new());
        }
        match mode {
            LockMode::Metered => Err(Refusal::CapacityExceeded),
            LockMode::Reserved => self.displaced(now, &holders, (span, free)),
        }
    }

    /// The fewest metered locks, newest first, without which the others hold at most `free`.
    fn displaced(
        &self,
        now: Timestamp,
        holders: &[&LockRow],
        (span, free): ((i64, i64), u64),
    ) -> Result<Vec<EntryNo>, Refusal> {
        let yields = |lock: &&LockRow| self.yields(lock, now);
        let (mut yielding, staying): (Vec<&LockRow>, Vec<&LockRow>) =
            holders.iter().copied().partition(yields);
        yielding.sort_by_key(|lock| lock.no);
        let fits = |kept: usize| {
            let held = staying.iter().chain(&yielding[..kept]).copied();
            peak(&held.collect::<Vec<_>>(), span) <= free
        };
        if !fits(0) {
            return Err(Refusal::CapacityExceeded);
        }
        // The more are kept, the higher the peak: the most that fit are found by halving.
        let (mut kept, mut too_many) = (0, yielding.len());
        while too_many - kept > 1 {
            let middle = kept.midpoint(too_many);
            match fits(middle) {
                true => kept = middle,
                false => too_many = middle,
            }
        }
        Ok(yielding[kept..].iter().map(|lock| lock.no).collect())
    }

    /// Whether a lock gives way: it is metered, has not started and was not used.
    fn yields(&self, lock: &LockRow, now: Timestamp) -> bool {
        let starts = Timestamp::from_unix_micros(lock.from_ms * 1000);
        lock.mode == LockMode::Metered && now < starts && !self.is_used(lock)
    }

    /// The locks that hold vCPUs in a span; in an empty one, of a period that is over, none does.
    fn holders_in(
        &self,
        node: NodeNo,
        (from_ms, end_ms): (i64, i64),
    ) -> impl Iterator<Item = &LockRow> {
        let first = (node, from_ms.saturating_add(1), EntryNo::FIRST);
        // What ends later than the longest period after the span begins after it.
        let last = (node, end_ms.saturating_add(PERIOD_MAX_MS), EntryNo::LAST);
        let some = from_ms < end_ms;
        let found = some.then(|| self.holders.range(first..=last));
        let ending_later = found.into_iter().flatten().map(|((_, _, no), ())| *no);
        let locks = ending_later.map(|no| self.locks.get(&no).expect("a holder is open"));
        locks.filter(move |lock| lock.from_ms < end_ms)
    }
}

/// The most vCPUs held at one instant of a span.
fn peak(holders: &[&LockRow], (from_ms, end_ms): (i64, i64)) -> u64 {
    let mut changes: Vec<(i64, i64)> = Vec::with_capacity(2 * holders.len());
    for lock in holders {
        let (start, end) = (
            lock.from_ms.max(from_ms),
            lock.meter.period.end_ms().min(end_ms),
        );
        changes.push((start, i64::from(lock.vcpus)));
        changes.push((end, -i64::from(lock.vcpus)));
    }
    // At one instant, what ends comes before what begins: spans are half-open.
    changes.sort_unstable();
    let mut held = 0_i64;
    let mut most = 0_i64;
    for (_, change) in changes {
        held += change;
        most = most.max(held);
    }
    most.unsigned_abs()
}
