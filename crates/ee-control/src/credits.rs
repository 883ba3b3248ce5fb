//! Purchase, transfer, payout: credits come, move and leave.

use ee_core::books::{
    Command, Outcome,
    command::{BatchItem as Item, Payout, Purchase, Transfer, TransferBatch},
    outcome::{ItemResult, Moved},
};
use ee_protocol::{
    http::credits::{
        BatchDone, BatchItem, BatchRequest, PayoutRequest, PurchaseRequest, Purchased,
        TransferRequest, TransferView, Transferred,
    },
    problem::ProblemCode,
};
use ee_store::ledger::history;

use crate::{
    answers::{Answered, Caller, Failure, Mark, Reads, code_of, entry_id, names, submit},
    books::BooksHandle,
};

/// The word for an item whose chain broke: it was not refused itself.
const CHAIN_BROKEN: &str = "chain_broken";

/// Mints credits for an account.
///
/// # Errors
/// As the books say.
pub async fn purchase(
    books: &BooksHandle,
    caller: &Caller,
    request: PurchaseRequest,
) -> Result<Answered<Purchased>, Failure> {
    let PurchaseRequest {
        account,
        amount,
        external_ref,
    } = request;
    let command = Command::Purchase(Purchase {
        account: account.clone(),
        amount,
        external_ref,
    });
    let (moved, mark) = moved(books, caller, command).await?;
    let own = moved
        .balances
        .iter()
        .find(|balance| balance.account == account);
    let body = Purchased {
        account_id: account.to_string(),
        balance_cents: own.map_or(0, |balance| balance.available.cents_floor()),
        transfer_id: moved.transfer.to_string(),
        seq: mark.seq,
        balances: caller.shown(&moved.balances),
    };
    Ok(Answered { body, mark })
}

/// Moves credits from one account to another.
///
/// # Errors
/// As the books say.
pub async fn transfer(
    books: &BooksHandle,
    caller: &Caller,
    request: TransferRequest,
) -> Result<Answered<Transferred>, Failure> {
    let moved = moved(books, caller, Command::Transfer(asked(request))).await?;
    Ok(transferred(caller, moved))
}

/// Credits leave the books.
///
/// # Errors
/// As the books say.
pub async fn payout(
    books: &BooksHandle,
    caller: &Caller,
    request: PayoutRequest,
) -> Result<Answered<Transferred>, Failure> {
    let PayoutRequest {
        id,
        account,
        amount,
        external_ref,
    } = request;
    let command = Command::Payout(Payout {
        id,
        account,
        amount,
        external_ref,
    });
    let moved = moved(books, caller, command).await?;
    Ok(transferred(caller, moved))
}

/// Moves credits many times: one answer, one result for each.
///
/// # Errors
/// As the books say of the batch; refusals of its items are results.
pub async fn transfer_batch(
    books: &BooksHandle,
    caller: &Caller,
    request: BatchRequest,
) -> Result<Answered<BatchDone>, Failure> {
    let items = request.transfers.into_iter();
    let items = items.map(|(transfer, chain)| Item {
        transfer: asked(transfer),
        chain,
    });
    let command = Command::TransferBatch(TransferBatch {
        items: items.collect(),
    });
    let (outcome, mark) = submit(books, caller, command).await?;
    let Outcome::Batch(results) = outcome else {
        unreachable!("a batch is answered item by item, not by {outcome:?}");
    };
    let body = BatchDone {
        results: results.iter().map(item).collect(),
        seq: mark.seq,
    };
    Ok(Answered { body, mark })
}

/// One transfer, for those who may see one of its sides.
///
/// # Errors
/// `transfer_not_found`, also for strangers: an id says nothing about others' money.
pub async fn transfer_show(
    books: &BooksHandle,
    reads: &Reads,
    id: &str,
) -> Result<TransferView, Failure> {
    const ABSENT: ProblemCode = ProblemCode::TransferNotFound;
    let id = entry_id(id, ABSENT)?;
    let row = history::transfer(books.ledger(), id.no()).await?;
    let row = row
        .filter(|row| row.id() == id)
        .ok_or(Failure::Absent(ABSENT))?;
    let names = names(books, [row.debit, row.credit].into()).await?;
    let name = |no| names.get(&no).cloned().unwrap_or_default();
    let (from_account, to_account) = (name(row.debit), name(row.credit));
    let visible = [&from_account, &to_account]
        .into_iter()
        .any(|name| reads.includes(name.split('#').next().unwrap_or_default()));
    if !visible {
        return Err(Failure::Absent(ABSENT));
    }
    let reference = row.reference.as_ref().map(ToString::to_string);
    Ok(TransferView {
        transfer_id: id.to_string(),
        seq: row.no.seq.0,
        kind: row.kind.word().to_owned(),
        from_account,
        to_account,
        amount_micro_usd: row.amount.to_string(),
        reference: reference.or(row.client_id.as_ref().map(ToString::to_string)),
        at: row.at.rfc3339_micros(),
    })
}

fn asked(request: TransferRequest) -> Transfer {
    let TransferRequest {
        id,
        from,
        to,
        amount,
        open_account,
    } = request;
    Transfer {
        id,
        from,
        to,
        amount,
        open_account,
    }
}

fn item(result: &ItemResult) -> BatchItem {
    match result {
        ItemResult::Moved(id) => BatchItem {
            transfer_id: Some(id.to_string()),
            code: None,
        },
        ItemResult::Refused(refusal) => BatchItem {
            transfer_id: None,
            code: Some(code_of(*refusal).to_string()),
        },
        ItemResult::ChainBroken => BatchItem {
            transfer_id: None,
            code: Some(CHAIN_BROKEN.to_owned()),
        },
    }
}

pub(crate) async fn moved(
    books: &BooksHandle,
    caller: &Caller,
    command: Command,
) -> Result<(Moved, Mark), Failure> {
    match submit(books, caller, command).await? {
        (Outcome::Moved(moved), mark) => Ok((moved, mark)),
        (other, _) => unreachable!("credits move, not {other:?}"),
    }
}

pub(crate) fn transferred(caller: &Caller, (moved, mark): (Moved, Mark)) -> Answered<Transferred> {
    let body = Transferred {
        transfer_id: moved.transfer.to_string(),
        seq: mark.seq,
        balances: caller.shown(&moved.balances),
    };
    Answered { body, mark }
}
