//! The books as a whole: sums, and how far the journal goes.

use ee_protocol::http::ledger::{LedgerHead, TrialBalance};
use ee_store::ledger::LedgerStore;

use crate::{answers::Failure, books::BooksHandle};

/// The sums over all accounts.
///
/// # Errors
/// When the books do not answer.
pub async fn trial_balance(books: &BooksHandle) -> Result<TrialBalance, Failure> {
    let (sums, head) = books.read(|books| (books.sums(), books.head())).await?;
    Ok(TrialBalance {
        sum_micro_usd: sums.all.to_string(),
        minted_micro_usd: sums.minted.to_string(),
        external_stake_micro_usd: sums.external_stake.to_string(),
        paid_out_micro_usd: sums.paid_out.to_string(),
        circulation_micro_usd: (sums.minted + sums.external_stake - sums.paid_out).to_string(),
        locked_micro_usd: sums.locked.to_string(),
        accounts: sums.accounts,
        seq: head.seq.0,
    })
}

/// How far the journal goes, and the root of its chain.
///
/// # Errors
/// When the store does not answer.
pub async fn head(books: &BooksHandle) -> Result<LedgerHead, Failure> {
    let head = books.ledger().head().await?;
    Ok(LedgerHead {
        seq: head.seq,
        epoch: head.epoch,
        root: hex::encode(head.root),
        at: head.at.rfc3339_micros(),
    })
}
