//! Usage reports: cumulative on a meter, locked before they are owed (LEDGER 2, 5).
//!
//! What a report adds is locked by the shortfall of the meter's need, so a period's charge is
//! rounded once however it was split (L9). Without funds nothing is owed: an `uncollected` row
//! stays for the record.

use ee_protocol::money::{AMOUNT_MAX_MICRO_USD, MicroUsd, Price, VcpuMicros};

use super::{
    Books, EntryId, EntryNo, Outcome, Refusal,
    clients::Once,
    command::{ReportUsage, UsageIdentity},
    dispatch::Step,
    ids::ClientKey,
    ledger::more,
    locks::NewLock,
    outcome::UsageReported,
    rows::{LockMode, LockState, MeterKey, SettlementKey, UsageRow, UsageState, Verdict},
};

/// The most that a meter counts: what a signed column of the store holds.
const USED_MAX: VcpuMicros = VcpuMicros::from_micros(i64::MAX.unsigned_abs());

/// A report that nothing stands against.
struct Counted {
    meter: MeterKey,
    price: Price,
    used: VcpuMicros,
    charge: MicroUsd,
    shortfall: MicroUsd,
    inherits: Option<Verdict>,
}

impl Books {
    pub(super) fn report_usage(
        &mut self,
        step: &Step<'_>,
        command: &ReportUsage,
        kind: u16,
    ) -> Result<Outcome, Refusal> {
        let once = Once::new(usage_key(command), kind, command);
        self.once(step, once, |books| {
            let counted = books.count(step, command)?;
            if books
                .has_funds(counted.meter.account, counted.shortfall)
                .is_err()
            {
                books.leave_uncollected(step, command, &counted);
                return Err(Refusal::InsufficientFunds);
            }
            Ok(books.collect(step, command, counted))
        })
    }

    /// What a report comes to. Refusals in order of precedence; funds are the caller's question.
    fn count(&mut self, step: &Step<'_>, command: &ReportUsage) -> Result<Counted, Refusal> {
        let account = self.as_user(&command.account)?;
        let period = command.period;
        let node = self.node_or_refuse(&command.node);
        let node = node.map_err(|_| Refusal::NodePriceMissing)?;
        let row = account.and_then(|account| {
            self.meter(&MeterKey {
                node,
                period,
                account,
            })
        });
        let price = row
            .map(|meter| meter.price)
            .or_else(|| self.price_for(node, period));
        let price = price.ok_or(Refusal::NodePriceMissing)?;
        let before = row.map_or(VcpuMicros::ZERO, |meter| meter.used);
        let used = total(before, command).ok_or(Refusal::CapacityExceeded)?;
        if let Some(account) = account {
            self.fits((account, node), period)?;
        }
        if self.deadline(period) <= step.at {
            return Err(Refusal::PeriodFinalized);
        }
        let account = account.ok_or(Refusal::InsufficientFunds)?;
        let meter = MeterKey {
            node,
            period,
            account,
        };
        let settlement = self.settlements.get(&SettlementKey { node, period });
        let inherits = settlement.map(|row| row.verdict);
        let charge = price.charge(used) - price.charge(before);
        let need = price.need(used) - i128::from(self.backing(&meter, inherits).micros());
        let failed = inherits == Some(Verdict::Fail);
        let amount = |value: i128| match failed {
            true => Ok(MicroUsd::ZERO),
            false => bounded(value.max(0)),
        };
        Ok(Counted {
            meter,
            price,
            used,
            charge: amount(charge)?,
            shortfall: amount(need)?,
            inherits,
        })
    }

    /// What stands behind the use of a meter: its locks, and once judged what they paid.
    fn backing(&self, key: &MeterKey, verdict: Option<Verdict>) -> MicroUsd {
        let Some(meter) = self.meter(key) else {
            return MicroUsd::ZERO;
        };
        match verdict {
            None => meter.locked(),
            Some(_) => {
                let open = self.locks_of_meter(key).map(|lock| lock.amount);
                open.fold(meter.posted, more)
            }
        }
    }

