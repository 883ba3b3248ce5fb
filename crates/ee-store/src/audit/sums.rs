//! Balances added up without the machine that keeps them: L1 and L2 from postings and locks alone.
//!
//! An account's row lags (`ledger::behind`), so it must be the sum of its postings up to the
//! transfer that it names, which must be its own; and the sum of all of them must cover its locks.

use std::collections::BTreeMap;

use ee_core::books::{
    AccountNo, EntryNo,
    rows::{AccountKind, AccountRow, LockRow, LockState},
};

use super::{Check, Report};
use crate::{
    error::StoreError,
    ledger::{LedgerStore, behind::Movement, books},
};

/// What is known of an account beside its row.
#[derive(Default, Clone, Copy)]
struct Sums {
    /// Of all postings.
    posted: i128,
    /// Of those up to `AccountRow::last`.
    told: i128,
    /// The newest transfer up to there in which it stands.
    last: Option<EntryNo>,
    debits_pending: i128,
}

/// Every account is the sum of its postings, which cover its open locks, and all are zero together.
pub(super) async fn balances<S: LedgerStore>(
    store: &S,
    report: &mut Report,
) -> Result<(), StoreError> {
    let mut accounts: BTreeMap<AccountNo, (AccountRow, Sums)> = BTreeMap::new();
    books::each(store, |row: AccountRow| {
        accounts.insert(row.no, (row, Sums::default()));
    })
    .await?;
    books::each(store, |transfer: Movement| {
        let amount = match transfer.kind.moves_money() {
            true => i128::from(transfer.amount.micros()),
            false => 0,
        };
        for (no, amount) in [(transfer.debit, -amount), (transfer.credit, amount)] {
            match accounts.get_mut(&no) {
                Some((row, sums)) => sums.post(row, transfer.no, amount),
                None => report.add(Check::Balances, format!("account {} is not there", no.0)),
            }
        }
    })
    .await?;
    books::each(store, |lock: LockRow| {
        if lock.state == LockState::Open
            && let Some((_, sums)) = accounts.get_mut(&lock.meter.account)
        {
            sums.debits_pending += i128::from(lock.amount.micros());
        }
    })
    .await?;
    let mut all = 0;
    for (row, sums) in accounts.values() {
        // What came behind the row, on top of what the row says.
        let posted = i128::from(row.posted.micros()) + sums.posted - sums.told;
        all += posted;
        check(row, sums, posted, report);
    }
    if all != 0 {
        let what = format!("all accounts together hold {all} µ$");
        report.add(Check::Balances, what);
    }
    Ok(())
}

fn check(row: &AccountRow, sums: &Sums, posted: i128, report: &mut Report) {
    let name = &row.name;
    if i128::from(row.posted.micros()) != sums.told {
        let what = format!("{name} is not the sum of its postings");
        report.add(Check::Balances, what);
    }
    if row.last != sums.last {
        let what = format!("the newest transfer that {name} names is none of its own");
        report.add(Check::Balances, what);
    }
    if row.kind != AccountKind::Contra && posted < sums.debits_pending {
        report.add(Check::Balances, format!("{name} is overdrawn"));
    }
}

impl Sums {
    fn post(&mut self, row: &AccountRow, no: EntryNo, amount: i128) {
        self.posted += amount;
        if row.last.is_some_and(|last| no <= last) {
            self.told += amount;
            self.last = Some(no);
        }
    }
}
