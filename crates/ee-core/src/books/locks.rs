//! Locks ahead of compute (LEDGER 5): money set aside from a user for a node.
//!
//! **Invariants:** a lock resolves once and gives back what it did not pay (L4); the vCPUs that
//! locks hold on a node at one instant are at most the node's. A reserved lock pays in full and
//! cannot be given back late; a metered one costs nothing until it is used, so until it starts it
//! gives way to reserved ones (ADR 0011).

use std::time::Duration;

use ee_protocol::{
    money::{AMOUNT_MAX_MICRO_USD, MICROS_PER_HOUR, MicroUsd, Price, VcpuMicros},
    names::AppName,
    period::Period,
    time::Timestamp,
};

use super::{
    AccountNo, Books, EntryId, EntryNo, NodeNo, Outcome, Refusal,
    clients::{Once, debit_key},
    command::{Lock, ReleaseLock},
    dispatch::Step,
    ledger::{Posting, less, more},
    outcome::{Locked, Released},
    principal::Principal,
    rows::{LockMode, LockRow, LockState, MeterKey, SettlementKey, TransferKind},
};

/// A reserved lock is given back until as long before its start as it lasts, but never longer
/// than this: a day is enough to find another tenant (ADR 0011).
const NOTICE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What is wanted of a node.
pub(super) struct Wanted {
    pub account: Option<AccountNo>,
    pub node: NodeNo,
    pub period: Period,
    pub vcpus: u32,
    pub mode: LockMode,
    pub price_max: Option<Price>,
}

/// A lock that nothing stands against.
pub(super) struct Plan {
    pub price: Price,
    pub amount: MicroUsd,
    from_ms: i64,
    displaced: Vec<EntryNo>,
}

/// A lock about to be written.
pub(super) struct NewLock {
    pub meter: MeterKey,
    pub price: Price,
    pub from_ms: i64,
    pub vcpus: u32,
    pub mode: LockMode,
    pub amount: MicroUsd,
    pub app: Option<AppName>,
    pub client_id: Option<ee_protocol::account::ClientId>,
}

impl Books {
    pub(super) fn lock(
        &mut self,
        step: &Step<'_>,
        command: &Lock,
        kind: u16,
    ) -> Result<Outcome, Refusal> {
        let key = debit_key(&command.account, command.id.as_ref());
        self.once(step, Once::new(key, kind, command), |books| {
            let account = books.as_user(&command.account)?;
            let node = books.node_or_refuse(&command.node)?;
            let wanted = Wanted {
                account,
                node,
                period: command.period,
                vcpus: command.vcpus,
                mode: command.mode,
                price_max: None,
            };
            let plan = books.plan_lock(step.at, &wanted)?;
            let account = books.make_user(&command.account);
            let meter = MeterKey {
                node,
                period: command.period,
                account,
            };
            let (price, amount) = (plan.price, plan.amount);
            let new = plan.lock(meter, &wanted, (None, command.id.clone()));
            let no = books.carry_out(step, plan, new);
            Ok(Outcome::Locked(Locked {
                lock: EntryId::new(step.at, no),
                amount,
                price,
                expires_at: books.locks.get(&no).expect("it was made").expires_at,
                balances: books.balances(&[account]),
            }))
        })
    }

    /// Whether a lock can be made, and what it takes. Refusals in order of precedence.
    pub(super) fn plan_lock(&self, now: Timestamp, wanted: &Wanted) -> Result<Plan, Refusal> {
        let &Wanted {
            account,
            node,
            period,
            vcpus,
            mode,
            price_max,
        } = wanted;
        if self.nodes.get(&node).is_some_and(|row| row.banned) {
            return Err(Refusal::NodeBanned);
        }
        let meter = account.and_then(|account| {
            self.meter(&MeterKey {
                node,
                period,
                account,
            })
        });
        let price = meter
            .map(|meter| meter.price)
            .or_else(|| self.price_for(node, period))
            .ok_or(Refusal::NodePriceMissing)?;
        if price_max.is_some_and(|max| price > max) {
            return Err(Refusal::PriceAboveMax);
        }
        let from_ms = period.start_ms().max(now.unix_micros().div_euclid(1000));
        let span = (from_ms, period.end_ms());
        let displaced = self.room_for(now, node, span, (vcpus, mode))?;
        if let Some(account) = account {
            self.fits((account, node), period)?;
        }
        if from_ms >= period.end_ms() {
            return Err(Refusal::PeriodFinalized);
        }
        let amount = lock_amount(price, vcpus, period.end_ms() - from_ms)?;
        if amount > MicroUsd::ZERO {
            self.has_funds(account.ok_or(Refusal::InsufficientFunds)?, amount)?;
        }
        Ok(Plan {
            price,
            amount,
            from_ms,
            displaced,
        })
    }

