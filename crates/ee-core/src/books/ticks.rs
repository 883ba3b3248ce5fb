//! `Tick` (LEDGER 8): what is due happens, in a fixed order, a bounded part at a time.
//!
//! Order: judge what is due, resolve judged locks, force what reached its deadline, expire what
//! is left, release pay and stake, execute slashes, forget what nothing needs. **Invariant:** at
//! most [`Policy::chunk_locks`](super::Policy::chunk_locks) of them a tick; `more` says that
//! another is due at once.

use std::time::Duration;

use ee_protocol::time::Timestamp;

use super::{
    Books, EntryNo, Outcome,
    accounts::Part,
    dispatch::Step,
    ledger::Posting,
    outcome::Ticked,
    rows::{ReportState, SettlementKey, SettlementState, TransferKind},
};

/// The longest period: what is older than this and the deadline concerns no period that may still
/// be settled.
const PERIOD_MAX: Duration = Duration::from_secs(31 * 86_400);

/// What is left of a tick's rows.
struct Budget(usize);

impl Budget {
    fn spend(&mut self, rows: usize) {
        self.0 = self.0.saturating_sub(rows);
    }
}

impl Books {
    /// Does what is due.
    pub(super) fn tick(&mut self, step: &Step<'_>) -> Outcome {
        let mut done = Ticked::default();
        let mut budget = Budget(self.policy().chunk_locks());
        self.facts.end_silent(step.at);
        self.judge_due(step, &mut done, &mut budget);
        self.settle_judged(step, &mut done, &mut budget);
        self.expire_due(step, &mut done, &mut budget);
        self.release_due(step, &mut done, &mut budget);
        self.prune(step.at, &mut budget);
        done.more = budget.0 == 0 && self.is_due(step.at);
        Outcome::Ticked(done)
    }

