//! Who pays for an app, and the locks of its next period (LEDGER 5).
//!
//! The control plane sees the node serve and meters nothing of its own, so an app's lock is a
//! reserved one. Renewing is idempotent per (app, period, node).

use ee_protocol::{account::AccountId, money::MicroUsd, period::Period};

use super::{
    AccountNo, Books, EntryId, EntryNo, NodeNo, Outcome, Refusal,
    command::{BindPayer, PayerTerms, RenewLock},
    dispatch::Step,
    locks::{Wanted, lock_amount},
    outcome::{Renewed, RenewedLock},
    rows::{LockMode, MeterKey, PayerRow},
};

impl Books {
    pub(super) fn bind_payer(
        &mut self,
        step: &Step<'_>,
        command: &BindPayer,
    ) -> Result<Outcome, Refusal> {
        let Some(terms) = &command.payer else {
            self.payers.remove(&command.app);
            return Ok(Outcome::PayerBound);
        };
        let account = self
            .as_user(&terms.account)?
            .ok_or(Refusal::AccountNotFound)?;
        let PayerTerms {
            account: _,
            vcpus,
            price_max,
            nodes_max,
        } = *terms;
        let app = command.app.clone();
        let since = step.at;
        let row = PayerRow {
            app: app.clone(),
            account,
            vcpus,
            price_max,
            nodes_max,
            since,
        };
        let bound = self.payers.get(&app);
        if bound.is_none_or(|bound| {
            PayerRow {
                since: bound.since,
                ..row.clone()
            } != *bound
        }) {
            self.payers.insert(app, row);
        }
        Ok(Outcome::PayerBound)
    }

    /// Locks the period on the first candidates that it can be locked on, up to the payer's
    /// `nodes_max`. Locks on nodes that are no candidates any more do not count: the app moved.
    pub(super) fn renew_lock(
        &mut self,
        step: &Step<'_>,
        command: &RenewLock,
    ) -> Result<Outcome, Refusal> {
        let payer = self
            .payers
            .get(&command.app)
            .ok_or(Refusal::AccountNotFound)?
            .clone();
        if command.period.end() <= step.at {
            return Err(Refusal::PeriodFinalized);
        }
        let node = |node| (AccountId::from(node), self.node_or_refuse(node).ok());
        let candidates: Vec<(AccountId, Option<NodeNo>)> =
            command.candidates.iter().map(node).collect();
        let mut renewed = self.standing_locks(command, &candidates);
        let mut short = None;
        let nodes_max = usize::try_from(payer.nodes_max).unwrap_or(usize::MAX);
        for (id, node) in candidates {
            if renewed.len() >= nodes_max {
                break;
            }
            if renewed.iter().any(|lock| lock.node == id) {
                continue;
            }
            match self.renew_on(step, command, &payer, node) {
                Ok(no) => renewed.push(RenewedLock {
                    node: id,
                    lock: EntryId::new(step.at, no),
                    is_new: true,
                }),
                // The last in the order of precedence is the most useful: only money is missing.
                Err(refusal) => short = short.max(Some(refusal)),
            }
        }
        let short = short.filter(|_| renewed.len() < nodes_max);
        let runway_periods = self.runway(&payer, command.period, &renewed);
        Ok(Outcome::Renewed(Renewed {
            locks: renewed,
            short,
            runway_periods,
        }))
    }

    fn standing_locks(
        &self,
        command: &RenewLock,
        candidates: &[(AccountId, Option<NodeNo>)],
    ) -> Vec<RenewedLock> {
        let standing = |(id, node): &(AccountId, Option<NodeNo>)| {
            let no = self.app_lock(command, (*node)?)?;
            let lock = self.lock_row(no)?.id();
            Some(RenewedLock {
                node: id.clone(),
                lock,
                is_new: false,
            })
        };
        let mut locks: Vec<RenewedLock> = candidates.iter().filter_map(standing).collect();
        locks.sort_by(|a, b| a.node.cmp(&b.node));
        locks.dedup_by(|a, b| a.node == b.node);
        locks
    }

    /// The app's open lock on a node in a period, whoever paid for it.
    fn app_lock(&self, command: &RenewLock, node: NodeNo) -> Option<EntryNo> {
        let meter = |account| MeterKey {
            node,
            period: command.period,
            account,
        };
        let app = |account| (command.app.clone(), meter(AccountNo(account)));
        self.locks_by_app
            .range(app(0)..=app(u32::MAX))
            .next()
            .map(|(_, no)| *no)
    }

    fn renew_on(
        &mut self,
        step: &Step<'_>,
        command: &RenewLock,
        payer: &PayerRow,
        node: Option<NodeNo>,
    ) -> Result<EntryNo, Refusal> {
        let id = self.id_of(payer.account);
        // Bound while its kind was open, it may have become a node's since.
        self.as_user(&id)?;
        let wanted = Wanted {
            account: Some(payer.account),
            node: node.ok_or(Refusal::NodeNotFound)?,
            period: command.period,
            vcpus: payer.vcpus,
            mode: LockMode::Reserved,
            price_max: payer.price_max,
        };
        let plan = self.plan_lock(step.at, &wanted)?;
        let account = self.make_user(&id);
        let meter = MeterKey {
            node: wanted.node,
            period: wanted.period,
            account,
        };
        let new = plan.lock(meter, &wanted, (Some(command.app.clone()), None));
        Ok(self.carry_out(step, plan, new))
    }

    /// How many more whole periods the payer's account can lock as this one.
    fn runway(&self, payer: &PayerRow, period: Period, locks: &[RenewedLock]) -> u32 {
        let available = self.account(payer.account).available();
        let price = |lock: &RenewedLock| self.price_for(self.account_no(&lock.node)?, period);
        let amount = |price| lock_amount(price, payer.vcpus, period.length_ms()).ok();
        let costs = locks.iter().filter_map(price).filter_map(amount);
        let cost: i128 = costs.map(|cost| i128::from(cost.micros())).sum();
        match cost {
            0 if locks.is_empty() || available < MicroUsd::ZERO => 0,
            0 => u32::MAX,
            cost => u32::try_from(i128::from(available.micros()) / cost).unwrap_or(u32::MAX),
        }
    }
}
