//! The accounts as they are: their rows, and the transfers that came after each.

use ee_core::books::{
    AccountNo, EntryNo, Seq,
    ids::IDX_BITS,
    rows::{AccountRow, TransferKind},
};
use ee_protocol::money::MicroUsd;

use super::Behind;
use crate::{
    error::StoreError,
    ledger::{
        LedgerStore, Lookup,
        rows::field::Field,
        tables::SWEEP,
        walk::{Walk, all, walk},
    },
};

/// What of a transfer concerns an account's row.
#[derive(Debug, Clone)]
pub(crate) struct Movement {
    pub no: EntryNo,
    pub kind: TransferKind,
    pub debit: AccountNo,
    pub credit: AccountNo,
    pub amount: MicroUsd,
}

/// Every account as of `head`, in the order of their numbers, pending sums aside; and which of
/// their rows lag.
///
/// # Errors
/// When the store cannot be read, or holds what no server wrote.
pub async fn current<S: LedgerStore>(
    store: &S,
    head: Seq,
) -> Result<(Vec<AccountRow>, Behind), StoreError> {
    let through = through(store, head).await?;
    let mut accounts: Vec<AccountRow> = all(store).await?;
    let mut behind = Behind::of(through, 0, head);
    let last = EntryNo {
        seq: through,
        idx: (1 << IDX_BITS) - 1,
    };
    let later = Walk {
        after: Some(vec![last.to_cell()]),
        ..Walk::by_key::<Movement>()
    };
    let mut missing = None;
    walk(store, later, |transfer: Movement| {
        behind.place.lag += 1;
        missing = redo(&mut accounts, &mut behind, &transfer).err();
        missing.is_none()
    })
    .await?;
    behind.place.lag_then = behind.place.lag;
    match missing {
        Some(error) => Err(error),
        None => Ok((accounts, behind)),
    }
}

/// Takes a transfer into both its accounts, unless their rows have it.
fn redo(
    accounts: &mut [AccountRow],
    behind: &mut Behind,
    transfer: &Movement,
) -> Result<(), StoreError> {
    let amount = match transfer.kind.moves_money() {
        true => transfer.amount.micros(),
        false => 0,
    };
    for (no, amount) in [(transfer.debit, -amount), (transfer.credit, amount)] {
        let row = row(accounts, no).ok_or_else(|| unknown(transfer, no))?;
        if row.last.is_some_and(|last| last >= transfer.no) {
            continue;
        }
        let posted = row.posted.checked_add(MicroUsd::from_micros(amount));
        row.posted = posted.ok_or_else(|| unknown(transfer, no))?;
        row.last = Some(transfer.no);
        behind.stale.insert(no);
    }
    Ok(())
}

fn row(accounts: &mut [AccountRow], no: AccountNo) -> Option<&mut AccountRow> {
    let place = usize::try_from(no.0.checked_sub(1)?).ok()?;
    accounts.get_mut(place).filter(|row| row.no == no)
}

fn unknown(transfer: &Movement, no: AccountNo) -> StoreError {
    let (transfer, no) = (transfer.no.to_cell(), no.to_cell());
    StoreError::Corrupt(format!("transfer {transfer} does not fit account {no}"))
}

/// The command up to which every account row has all transfers.
async fn through<S: LedgerStore>(store: &S, head: Seq) -> Result<Seq, StoreError> {
    let wanted = Lookup {
        table: &SWEEP,
        columns: &["id"],
        values: vec![1_i64.to_cell()],
    };
    let answers = store.lookup(vec![wanted]).await?;
    let Some(row) = answers.into_iter().flatten().next() else {
        return Ok(Seq(0));
    };
    let through = Seq::from_cell(row[SWEEP.position("through")].clone())?;
    match through <= head {
        true => Ok(through),
        false => Err(StoreError::Corrupt(format!(
            "account rows are said to be as of command {}, and the last is {}",
            through.0, head.0
        ))),
    }
}
