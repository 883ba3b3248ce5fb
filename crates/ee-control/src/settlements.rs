//! Settlement on demand, and coverage that the uptime server saw.

use ee_core::books::{
    AccountNo, Command, Outcome,
    command::{Finalize, ReportFacts},
    outcome::NodeSettlement,
    rows::{FactRow, ReasonRow, SettlementKey, SettlementRow, SettlementState, Track, Verdict},
};
use ee_core::facts::FactKind;
use ee_protocol::{
    http::settlements::{
        EvidenceView, FactRequest, FactView, FactsReported, FinalizeRequest, Finalized,
        NodeSettled, NodeVerdict, ReasonView, TrackWord,
    },
    money::MicroUsd,
    names::NodeId,
    period::Period,
    problem::ProblemCode,
    time::Timestamp,
};
use ee_store::ledger::history;

use crate::{
    answers::{Answered, Caller, Failure, Listed, Mark, names, submit},
    books::BooksHandle,
};

/// What the prototype said of a node that it did not know.
const NODE_NOT_FOUND: &str = "node_not_found";

/// Settles a period now. A repeat answers with the recorded verdict; `settled` and `failed` count
/// this call.
///
/// # Errors
/// As the books say: `period_open`.
pub async fn finalize(
    books: &BooksHandle,
    caller: &Caller,
    request: &FinalizeRequest,
) -> Result<Answered<Finalized>, Failure> {
    let (period, node) = match request {
        FinalizeRequest::Node(node, sent) => (sent.period, Some(node.clone())),
        FinalizeRequest::All(period) => (*period, None),
    };
    let command = Command::Finalize(Finalize { period, node });
    let (outcome, mark) = submit(books, caller, command).await?;
    let Outcome::Finalized(nodes) = outcome else {
        unreachable!("a period is settled, not {outcome:?}");
    };
    let body = finalized(request, period, &nodes, mark);
    Ok(Answered { body, mark })
}

/// How many locks of these nodes' settlements have paid, and how many gave everything back.
///
/// # Errors
/// When the books do not answer.
pub async fn resolved(
    books: &BooksHandle,
    period: Period,
    nodes: Vec<String>,
) -> Result<(u64, u64), Failure> {
    let counts = books.read(move |books| {
        let ids = nodes.iter().filter_map(|node| NodeId::parse(node).ok());
        let keys = ids.filter_map(|node| {
            let node = books.node_no(&node)?;
            Some(SettlementKey { node, period })
        });
        let rows = keys.filter_map(|key| books.settlement(key));
        rows.fold((0, 0), |(settled, failed), row| {
            (
                settled + u64::from(row.settled),
                failed + u64::from(row.failed),
            )
        })
    });
    Ok(counts.await?)
}

fn finalized(
    request: &FinalizeRequest,
    period: Period,
    nodes: &[NodeSettlement],
    mark: Mark,
) -> Finalized {
    let (node_id, start, end) = match request {
        FinalizeRequest::Node(node, sent) => {
            (Some(node.to_string()), sent.start.clone(), sent.end.clone())
        }
        FinalizeRequest::All(period) => {
            let (start, end) = (period.start(), period.end());
            (None, start.rfc3339_seconds(), end.rfc3339_seconds())
        }
    };
    let mut reasons: Vec<String> = Vec::new();
    for reason in nodes.iter().flat_map(|node| &node.reasons) {
        let word = reason.reason.word();
        if !reasons.iter().any(|known| known == word) {
            reasons.push(word.to_owned());
        }
    }
    if nodes.is_empty() && node_id.is_some() {
        reasons.push(NODE_NOT_FOUND.to_owned());
    }
    let total = |amount: fn(&NodeSettlement) -> MicroUsd| {
        let total: i128 = nodes
            .iter()
            .map(|node| i128::from(amount(node).micros()))
            .sum();
        total.to_string()
    };
    Finalized {
        node_id,
        period_start: start,
        period_end: end,
        eligible: !nodes.is_empty() && nodes.iter().all(|node| node.verdict == Verdict::Pass),
        reasons,
        settled: nodes.iter().map(|node| u64::from(node.settled)).sum(),
        failed: nodes.iter().map(|node| u64::from(node.failed)).sum(),
        verdict: one_verdict(nodes).map(|verdict| verdict.word().to_owned()),
        state: state_of(nodes).to_owned(),
        paid_micro_usd: total(|node| node.posted),
        returned_micro_usd: total(|node| node.returned),
        period: period.to_string(),
        pending_abuse_reports: nodes
            .iter()
            .flat_map(|node| node.pending_abuse.iter().map(ToString::to_string))
            .collect(),
        nodes: match request {
            FinalizeRequest::Node(..) => Vec::new(),
            FinalizeRequest::All(_) => nodes.iter().map(node_settled).collect(),
        },
        seq: mark.seq,
    }
}