    fn collect(&mut self, step: &Step<'_>, command: &ReportUsage, counted: Counted) -> Outcome {
        let Counted {
            meter,
            price,
            used,
            charge,
            shortfall,
            inherits,
        } = counted;
        self.make_user(&command.account);
        let row = self.next_no(step);
        let lock = (shortfall > MicroUsd::ZERO).then(|| {
            let new = NewLock {
                meter,
                price,
                from_ms: meter.period.start_ms(),
                vcpus: 0,
                mode: LockMode::Metered,
                amount: shortfall,
                app: None,
                client_id: None,
            };
            self.make_lock(step, new)
        });
        self.meter_or_begin(meter, price).used = used;
        if let (Some(lock), Some(Verdict::Pass)) = (lock, inherits) {
            self.settle_late(step, lock);
        }
        self.assert_backed(&meter, inherits);
        self.log_usage(
            step,
            command,
            (row, meter, charge, lock, UsageState::Collected),
        );
        Outcome::UsageReported(UsageReported {
            usage: EntryId::new(step.at, row),
            lock: lock.map(|no| EntryId::new(step.at, no)),
            charge,
            state: UsageState::Collected,
            balances: self.balances(&[meter.account]),
        })
    }

    /// A report that comes after the verdict inherits it: what it locked is paid at once.
    fn settle_late(&mut self, step: &Step<'_>, no: EntryNo) {
        let lock = self.locks.get(&no).expect("it was just made").clone();
        let meter = self.meter_mut(&lock.meter);
        let owed = meter.due().micros() - meter.posted.micros();
        let paid = MicroUsd::from_micros(owed.clamp(0, lock.amount.micros()));
        let back = lock.amount.micros() - paid.micros();
        self.pay_lock(step, &lock, paid, LockState::Settled);
        if let Some(row) = self.settlements.get_mut(&lock.settlement()) {
            row.posted = more(row.posted, paid);
            row.returned = more(row.returned, MicroUsd::from_micros(back));
        }
        self.paid_out(step, lock.settlement(), paid);
    }

    fn leave_uncollected(&mut self, step: &Step<'_>, command: &ReportUsage, counted: &Counted) {
        let row = self.next_no(step);
        let place = (
            row,
            counted.meter,
            counted.charge,
            None,
            UsageState::Uncollected,
        );
        self.log_usage(step, command, place);
    }

    fn log_usage(
        &mut self,
        step: &Step<'_>,
        command: &ReportUsage,
        (no, meter, charge, lock, state): (
            EntryNo,
            MeterKey,
            MicroUsd,
            Option<EntryNo>,
            UsageState,
        ),
    ) {
        self.usage.push(UsageRow {
            no,
            at: step.at,
            meter,
            identity: command.identity.clone(),
            used: command.used,
            charge,
            lock,
            state,
        });
    }

    /// L9: nobody is charged more than was locked.
    fn assert_backed(&self, key: &MeterKey, verdict: Option<Verdict>) {
        let meter = self.meter(key).expect("it has begun");
        let charge = meter.price.charge(meter.used);
        let locked = i128::from(meter.locked().micros());
        let exempt = verdict == Some(Verdict::Fail);
        assert!(
            exempt || charge <= locked,
            "a charge is locked before it is owed"
        );
    }
}

/// The meter's use after the report.
fn total(before: VcpuMicros, command: &ReportUsage) -> Option<VcpuMicros> {
    let used = match command.cumulative {
        true => before.max(command.used),
        false => before.checked_add(command.used)?,
    };
    (used <= USED_MAX).then_some(used)
}

/// More than one transfer may move is more than anybody has at hand.
fn bounded(value: i128) -> Result<MicroUsd, Refusal> {
    i64::try_from(value)
        .ok()
        .filter(|amount| *amount <= AMOUNT_MAX_MICRO_USD)
        .map(MicroUsd::from_micros)
        .ok_or(Refusal::InsufficientFunds)
}

fn usage_key(command: &ReportUsage) -> Option<ClientKey> {
    match &command.identity {
        UsageIdentity::None => None,
        UsageIdentity::Usage(id) => Some(ClientKey::Usage(
            command.account.clone(),
            command.node.clone(),
            id.clone(),
        )),
        UsageIdentity::Source(source, id) => Some(ClientKey::Source(source.clone(), id.clone())),
    }
}
