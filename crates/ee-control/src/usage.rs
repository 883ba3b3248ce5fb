//! Reports of compute that was used.

use ee_core::books::{
    Command, EntryId, Outcome,
    command::{ReportUsage, UsageIdentity},
};
use ee_protocol::{
    account::AccountId,
    http::usage::{UsageReported, UsageRequest, UsageView},
    problem::ProblemCode,
};
use ee_store::ledger::history;

use crate::{
    answers::{Answered, Caller, Failure, Listed, names, position, row_at, submit},
    books::BooksHandle,
};

/// Counts a report on its meter and locks what it needs.
///
/// # Errors
/// As the books say; without funds an uncollected row stays for the record.
pub async fn report(
    books: &BooksHandle,
    caller: &Caller,
    request: UsageRequest,
) -> Result<Answered<UsageReported>, Failure> {
    let UsageRequest {
        account,
        node,
        period,
        used,
        cumulative,
        usage_id,
        source,
    } = request;
    // A report with both is told apart by the narrower of the two.
    let identity = match (usage_id, source) {
        (Some(id), _) => UsageIdentity::Usage(id),
        (None, Some((source, id))) => UsageIdentity::Source(source, id),
        (None, None) => UsageIdentity::None,
    };
    let command = Command::ReportUsage(ReportUsage {
        account,
        node,
        period: period.period,
        used,
        identity,
        cumulative,
    });
    let (outcome, mark) = submit(books, caller, command).await?;
    let Outcome::UsageReported(reported) = outcome else {
        unreachable!("usage is reported, not {outcome:?}");
    };
    let body = UsageReported {
        usage_id: reported.usage.to_string(),
        lock_id: reported.lock.map(|lock| lock.to_string()),
        amount_cents: reported.charge.cents_floor(),
        amount_micro_usd: reported.charge.to_string(),
        period: period.period.to_string(),
        seq: mark.seq,
    };
    Ok(Answered { body, mark })
}

/// Reports that an account pays for, newest first; also those that it could not pay.
///
/// # Errors
/// `account_not_found`; when the history cannot be read.
pub async fn list(
    books: &BooksHandle,
    account: &AccountId,
    after: Option<&str>,
    limit: u32,
) -> Result<Listed<UsageView>, Failure> {
    let asked = account.clone();
    let no = books.read(move |books| books.account_no(&asked)).await?;
    let no = no.ok_or(Failure::Absent(ProblemCode::AccountNotFound))?;
    let rows = history::usage(books.ledger(), no, row_at(after), limit).await?;
    let names = names(books, rows.iter().map(|row| row.meter.node).collect()).await?;
    let listed = Listed::of(rows, limit, |row| position(row.no));
    Ok(listed.map(|row| UsageView {
        usage_id: EntryId::new(row.at, row.no).to_string(),
        account_id: account.to_string(),
        node_id: names.get(&row.meter.node).cloned().unwrap_or_default(),
        period: row.meter.period.to_string(),
        vcpu_us: row.used.micros().to_string(),
        amount_micro_usd: row.charge.to_string(),
        state: row.state.word().to_owned(),
        at: row.at.rfc3339_micros(),
        seq: row.no.seq.0,
    }))
}