/// The verdict that all nodes share; none if they differ or there is none.
fn one_verdict(nodes: &[NodeSettlement]) -> Option<Verdict> {
    let first = nodes.first()?.verdict;
    nodes
        .iter()
        .all(|node| node.verdict == first)
        .then_some(first)
}

fn state_of(nodes: &[NodeSettlement]) -> &'static str {
    let unfinished = [SettlementState::Settling, SettlementState::Awaiting];
    let mut unfinished = unfinished
        .into_iter()
        .filter(|state| nodes.iter().any(|node| node.state == *state));
    unfinished.next().unwrap_or(SettlementState::Settled).word()
}

fn node_settled(node: &NodeSettlement) -> NodeSettled {
    NodeSettled {
        node_id: node.node.to_string(),
        verdict: node.verdict.word().to_owned(),
        state: node.state.word().to_owned(),
        reasons: node.reasons.iter().map(reason_view).collect(),
        settled: u64::from(node.settled),
        failed: u64::from(node.failed),
        paid_micro_usd: node.posted.to_string(),
        returned_micro_usd: node.returned.to_string(),
    }
}

pub(crate) fn reason_view(row: &ReasonRow) -> ReasonView {
    let ReasonRow {
        reason,
        first,
        last,
        count,
        excused_ms,
    } = row;
    ReasonView {
        reason: reason.word().to_owned(),
        first: first.rfc3339_micros(),
        last: last.rfc3339_micros(),
        count: *count,
        excused_ms: *excused_ms,
    }
}

/// Adds coverage that the uptime server saw: a union, so a repeat is harmless.
///
/// # Errors
/// As the books say: `node_not_found`, `period_finalized`.
pub async fn report_facts(
    books: &BooksHandle,
    caller: &Caller,
    request: FactRequest,
) -> Result<Answered<FactsReported>, Failure> {
    let FactRequest {
        node,
        track,
        from,
        until,
    } = request;
    let node_id = NodeId::to_string(&node);
    let command = Command::ReportFacts(ReportFacts {
        node,
        track: match track {
            TrackWord::Health => Track::Health,
            TrackWord::Attestation => Track::Attestation,
        },
        from,
        until,
    });
    let (_, mark) = submit(books, caller, command).await?;
    let body = FactsReported {
        node_id,
        seq: mark.seq,
    };
    Ok(Answered { body, mark })
}

/// Verdicts of a period, in the order in which the nodes came to the books.
///
/// # Errors
/// When the history cannot be read.
pub async fn of_period(
    books: &BooksHandle,
    period: Period,
    after: Option<&str>,
    limit: u32,
) -> Result<Listed<NodeVerdict>, Failure> {
    let after = after.and_then(|after| after.parse().ok()).map(AccountNo);
    let rows = history::settlements(books.ledger(), period, after, limit).await?;
    let names = names(books, rows.iter().map(|row| row.key.node).collect()).await?;
    let listed = Listed::of(rows, limit, |row| row.key.node.0.to_string());
    Ok(listed.map(|row| verdict(&row, names.get(&row.key.node).cloned().unwrap_or_default())))
}