    /// Makes a planned lock; those that give way to it are given back first.
    pub(super) fn carry_out(&mut self, step: &Step<'_>, plan: Plan, new: NewLock) -> EntryNo {
        for no in plan.displaced {
            self.give_back(step, no);
        }
        self.make_lock(step, new)
    }

    /// Writes a lock and sets its amount aside.
    pub(super) fn make_lock(&mut self, step: &Step<'_>, new: NewLock) -> EntryNo {
        let NewLock {
            meter,
            price,
            from_ms,
            vcpus,
            mode,
            amount,
            app,
            client_id,
        } = new;
        let row = self.meter_or_begin(meter, price);
        match mode {
            LockMode::Metered => row.metered = more(row.metered, amount),
            LockMode::Reserved => row.reserved = more(row.reserved, amount),
        }
        let no = self.set_aside(step, &meter, amount, client_id);
        let expires_at = self.open_period(&meter, from_ms);
        let row = LockRow {
            no,
            at: step.at,
            meter,
            from_ms,
            vcpus,
            mode,
            amount,
            posted: MicroUsd::ZERO,
            state: LockState::Open,
            expires_at,
            app,
        };
        self.index_lock(&row);
        self.locks.insert(no, row);
        no
    }

    fn set_aside(
        &mut self,
        step: &Step<'_>,
        meter: &MeterKey,
        amount: MicroUsd,
        client_id: Option<ee_protocol::account::ClientId>,
    ) -> EntryNo {
        if amount == MicroUsd::ZERO {
            return self.next_no(step);
        }
        self.pend(meter, amount);
        let sides = (meter.account, meter.node);
        let posting = Posting {
            client_id,
            ..Posting::of(TransferKind::Lock, sides, amount)
        };
        self.record(step, posting)
    }

    pub(super) fn release_lock(
        &mut self,
        step: &Step<'_>,
        command: &ReleaseLock,
    ) -> Result<Outcome, Refusal> {
        let lock = self
            .any_lock(step, command.lock)
            .ok_or(Refusal::LockNotFound)?;
        let owner = self.account(lock.meter.account).name.id();
        let stranger = match step.actor {
            Principal::Account(id) | Principal::Node(id) => owner.as_ref() != Some(id),
            Principal::System | Principal::Role(_) => false,
        };
        if stranger {
            return Err(Refusal::LockNotFound);
        }
        if self.has_begun(lock, step.at) {
            return Err(Refusal::LockStarted);
        }
        if lock.state != LockState::Open {
            return Err(Refusal::LockResolved);
        }
        let (account, returned, no) = (lock.meter.account, lock.amount, lock.no);
        self.give_back(step, no);
        Ok(Outcome::Released(Released {
            returned,
            balances: self.balances(&[account]),
        }))
    }

    /// A lock by its id, open or resolved.
    fn any_lock<'a>(&'a self, step: &Step<'a>, id: EntryId) -> Option<&'a LockRow> {
        let no = id.no();
        let held = self.locks.get(&no).or_else(|| self.locks.retired(&no));
        let row = held.or_else(|| step.known.locks.get(&no))?;
        (row.at == id.at()).then_some(row)
    }

    /// Whether it is too late to give a lock back: it runs, it has use, or it is reserved and the
    /// notice is over.
    fn has_begun(&self, lock: &LockRow, now: Timestamp) -> bool {
        let start = Timestamp::from_unix_micros(lock.from_ms * 1000);
        let length_ms = u64::try_from(lock.meter.period.length_ms()).unwrap_or(u64::MAX);
        let notice = match lock.mode {
            LockMode::Metered => Duration::ZERO,
            LockMode::Reserved => Duration::from_millis(length_ms).min(NOTICE_MAX),
        };
        now >= start.before(notice) || self.is_used(lock)
    }