    /// Whether a tick has something to do.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.facts.silent_at().is_some_and(|at| at <= now)
            || self.to_judge(now).next().is_some()
            || !self.settling.is_empty()
            || self.expired_settlements(now).next().is_some()
            || self.holds.iter().any(|(_, row)| row.free_at <= now)
            || self.unbondings.iter().any(|(_, row)| row.free_at <= now)
            || self
                .slashes
                .iter()
                .any(|(_, row)| row.due.is_some_and(|due| due <= now))
            || self.is_prunable(now)
    }

    /// Periods that get a verdict now: after their grace, unless an observer has not told all yet
    /// or a report about them is undecided; at their deadline in any case.
    fn to_judge(&self, now: Timestamp) -> impl Iterator<Item = SettlementKey> {
        let told_until = self.facts.told_until(now);
        self.due_settlements(now.before(self.least_grace()))
            .filter(move |key| {
                let forced = self.deadline(key.period) <= now;
                let state = self.settlements.get(key).map(|row| row.state);
                match state {
                    Some(SettlementState::Settling | SettlementState::Settled) => false,
                    Some(SettlementState::Awaiting) => forced,
                    None => {
                        let due =
                            key.period.end().after(self.policy_for(key.period).grace()) <= now;
                        let told = key.period.end() <= told_until;
                        forced || due && told && !self.abuse_defers(*key, now)
                    }
                }
            })
    }

    /// The shortest grace among the settings in force.
    fn least_grace(&self) -> Duration {
        let graces = self.policies.iter().map(|(_, row)| row.policy.grace());
        graces.min().unwrap_or_else(|| self.policy().grace())
    }

    fn judge_due(&mut self, step: &Step<'_>, done: &mut Ticked, budget: &mut Budget) {
        let due: Vec<SettlementKey> = self.to_judge(step.at).take(budget.0).collect();
        for key in due {
            self.judge_period(step, key);
            done.judged += 1;
            budget.spend(1);
        }
    }

    fn settle_judged(&mut self, step: &Step<'_>, done: &mut Ticked, budget: &mut Budget) {
        while budget.0 > 0 {
            let Some((key, ())) = self.settling.first() else {
                return;
            };
            let key = *key;
            let (settled, failed) = self.settle_next(step, key, budget.0);
            done.resolved += settled + failed;
            budget.spend((settled + failed) as usize + 1);
        }
    }

    /// Locks past their deadline in a period that is settled: nothing makes such, so they are an
    /// incident, and give all back.
    fn expire_due(&mut self, step: &Step<'_>, done: &mut Ticked, budget: &mut Budget) {
        let is_settled = |key: &SettlementKey| {
            self.settlement(*key)
                .is_some_and(|row| row.state == SettlementState::Settled)
        };
        let expired = self.expired_settlements(step.at).filter(is_settled);
        for key in expired.take(budget.0).collect::<Vec<_>>() {
            let before = self.open_locks(key).count();
            self.meet_deadline(step, key, budget.0.max(1));
            let resolved = before - self.open_locks(key).count();
            done.expired += u32::try_from(resolved).unwrap_or(u32::MAX);
            budget.spend(resolved + 1);
        }
    }

    fn release_due(&mut self, step: &Step<'_>, done: &mut Ticked, budget: &mut Budget) {
        let holds = self.holds.iter().filter(|(_, row)| row.free_at <= step.at);
        let holds: Vec<SettlementKey> = holds.map(|(key, _)| *key).take(budget.0).collect();
        for key in &holds {
            self.release_hold(step, *key);
        }
        budget.spend(holds.len());
        let free = self
            .unbondings
            .iter()
            .filter(|(_, row)| row.free_at <= step.at);
        let free: Vec<EntryNo> = free.map(|(no, _)| *no).take(budget.0).collect();
        for no in &free {
            self.release_unbonding(step, *no);
        }
        budget.spend(free.len());
        let pending = |row: &super::rows::SlashRow| row.state == ReportState::Pending;
        let due = self
            .slashes
            .iter()
            .filter(|(_, row)| pending(row) && row.due.is_some_and(|due| due <= step.at));
        let due: Vec<EntryNo> = due.map(|(no, _)| *no).take(budget.0).collect();
        for no in &due {
            self.execute_due_slash(step, *no);
        }
        budget.spend(due.len());
        let released = holds.len() + free.len() + due.len();
        done.released += u32::try_from(released).unwrap_or(u32::MAX);
    }

    fn release_hold(&mut self, step: &Step<'_>, key: SettlementKey) {
        let Some(row) = self.holds.get_mut(&key) else {
            return;
        };
        let amount = std::mem::take(&mut row.amount);
        self.holds.retire(&key);
        let held = self.part(key.node, Part::Held);
        let kind = TransferKind::HoldRelease;
        self.move_money(step, Posting::of(kind, (held, key.node), amount));
        self.pay_claims(step, key.node);
    }

    /// What is older concerns no period that may still be settled.
    fn horizon(&self, now: Timestamp) -> Timestamp {
        now.before(PERIOD_MAX).before(self.policy().deadline())
    }

    fn is_prunable(&self, now: Timestamp) -> bool {
        let over = |key: &SettlementKey| self.is_forgettable(*key, now);
        self.settlements.first().is_some_and(|(key, _)| over(key))
    }

    fn prune(&mut self, now: Timestamp, budget: &mut Budget) {
        let horizon = self.horizon(now);
        let facts = self.facts.forget(horizon, budget.0);
        budget.spend(facts);
        let reports = self.forget_reports(horizon, budget.0);
        budget.spend(reports);
        let settlements = self.settlements.iter().map(|(key, _)| *key);
        let old: Vec<SettlementKey> = settlements
            .filter(|key| self.is_forgettable(*key, now))
            .take(budget.0)
            .collect();
        for key in &old {
            self.settlements.retire(key);
        }
        budget.spend(old.len());
        let meters = self.retire_meters(now, budget.0);
        budget.spend(meters);
    }

    /// Whether a settlement is done and past its deadline: reports for it are refused then.
    fn is_forgettable(&self, key: SettlementKey, now: Timestamp) -> bool {
        let row = self.settlements.get(&key);
        let is_done = row.is_some_and(|row| row.state == SettlementState::Settled);
        is_done && self.deadline(key.period) <= now
    }
}
