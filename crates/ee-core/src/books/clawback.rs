//! Clawback (LEDGER 8): abuse that was authorised after a period was paid.
//!
//! Exactly what that period posted comes back, from held pay, earnings, stake and unbonding in
//! turn; what is missing is a claim. **Invariants:** no balance goes below zero, no credit is
//! invented, a meter is clawed back once.

use ee_protocol::money::MicroUsd;

use super::{
    AccountNo, Books, NodeNo,
    accounts::Part,
    dispatch::Step,
    ledger::{Posting, less, more},
    rows::{MeterKey, SettlementKey, SettlementState, TransferKind},
};
use crate::facts::spans::Span;

/// What one meter gets back.
struct Share {
    meter: MeterKey,
    owed: MicroUsd,
    paid: MicroUsd,
}

impl Books {
    /// Claws back every settlement of a node that shares time with a span: until its deadline,
    /// when it is final for all. One that is still being paid follows when it is done.
    pub(super) fn claw_back_within(
        &mut self,
        step: &Step<'_>,
        node: NodeNo,
        span: Span,
    ) -> MicroUsd {
        let mine = self.settlements_of(node);
        let keys: Vec<SettlementKey> = mine
            .filter(|row| row.state == SettlementState::Settled)
            .map(|row| row.key)
            .filter(|key| key.shares(span) && step.at < self.deadline(key.period))
            .collect();
        keys.into_iter().fold(MicroUsd::ZERO, |sum, key| {
            more(sum, self.claw_back(step, key))
        })
    }

    /// Claws back one settlement; what could be paid at once is returned.
    pub(super) fn claw_back(&mut self, step: &Step<'_>, key: SettlementKey) -> MicroUsd {
        let mut shares = self.owed(key);
        let owed = shares
            .iter()
            .fold(MicroUsd::ZERO, |sum, share| more(sum, share.owed));
        let sources = self.sources(key);
        let there = sources
            .iter()
            .fold(MicroUsd::ZERO, |sum, (_, held)| more(sum, *held));
        let paid = owed.min(there);
        distribute(&mut shares, owed, paid);
        self.pay_back(step, key, sources, &shares);
        for share in shares {
            let meter = self.meters.get_mut(&share.meter).expect("listed by owed()");
            meter.clawed_back = more(meter.clawed_back, share.owed);
            let missing = less(share.owed, share.paid);
            if missing > MicroUsd::ZERO {
                self.add_claim(step, key.node, share.meter.account, missing);
            }
        }
        paid
    }

    /// What a period posted and did not give back yet, by meter.
    fn owed(&self, key: SettlementKey) -> Vec<Share> {
        let meters = self.meters_of(key);
        let owed = meters.map(|row| Share {
            meter: row.key,
            owed: less(row.posted, row.clawed_back),
            paid: MicroUsd::ZERO,
        });
        owed.filter(|share| share.owed > MicroUsd::ZERO).collect()
    }

    /// Where it comes from, in order: this period's held pay, earnings, stake, unbonding.
    fn sources(&mut self, key: SettlementKey) -> [(AccountNo, MicroUsd); 4] {
        let node = key.node;
        let held = self
            .holds
            .get(&key)
            .map_or(MicroUsd::ZERO, |row| row.amount);
        let earned = self.account(node).available().max(MicroUsd::ZERO);
        let stake = self.part(node, Part::Stake);
        let unbonding = self.part(node, Part::Unbonding);
        [
            (self.part(node, Part::Held), held),
            (node, earned),
            (stake, self.account(stake).posted),
            (unbonding, self.account(unbonding).posted),
        ]
    }

    fn pay_back(
        &mut self,
        step: &Step<'_>,
        key: SettlementKey,
        sources: [(AccountNo, MicroUsd); 4],
        shares: &[Share],
    ) {
        let mut taken = [MicroUsd::ZERO; 4];
        let mut source = 0;
        for share in shares {
            let mut missing = share.paid;
            while missing > MicroUsd::ZERO {
                let (account, there) = sources[source];
                let part = missing.min(less(there, taken[source]));
                if part == MicroUsd::ZERO {
                    source += 1;
                    continue;
                }
                let sides = (account, share.meter.account);
                self.move_money(step, Posting::of(TransferKind::Clawback, sides, part));
                taken[source] = more(taken[source], part);
                missing = less(missing, part);
            }
        }
        let [held, _earned, stake, unbonding] = taken;
        self.shrink_hold(key, held);
        self.shrink_unbonding(key.node, unbonding);
        if stake > MicroUsd::ZERO {
            self.refresh_standing(step, key.node);
        }
    }

    /// Held pay of a period is less by now.
    fn shrink_hold(&mut self, key: SettlementKey, amount: MicroUsd) {
        let Some(row) = self.holds.get_mut(&key) else {
            assert!(amount == MicroUsd::ZERO, "nothing is held");
            return;
        };
        row.amount = less(row.amount, amount);
        if row.amount == MicroUsd::ZERO {
            self.holds.retire(&key);
        }
    }
}

/// Divides `paid` among the shares in proportion to what each is owed, by largest remainder; of
/// equal remainders the first account's wins, so that the result does not depend on order.
fn distribute(shares: &mut [Share], owed: MicroUsd, paid: MicroUsd) {
    let (whole, part) = (i128::from(owed.micros()), i128::from(paid.micros()));
    if whole == 0 {
        return;
    }
    let mut left = part;
    let mut remainders = Vec::with_capacity(shares.len());
    for (index, share) in shares.iter_mut().enumerate() {
        let product = i128::from(share.owed.micros()) * part;
        let floor = product / whole;
        left -= floor;
        share.paid = amount(floor);
        remainders.push((std::cmp::Reverse(product % whole), share.meter, index));
    }
    remainders.sort_unstable();
    for (_, _, index) in remainders {
        if left == 0 {
            return;
        }
        let share = &mut shares[index];
        if share.paid < share.owed {
            share.paid = more(share.paid, MicroUsd::from_micros(1));
            left -= 1;
        }
    }
    assert!(left == 0, "all of it is divided");
}

fn amount(micros: i128) -> MicroUsd {
    MicroUsd::from_micros(i64::try_from(micros).expect("a part is not more than the whole"))
}
