//! Balances added up without the machine that keeps them: L1 and L2 from postings and locks alone.

use std::collections::BTreeMap;

use ee_core::books::{
    AccountNo,
    rows::{AccountKind, AccountRow, LockRow, LockState, TransferKind, TransferRow},
};

use super::{Check, Report};
use crate::{
    error::StoreError,
    ledger::{LedgerStore, books},
};

#[derive(Default, Clone, Copy, PartialEq, Eq)]
struct Sums {
    posted: i128,
    debits_pending: i128,
    credits_pending: i128,
}

/// Every account is the sum of its postings and open locks, and all of them are zero together.
pub(super) async fn balances<S: LedgerStore>(
    store: &S,
    report: &mut Report,
) -> Result<(), StoreError> {
    let mut sums: BTreeMap<AccountNo, Sums> = BTreeMap::new();
    books::each(store, |transfer: TransferRow| {
        if moves_money(transfer.kind) {
            let amount = i128::from(transfer.amount.micros());
            sums.entry(transfer.debit).or_default().posted -= amount;
            sums.entry(transfer.credit).or_default().posted += amount;
        }
    })
    .await?;
    books::each(store, |lock: LockRow| {
        if lock.state == LockState::Open {
            let amount = i128::from(lock.amount.micros());
            sums.entry(lock.meter.account).or_default().debits_pending += amount;
            sums.entry(lock.meter.node).or_default().credits_pending += amount;
        }
    })
    .await?;
    let mut all = 0;
    books::each(store, |account: AccountRow| {
        let kept = Sums {
            posted: account.posted.micros().into(),
            debits_pending: account.debits_pending.micros().into(),
            credits_pending: account.credits_pending.micros().into(),
        };
        all += kept.posted;
        if kept != sums.get(&account.no).copied().unwrap_or_default() {
            let what = format!("{} is not the sum of its postings and locks", account.name);
            report.add(Check::Balances, what);
        }
        if account.kind != AccountKind::Contra && kept.posted < kept.debits_pending {
            report.add(Check::Balances, format!("{} is overdrawn", account.name));
        }
    })
    .await?;
    if all != 0 {
        report.add(
            Check::Balances,
            format!("all accounts together hold {all} µ$"),
        );
    }
    Ok(())
}

fn moves_money(kind: TransferKind) -> bool {
    match kind {
        TransferKind::Lock | TransferKind::Refund | TransferKind::Expire => false,
        TransferKind::Purchase
        | TransferKind::Transfer
        | TransferKind::Settle
        | TransferKind::HoldRelease
        | TransferKind::StakeDeposit
        | TransferKind::ExternalStake
        | TransferKind::UnbondBegin
        | TransferKind::UnbondRelease
        | TransferKind::Slash
        | TransferKind::Clawback
        | TransferKind::ClaimPayment
        | TransferKind::Payout
        | TransferKind::Adjust => true,
    }
}
