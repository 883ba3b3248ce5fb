//! Accounts: what they hold, and every line that led there.

use std::collections::{BTreeMap, BTreeSet};

use ee_core::books::{
    AccountNo, EntryNo, outcome,
    rows::{AccountKind, TransferKind, TransferRow},
    views::AccountShown,
};
use ee_protocol::{
    account::AccountId,
    http::{
        accounts::{AccountView, Entry},
        credits::Balance,
    },
    money::MicroUsd,
    problem::ProblemCode,
};
use ee_store::ledger::history;

use crate::{
    answers::{Failure, Listed, Reads, holdings, names, position, row_at},
    books::BooksHandle,
};

/// What an account holds; one that nobody has heard of holds nothing.
///
/// # Errors
/// When the books do not answer.
pub async fn balance(books: &BooksHandle, id: &AccountId) -> Result<Balance, Failure> {
    let asked = id.clone();
    let found = books.read(move |books| books.balance(&asked)).await?;
    let nothing = outcome::Balance {
        account: id.clone(),
        available: MicroUsd::ZERO,
        posted: MicroUsd::ZERO,
        locked: MicroUsd::ZERO,
        held: MicroUsd::ZERO,
    };
    let exists = found.is_some();
    let balance = found.unwrap_or(nothing);
    Ok(Balance {
        account_id: id.to_string(),
        balance_cents: balance.available.cents_floor(),
        exists,
        holdings: holdings(&balance),
    })
}

/// An account.
///
/// # Errors
/// `account_not_found`.
pub async fn show(books: &BooksHandle, id: &AccountId) -> Result<AccountView, Failure> {
    let asked = id.clone();
    let found = books.read(move |books| books.account_shown(books.account_no(&asked)?));
    found.await?.map(view).ok_or(ABSENT)
}

/// Accounts in the order of their opening, those that the caller may read.
///
/// # Errors
/// When the books do not answer.
pub async fn list(
    books: &BooksHandle,
    reads: Reads,
    after: Option<&str>,
    limit: u32,
) -> Result<Listed<AccountView>, Failure> {
    let after = AccountNo(after.and_then(|after| after.parse().ok()).unwrap_or(0));
    let most = limit as usize;
    let shown: Vec<AccountShown> = books
        .read(move |books| match reads {
            Reads::All => books.accounts_shown(after).take(most).collect(),
            Reads::Only(ids) => {
                let ids = ids.iter().filter_map(|id| AccountId::parse(id).ok());
                let numbers: BTreeSet<AccountNo> =
                    ids.filter_map(|id| books.account_no(&id)).collect();
                let later = numbers.into_iter().filter(|no| *no > after);
                let shown = later.filter_map(|no| books.account_shown(no));
                shown.take(most).collect()
            }
        })
        .await?;
    Ok(Listed::of(shown, limit, |shown| shown.no.0.to_string()).map(view))
}

const ABSENT: Failure = Failure::Absent(ProblemCode::AccountNotFound);

fn view(shown: AccountShown) -> AccountView {
    let kind = match shown.kind {
        AccountKind::User | AccountKind::Node => Some(shown.kind.word().to_owned()),
        AccountKind::Unfixed
        | AccountKind::Held
        | AccountKind::Stake
        | AccountKind::Unbonding
        | AccountKind::Pool
        | AccountKind::Contra => None,
    };
    AccountView {
        account_id: shown.balance.account.to_string(),
        kind,
        holdings: holdings(&shown.balance),
        stake_micro_usd: shown.stake.to_string(),
        unbonding_micro_usd: shown.unbonding.to_string(),
    }
}

/// Lines of an account and its parts, newest first.
///
/// # Errors
/// `account_not_found`; when the history cannot be read.
pub async fn entries(
    books: &BooksHandle,
    id: &AccountId,
    after: Option<&str>,
    limit: u32,
) -> Result<Listed<Entry>, Failure> {
    let asked = id.clone();
    let own = books.read(move |books| {
        let no = books.account_no(&asked)?;
        Some(books.account_and_parts(no))
    });
    let own = own.await?.ok_or(ABSENT)?;
    let from = match after {
        Some(position) => resumed(position, &own),
        None => own.clone(),
    };
    let transfers = newest(books, from, limit).await?;
    let numbers = transfers
        .rows
        .iter()
        .flat_map(|row| [row.debit, row.credit]);
    let names = names(books, numbers.collect()).await?;
    let name = |no: AccountNo| names.get(&no).cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for row in &transfers.rows {
        if own.contains_key(&row.debit) {
            lines.push(line(
                row,
                format!("-{}", row.amount),
                name(row.debit),
                name(row.credit),
            ));
        }
        if own.contains_key(&row.credit) {
            lines.push(line(
                row,
                row.amount.to_string(),
                name(row.credit),
                name(row.debit),
            ));
        }
    }
    Ok(Listed {
        rows: lines,
        next: transfers.next,
    })
}

/// Where the history of each account goes on; none: it is at its end.
type Heads = BTreeMap<AccountNo, Option<EntryNo>>;

/// The newest transfers of these accounts. A page ends between transfers, never inside one.
async fn newest(
    books: &BooksHandle,
    mut heads: Heads,
    limit: u32,
) -> Result<Listed<TransferRow>, Failure> {
    let mut found = Vec::new();
    for (account, head) in &heads {
        if let Some(head) = head {
            found.extend(history::transfers(books.ledger(), *account, *head, limit).await?);
        }
    }
    found.sort_by_key(|row: &TransferRow| std::cmp::Reverse(row.no));
    found.dedup_by_key(|row| row.no);
    found.truncate(limit as usize);
    for row in &found {
        for account in [row.debit, row.credit] {
            heads
                .entry(account)
                .and_modify(|head| *head = row.before(account));
        }
    }
    let more = heads.values().any(Option::is_some);
    Ok(Listed {
        rows: found,
        next: more.then(|| place(&heads)),
    })
}

/// `12@7.0,13@5.1`: each account with the transfer that comes next.
fn place(heads: &Heads) -> String {
    let heads = heads
        .iter()
        .filter_map(|(account, head)| Some(format!("{}@{}", account.0, position((*head)?))));
    heads.collect::<Vec<_>>().join(",")
}

/// What a position says about one's own accounts; those opened since have only newer lines.
fn resumed(place: &str, own: &Heads) -> Heads {
    let heads = place.split(',').filter_map(|one| {
        let (account, head) = one.split_once('@')?;
        Some((AccountNo(account.parse().ok()?), row_at(Some(head))))
    });
    heads.filter(|(no, _)| own.contains_key(no)).collect()
}

fn line(row: &TransferRow, amount: String, account: String, counterparty: String) -> Entry {
    let reference = row.reference.as_ref().map(ToString::to_string);
    let client_id = row.client_id.as_ref().map(ToString::to_string);
    Entry {
        seq: row.no.seq.0,
        at: row.at.rfc3339_micros(),
        kind: row.kind.word().to_owned(),
        transfer_id: row.id().to_string(),
        amount_micro_usd: amount,
        effect: effect(row.kind).to_owned(),
        account,
        counterparty,
        reference: reference.or(client_id),
    }
}

/// Locks and what gives them back move nothing: the money stays posted where it is.
pub(crate) fn effect(kind: TransferKind) -> &'static str {
    match kind {
        TransferKind::Lock | TransferKind::Refund | TransferKind::Expire => "pending",
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
        | TransferKind::Adjust => "posted",
    }
}
