//! Locks ahead of compute, and who pays for an app.

use std::collections::BTreeMap;

use ee_core::books::{
    AccountNo, Command, EntryId, Outcome,
    command::{BindPayer, Lock, PayerTerms, ReleaseLock},
    funding::Funding,
    rows::{LockMode, LockRow, LockState},
};
use ee_protocol::{
    account::AccountId,
    http::locks::{
        LockRequest, LockView, LockWord, Locked, PayerRequest, PayerStanding, PayerView, Released,
    },
    money::Price,
    names::{AppName, NodeId},
    problem::ProblemCode,
    time::Timestamp,
};
use ee_store::ledger::history::{self, LockFilter};

use crate::{
    answers::{Answered, Caller, Failure, Listed, names, position, row_at, submit},
    books::BooksHandle,
    renewals::RUNWAY_LOW,
};

/// Sets credits aside for a node and a period.
///
/// # Errors
/// As the books say.
pub async fn lock(
    books: &BooksHandle,
    caller: &Caller,
    request: LockRequest,
) -> Result<Answered<Locked>, Failure> {
    let LockRequest {
        id,
        account,
        node,
        vcpus,
        period,
        mode,
    } = request;
    let command = Command::Lock(Lock {
        id,
        account,
        node,
        vcpus,
        period,
        mode: match mode {
            LockWord::Metered => LockMode::Metered,
            LockWord::Reserved => LockMode::Reserved,
        },
    });
    let (outcome, mark) = submit(books, caller, command).await?;
    let Outcome::Locked(locked) = outcome else {
        unreachable!("a lock is made, not {outcome:?}");
    };
    let body = Locked {
        lock_id: locked.lock.to_string(),
        amount_micro_usd: locked.amount.to_string(),
        price_micro_usd: locked.price.money().to_string(),
        expires_at: locked.expires_at.rfc3339_micros(),
        period: period.to_string(),
        seq: mark.seq,
        balances: caller.shown(&locked.balances),
    };
    Ok(Answered { body, mark })
}

/// Gives a lock back that has not started.
///
/// # Errors
/// As the books say: `lock_started`, `lock_resolved`.
pub async fn release(
    books: &BooksHandle,
    caller: &Caller,
    lock: EntryId,
) -> Result<Answered<Released>, Failure> {
    let command = Command::ReleaseLock(ReleaseLock { lock });
    let (outcome, mark) = submit(books, caller, command).await?;
    let Outcome::Released(released) = outcome else {
        unreachable!("a lock is given back, not {outcome:?}");
    };
    let body = Released {
        lock_id: lock.to_string(),
        returned_micro_usd: released.returned.to_string(),
        seq: mark.seq,
        balances: caller.shown(&released.balances),
    };
    Ok(Answered { body, mark })
}

/// Binds who pays for an app.
///
/// # Errors
/// As the books say.
pub async fn bind_payer(
    books: &BooksHandle,
    caller: &Caller,
    app: AppName,
    request: PayerRequest,
) -> Result<Answered<PayerView>, Failure> {
    let PayerRequest {
        account,
        vcpus,
        max_price,
        nodes_max,
    } = request;
    let terms = PayerTerms {
        account: account.clone(),
        vcpus,
        price_max: max_price.and_then(Price::new),
        nodes_max,
    };
    let command = Command::BindPayer(BindPayer {
        app: app.clone(),
        payer: Some(terms),
    });
    let (_, mark) = submit(books, caller, command).await?;
    let body = PayerView {
        app: app.to_string(),
        account_id: Some(account.to_string()),
        vcpus: Some(vcpus),
        max_price_micro_usd: max_price.map(|price| price.to_string()),
        nodes_max: Some(nodes_max),
        seq: mark.seq,
    };
    Ok(Answered { body, mark })
}

/// Leaves an app without payer: it runs without locks.
///
/// # Errors
/// As the books say.
pub async fn unbind_payer(
    books: &BooksHandle,
    caller: &Caller,
    app: AppName,
) -> Result<Answered<PayerView>, Failure> {
    let command = Command::BindPayer(BindPayer {
        app: app.clone(),
        payer: None,
    });
    let (_, mark) = submit(books, caller, command).await?;
    let body = PayerView {
        app: app.to_string(),
        account_id: None,
        vcpus: None,
        max_price_micro_usd: None,
        nodes_max: None,
        seq: mark.seq,
    };
    Ok(Answered { body, mark })
}

