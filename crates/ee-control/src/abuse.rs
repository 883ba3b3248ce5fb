//! Reports of abuse and slashes: filed by one, decided by another.

use ee_core::books::{
    Command, EntryId, Outcome,
    command::{DecideAbuse, DecideSlash, FileAbuse, FileSlash},
    outcome::Filed,
    rows::{AbuseRow, Decision, ReportState, SlashReason},
};
use ee_protocol::{
    account::Note,
    http::abuse::{
        AbuseRequest, DecisionRequest, DecisionWord, ReportStatus, ReportView, SlashRequest,
        SlashStatus, SlashWord,
    },
    problem::ProblemCode,
    time::Timestamp,
};
use ee_store::ledger::history;

use crate::{
    answers::{Answered, Caller, Failure, Listed, Mark, entry_id, names, position, row_at, submit},
    books::BooksHandle,
};

/// Files a report.
///
/// # Errors
/// As the books say: `node_not_found`.
pub async fn file(
    books: &BooksHandle,
    caller: &Caller,
    request: AbuseRequest,
) -> Result<Answered<ReportStatus>, Failure> {
    let AbuseRequest {
        node,
        period,
        reason,
        reported_by,
    } = request;
    let command = Command::FileAbuse(FileAbuse {
        node,
        period: period.map(|sent| sent.period),
        reason: or_empty(reason),
        reported_by: or_empty(reported_by),
    });
    Ok(report_status(filed(books, caller, command).await?))
}

/// Decides a report. The decider is the caller's token; the note is only a note.
///
/// # Errors
/// As the books say: `report_not_found`, `report_already_decided`.
pub async fn decide(
    books: &BooksHandle,
    caller: &Caller,
    report: &str,
    request: DecisionRequest,
) -> Result<Answered<ReportStatus>, Failure> {
    let command = Command::DecideAbuse(DecideAbuse {
        report: entry_id(report, ProblemCode::ReportNotFound)?,
        decision: decision(request.action),
        authorized_by: or_empty(request.authorized_by),
    });
    Ok(report_status(filed(books, caller, command).await?))
}

/// Files a slash.
///
/// # Errors
/// As the books say: `node_not_found`.
pub async fn file_slash(
    books: &BooksHandle,
    caller: &Caller,
    request: SlashRequest,
) -> Result<Answered<SlashStatus>, Failure> {
    let SlashRequest {
        id,
        node,
        reason,
        evidence,
    } = request;
    let command = Command::FileSlash(FileSlash {
        id,
        node,
        reason: match reason {
            SlashWord::DowntimeMigration => SlashReason::DowntimeMigration,
            SlashWord::AttestationFraud => SlashReason::AttestationFraud,
        },
        evidence: or_empty(evidence),
    });
    Ok(slash_status(filed(books, caller, command).await?))
}

/// Executes or denies a slash.
///
/// # Errors
/// As the books say: `slash_not_found`, `slash_already_decided`.
pub async fn decide_slash(
    books: &BooksHandle,
    caller: &Caller,
    slash: &str,
    request: DecisionRequest,
) -> Result<Answered<SlashStatus>, Failure> {
    let command = Command::DecideSlash(DecideSlash {
        slash: entry_id(slash, ProblemCode::SlashNotFound)?,
        decision: decision(request.action),
        authorized_by: or_empty(request.authorized_by),
    });
    Ok(slash_status(filed(books, caller, command).await?))
}

async fn filed(
    books: &BooksHandle,
    caller: &Caller,
    command: Command,
) -> Result<(Filed, Mark), Failure> {
    match submit(books, caller, command).await? {
        (Outcome::Filed(filed), mark) => Ok((filed, mark)),
        (other, _) => unreachable!("reports and slashes are filed, not {other:?}"),
    }
}

fn report_status((filed, mark): (Filed, Mark)) -> Answered<ReportStatus> {
    let body = ReportStatus {
        report_id: filed.id.to_string(),
        status: filed.state.word().to_owned(),
        seq: mark.seq,
    };
    Answered { body, mark }
}

fn slash_status((filed, mark): (Filed, Mark)) -> Answered<SlashStatus> {
    let status = match filed.state {
        ReportState::Pending => "pending",
        ReportState::Authorized => "executed",
        ReportState::Denied | ReportState::Overturned => "denied",
    };
    let body = SlashStatus {
        slash_id: filed.id.to_string(),
        status: status.to_owned(),
        taken_micro_usd: filed.moved.to_string(),
        seq: mark.seq,
    };
    Answered { body, mark }
}

fn decision(action: DecisionWord) -> Decision {
    match action {
        DecisionWord::Authorize => Decision::Authorize,
        DecisionWord::Deny => Decision::Deny,
        DecisionWord::Overturn => Decision::Overturn,
    }
}

fn or_empty(note: Option<Note>) -> Note {
    note.unwrap_or_else(|| Note::parse("").expect("no text is a note"))
}

/// Reports, newest first.
///
/// # Errors
/// When the history cannot be read.
pub async fn list(
    books: &BooksHandle,
    after: Option<&str>,
    limit: u32,
) -> Result<Listed<ReportView>, Failure> {
    let rows = history::abuse_reports(books.ledger(), row_at(after), limit).await?;
    let names = names(books, rows.iter().map(|row| row.node).collect()).await?;
    let listed = Listed::of(rows, limit, |row| position(row.no));
    Ok(listed.map(|row| view(&row, names.get(&row.node).cloned().unwrap_or_default())))
}

fn view(row: &AbuseRow, node_id: String) -> ReportView {
    let text = |note: &Note| Some(note.to_string()).filter(|text| !text.is_empty());
    let decision = row.decision.as_ref();
    ReportView {
        report_id: EntryId::new(row.at, row.no).to_string(),
        node_id,
        from: row.from.rfc3339_micros(),
        until: row.until.map(Timestamp::rfc3339_micros),
        reason: text(&row.reason),
        reported_by: text(&row.reported_by),
        status: row.state.word().to_owned(),
        authorized_by: decision.and_then(|decision| text(&decision.authorized_by)),
        filed_at: row.at.rfc3339_micros(),
        decided_at: decision.map(|decision| decision.at.rfc3339_micros()),
    }
}