    pub(super) fn is_used(&self, lock: &LockRow) -> bool {
        self.meters
            .get(&lock.meter)
            .is_some_and(|meter| meter.used > VcpuMicros::ZERO)
    }

    /// Voids a lock that has not started.
    fn give_back(&mut self, step: &Step<'_>, no: EntryNo) {
        let lock = self
            .locks
            .get(&no)
            .expect("the caller found it open")
            .clone();
        self.resolve(
            step,
            &lock,
            (MicroUsd::ZERO, lock.meter.node),
            LockState::Released,
        );
        let meter = self.meter_mut(&lock.meter);
        match lock.mode {
            LockMode::Metered => meter.metered = less(meter.metered, lock.amount),
            LockMode::Reserved => meter.reserved = less(meter.reserved, lock.amount),
        }
        self.drop_if_idle(&lock.meter);
    }

    /// Resolves an open lock: pays a part of it to an account, gives the rest back.
    pub(super) fn resolve(
        &mut self,
        step: &Step<'_>,
        lock: &LockRow,
        (paid, to): (MicroUsd, AccountNo),
        state: LockState,
    ) {
        assert!(
            lock.state == LockState::Open && paid <= lock.amount,
            "a lock resolves once"
        );
        let back = less(lock.amount, paid);
        let (payer, payee) = (lock.meter.account, lock.meter.node);
        let row = self.account_mut(payer);
        row.debits_pending = less(row.debits_pending, lock.amount);
        let row = self.account_mut(payee);
        row.credits_pending = less(row.credits_pending, lock.amount);
        if paid > MicroUsd::ZERO {
            let posting = Posting::of(TransferKind::Settle, (payer, to), paid);
            self.move_money(
                step,
                Posting {
                    pending: Some(lock.no),
                    ..posting
                },
            );
        }
        if back > MicroUsd::ZERO {
            let kind = match state {
                LockState::Expired => TransferKind::Expire,
                LockState::Open | LockState::Settled | LockState::Released => TransferKind::Refund,
            };
            let posting = Posting::of(kind, (payer, payee), back);
            self.record(
                step,
                Posting {
                    pending: Some(lock.no),
                    ..posting
                },
            );
        }
        self.close_lock(lock, paid, state);
    }

    fn close_lock(&mut self, lock: &LockRow, paid: MicroUsd, state: LockState) {
        let meter = self.meter_mut(&lock.meter);
        meter.posted = more(meter.posted, paid);
        assert!(
            meter.posted <= meter.locked(),
            "a meter pays at most what was locked"
        );
        let row = self.locks.get_mut(&lock.no).expect("it is open");
        row.posted = paid;
        row.state = state;
        self.locks.retire(&lock.no);
        self.unindex_lock(lock);
    }
}

impl Plan {
    pub(super) fn lock(
        &self,
        meter: MeterKey,
        wanted: &Wanted,
        (app, client_id): (Option<AppName>, Option<ee_protocol::account::ClientId>),
    ) -> NewLock {
        NewLock {
            meter,
            price: self.price,
            from_ms: self.from_ms,
            vcpus: wanted.vcpus,
            mode: wanted.mode,
            amount: self.amount,
            app,
            client_id,
        }
    }
}

impl LockRow {
    /// The node and period whose verdict resolves it.
    pub const fn settlement(&self) -> SettlementKey {
        SettlementKey {
            node: self.meter.node,
            period: self.meter.period,
        }
    }
}

/// `ceil(price * vcpus * length / H)` (LEDGER 5).
pub(super) fn lock_amount(price: Price, vcpus: u32, length_ms: i64) -> Result<MicroUsd, Refusal> {
    let length_us = i128::from(length_ms) * 1000;
    let hour = i128::from(MICROS_PER_HOUR);
    let product = i128::from(price.micros()) * i128::from(vcpus) * length_us;
    // More than one transfer may move is more than anybody has at hand.
    i64::try_from((product + hour - 1) / hour)
        .ok()
        .filter(|amount| *amount <= AMOUNT_MAX_MICRO_USD)
        .map(MicroUsd::from_micros)
        .ok_or(Refusal::InsufficientFunds)
}