/// A lock, open or resolved. The caller compares its account with what the token reaches.
///
/// # Errors
/// `lock_not_found`.
pub async fn show(books: &BooksHandle, lock: EntryId) -> Result<LockView, Failure> {
    let row = history::lock(books.ledger(), lock.no()).await?;
    let row = row.filter(|row| row.id() == lock);
    let row = row.ok_or(Failure::Absent(ProblemCode::LockNotFound))?;
    let names = names(books, [row.meter.account, row.meter.node].into()).await?;
    Ok(view(&row, &names))
}

/// Which locks are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// Who pays.
    pub account: Option<AccountId>,
    /// Who works.
    pub node: Option<NodeId>,
    /// What became of them: `open`, `settled`, `released`, `expired`.
    pub state: Option<LockState>,
}

/// Locks, newest first. Accounts and nodes that nobody has heard of have none.
///
/// # Errors
/// When the history cannot be read.
pub async fn list(
    books: &BooksHandle,
    asked: Asked,
    after: Option<&str>,
    limit: u32,
) -> Result<Listed<LockView>, Failure> {
    let filter = books.read(move |books| {
        let account = asked.account.map(|id| books.account_no(&id).ok_or(()));
        let node = asked.node.map(|id| books.node_no(&id).ok_or(()));
        Ok::<_, ()>(LockFilter {
            account: account.transpose()?,
            node: node.transpose()?,
            state: asked.state,
        })
    });
    let rows = match filter.await? {
        Ok(filter) => history::locks(books.ledger(), filter, row_at(after), limit).await?,
        Err(()) => Vec::new(),
    };
    let numbers = rows
        .iter()
        .flat_map(|row| [row.meter.account, row.meter.node]);
    let names = names(books, numbers.collect()).await?;
    let listed = Listed::of(rows, limit, |row| position(row.no));
    Ok(listed.map(|row| view(&row, &names)))
}

fn view(row: &LockRow, names: &BTreeMap<AccountNo, String>) -> LockView {
    let name = |no| names.get(&no).cloned().unwrap_or_default();
    let from = Timestamp::from_unix_micros(row.from_ms.saturating_mul(1_000));
    LockView {
        lock_id: row.id().to_string(),
        account_id: name(row.meter.account),
        node_id: name(row.meter.node),
        period: row.meter.period.to_string(),
        from: from.rfc3339_micros(),
        vcpus: Some(row.vcpus).filter(|vcpus| *vcpus > 0),
        mode: row.mode.word().to_owned(),
        amount_micro_usd: row.amount.to_string(),
        posted_micro_usd: row.posted.to_string(),
        state: row.state.word().to_owned(),
        expires_at: row.expires_at.rfc3339_micros(),
        app: row.app.as_ref().map(ToString::to_string),
    }
}

/// Who pays for an app, and for how long.
///
/// # Errors
/// When the books do not answer.
pub async fn payer_standing(
    books: &BooksHandle,
    app: &AppName,
    now: Timestamp,
) -> Result<PayerStanding, Failure> {
    let app = app.clone();
    let standing = books.read(move |books| {
        let row = books.payer(&app);
        let funding = books.funding(&app, now);
        let is_low = |funding: &Funding| funding.runway_periods.is_some_and(|it| it < RUNWAY_LOW);
        let word = funding.map(|funding| match funding {
            Funding { is_paid: false, .. } => "exhausted",
            _ if is_low(&funding) => "low",
            _ => "ok",
        });
        PayerStanding {
            payer: PayerView {
                app: app.to_string(),
                account_id: row.map(|row| books.account(row.account).name.to_string()),
                vcpus: row.map(|row| row.vcpus),
                max_price_micro_usd: row
                    .and_then(|row| row.price_max)
                    .map(|price| price.money().to_string()),
                nodes_max: row.map(|row| row.nodes_max),
                seq: books.head().seq.0,
            },
            funds: word.map(str::to_owned),
            runway_periods: funding.and_then(|funding| funding.runway_periods),
        }
    });
    Ok(standing.await?)
}

/// Who pays for an app, if anybody does.
///
/// # Errors
/// When the books do not answer.
pub async fn payer(books: &BooksHandle, app: &AppName) -> Result<Option<String>, Failure> {
    let app = app.clone();
    let account = books.read(move |books| {
        let row = books.payer(&app)?;
        Some(books.account(row.account).name.to_string())
    });
    Ok(account.await?)
}

/// The id of a lock in a path.
///
/// # Errors
/// `lock_not_found` for text that is no id.
pub fn lock_id(text: &str) -> Result<EntryId, Failure> {
    crate::answers::entry_id(text, ProblemCode::LockNotFound)
}