/// Verdicts on a node, the latest period first.
///
/// # Errors
/// `node_not_found`; when the history cannot be read.
pub async fn of_node(
    books: &BooksHandle,
    node: &NodeId,
    after: Option<&str>,
    limit: u32,
) -> Result<Listed<NodeVerdict>, Failure> {
    let no = number(books, node).await?;
    let before = after.and_then(|after| Period::parse(after).ok());
    let rows = history::settlements_of(books.ledger(), no, before, limit).await?;
    let listed = Listed::of(rows, limit, |row| row.key.period.to_string());
    Ok(listed.map(|row| verdict(&row, node.to_string())))
}

/// Verdicts on all nodes, the latest period first.
///
/// # Errors
/// When the history cannot be read.
pub async fn latest(
    books: &BooksHandle,
    after: Option<&str>,
    limit: u32,
) -> Result<Listed<NodeVerdict>, Failure> {
    let before = after.and_then(|after| {
        let (period, node) = after.split_once(' ')?;
        Some(SettlementKey {
            node: AccountNo(node.parse().ok()?),
            period: Period::parse(period).ok()?,
        })
    });
    let rows = history::latest_settlements(books.ledger(), before, limit).await?;
    let names = names(books, rows.iter().map(|row| row.key.node).collect()).await?;
    let listed = Listed::of(rows, limit, |row| {
        format!("{} {}", row.key.period, row.key.node.0)
    });
    Ok(listed.map(|row| verdict(&row, names.get(&row.key.node).cloned().unwrap_or_default())))
}

/// Which verdict on a node is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// That of the latest judged period.
    Latest,
    /// That of this period.
    Of(Period),
}

/// A verdict and the facts behind it; no user and no amount is among them.
///
/// # Errors
/// `node_not_found`, `settlement_not_found`; when the history cannot be read.
pub async fn evidence(
    books: &BooksHandle,
    node: &NodeId,
    which: Which,
) -> Result<EvidenceView, Failure> {
    let no = number(books, node).await?;
    let row = match which {
        Which::Latest => history::settlements_of(books.ledger(), no, None, 1)
            .await?
            .pop(),
        Which::Of(period) => {
            let key = SettlementKey { node: no, period };
            history::settlement(books.ledger(), key).await?
        }
    };
    let row = row.ok_or(Failure::Absent(ProblemCode::SettlementNotFound))?;
    let (from, until) = (row.key.period.start(), row.key.period.end());
    let facts = history::facts(books.ledger(), no, from, until).await?;
    Ok(EvidenceView {
        verdict: verdict(&row, node.to_string()),
        facts: facts.iter().map(fact).collect(),
    })
}

async fn number(books: &BooksHandle, node: &NodeId) -> Result<AccountNo, Failure> {
    let node = node.clone();
    let no = books.read(move |books| books.node_no(&node)).await?;
    no.ok_or(Failure::Absent(ProblemCode::NodeNotFound))
}

fn verdict(row: &SettlementRow, node_id: String) -> NodeVerdict {
    NodeVerdict {
        node_id,
        period: row.key.period.to_string(),
        verdict: row.verdict.word().to_owned(),
        state: row.state.word().to_owned(),
        reasons: row.reasons.iter().map(reason_view).collect(),
        facts_hash: hex::encode(row.facts_hash),
        policy_hash: hex::encode(row.policy_hash),
        at: row.at.rfc3339_micros(),
    }
}

fn fact(row: &FactRow) -> FactView {
    FactView {
        seq: row.no.seq.0,
        kind: row.kind.word().to_owned(),
        from: row.from.rfc3339_micros(),
        until: row.until.map(Timestamp::rfc3339_micros),
        cause: cause(row),
    }
}

/// What the number beside the fact's kind stands for.
fn cause(row: &FactRow) -> Option<String> {
    let word = match FactKind::from_columns(row.kind, row.cause)? {
        FactKind::Covered(_) => return None,
        FactKind::Breach(breach) => breach.word(),
        FactKind::Waiting(dependency) | FactKind::Down(dependency) => dependency.word(),
        FactKind::Lack(lack) => lack.word(),
    };
    Some(word.to_owned())
}
