//! What was judged of nodes, for routing: read from the store when a node is first seen, then kept
//! up by the verdicts that stand in memory, once a minute.
//!
//! Only verdicts count, and what they rest on (decision 0018): whoever is paid by nobody is judged
//! by nobody, and stands where a newcomer stands.

use std::{collections::BTreeMap, time::Duration};

use ee_core::{
    books::{
        Books, NodeNo, Seq,
        rows::{AbuseRow, Decision, Reason, SettlementRow, Verdict},
    },
    registry::Node,
    routing::{
        Offer,
        trust::{Backing, Evidence, REMEMBERED_DAYS, Record, Trust, day_of},
    },
};
use ee_protocol::{money::Price, names::NodeId, time::Timestamp};
use ee_store::{StoreError, ledger::history};

use crate::books::{BooksHandle, SubmitError};

/// How often what was judged since is counted.
const REFRESH: Duration = Duration::from_secs(60);
/// Rows read at once, and at most of one node: ninety days of hours, and some more.
const PAGE: u32 = 500;
const PAGES: usize = 5;
const DAY: Duration = Duration::from_secs(86_400);

/// What a node asks for, and what it has at stake, as the books say.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// What it asks for a vCPU-hour.
    pub price: Option<Price>,
    /// Its stake.
    pub backing: Backing,
}

/// The records of the nodes that were seen.
#[derive(Debug, Default)]
pub struct Records {
    known: BTreeMap<NodeId, Known>,
    counted_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Known {
    no: NodeNo,
    record: Record,
    /// Verdicts up to this command are counted.
    counted: Seq,
}

/// What the books say of one node since its record was last counted.
struct News {
    id: NodeId,
    no: NodeNo,
    rows: Vec<SettlementRow>,
}

impl Records {
    /// Counts what is new, if it is time or a node was not seen before. What cannot be read now is
    /// read the next time: nodes stand as they stood.
    pub async fn refresh(&mut self, books: &BooksHandle, nodes: &[NodeId], now: Timestamp) {
        let is_new = nodes.iter().any(|node| !self.known.contains_key(node));
        let is_due = self.counted_at.is_none_or(|at| now.since(at) >= REFRESH);
        if !is_new && !is_due {
            return;
        }
        match self.count(books, nodes, now).await {
            Ok(()) => self.counted_at = Some(now),
            Err(error) => tracing::warn!(event = "trust_not_counted", %error),
        }
    }

    async fn count(
        &mut self,
        books: &BooksHandle,
        nodes: &[NodeId],
        now: Timestamp,
    ) -> Result<(), Unread> {
        let since: Vec<(NodeId, Option<Seq>)> = nodes
            .iter()
            .map(|id| (id.clone(), self.known.get(id).map(|known| known.counted)))
            .collect();
        let (head, window, news) = books.read(move |books| news(books, since)).await?;
        for News { id, no, rows } in news {
            if !self.known.contains_key(&id) {
                let record = Record::default();
                let fresh = Known {
                    no,
                    record,
                    counted: head,
                };
                let rows = judged(books, no, now).await?;
                let known = self.known.entry(id).or_insert(fresh);
                rows.iter()
                    .for_each(|row| count(&mut known.record, row, window));
            } else if let Some(known) = self.known.get_mut(&id) {
                rows.iter()
                    .for_each(|row| count(&mut known.record, row, window));
                known.counted = head;
            }
        }
        self.count_abuse(books, now).await
    }

    async fn count_abuse(&mut self, books: &BooksHandle, now: Timestamp) -> Result<(), Unread> {
        let oldest = day_of(now).saturating_sub(REMEMBERED_DAYS);
        let reports = history::abuse_reports(books.ledger(), None, PAGE).await?;
        let mut decided: BTreeMap<NodeNo, Vec<u32>> = BTreeMap::new();
        for report in &reports {
            let day = authorised_on(report).filter(|day| *day > oldest);
            decided.entry(report.node).or_default().extend(day);
        }
        for known in self.known.values_mut() {
            known.record.abuse = decided.remove(&known.no).unwrap_or_default();
            known.record.days.retain(|day, _| *day > oldest);
        }
        Ok(())
    }

    /// What a node offers, weighed; none without a price.
    pub fn offer(
        &self,
        node: &Node,
        terms: Terms,
        interval: Duration,
        now: Timestamp,
    ) -> Option<Offer> {
        let nothing = Record::default();
        let record = self
            .known
            .get(&node.id)
            .map_or(&nothing, |known| &known.record);
        let trust = Trust::of(
            record,
            day_of(now),
            evidence(node, interval, now)?,
            terms.backing,
        );
        let price = terms.price?;
        Some(Offer {
            price,
            trust,
            effective: trust.effective(price),
        })
    }
}

/// Verdicts since each node's record was counted, the head, and the length of a health window, µs.
fn news(books: &Books, since: Vec<(NodeId, Option<Seq>)>) -> (Seq, u64, Vec<News>) {
    let window = u64::from(books.policy().health_timeout_s.max(1)) * 1_000_000;
    let of_node = |(id, counted): (NodeId, Option<Seq>)| {
        let no = books.node_no(&id)?;
        // A node that is new is read from the store, which has all of them.
        let rows = counted.map_or_else(Vec::new, |counted| {
            let rows = books.settlements_of(no);
            rows.filter(|row| row.seq > counted).cloned().collect()
        });
        Some(News { id, no, rows })
    };
    let news = since.into_iter().filter_map(of_node).collect();
    (books.head().seq, window, news)
}

/// The verdicts on a node that are remembered.
async fn judged(
    books: &BooksHandle,
    node: NodeNo,
    now: Timestamp,
) -> Result<Vec<SettlementRow>, StoreError> {
    let oldest = now.before(DAY * REMEMBERED_DAYS);
    let mut rows: Vec<SettlementRow> = Vec::new();
    for _ in 0..PAGES {
        let before = rows.last().map(|row| row.key.period);
        let page = history::settlements_of(books.ledger(), node, before, PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        rows.extend(page);
        if is_last || rows.last().is_some_and(|row| row.key.period.end() < oldest) {
            break;
        }
    }
    rows.retain(|row| row.key.period.end() >= oldest);
    Ok(rows)
}

/// Counts a verdict on the day of its period; what was nobody's fault counts for nothing.
fn count(record: &mut Record, row: &SettlementRow, window_us: u64) {
    let day = record
        .days
        .entry(day_of(row.key.period.start()))
        .or_default();
    match row.verdict {
        Verdict::Pass => day.pass += 1,
        Verdict::Fail => day.fail += 1,
        Verdict::Inconclusive => return,
    }
    day.ok += row.covered_us / window_us;
    let of_health = |reason: Reason| matches!(reason, Reason::HealthMiss | Reason::HealthFail);
    let missed = row.reasons.iter().filter(|row| of_health(row.reason));
    let excused = missed.clone().map(|row| row.excused_ms * 1_000).max();
    if let Some(excused_us) = excused {
        let lost_us = row.judged_us.saturating_sub(row.covered_us + excused_us);
        day.miss += (lost_us / window_us).max(1);
    }
}

fn authorised_on(report: &AbuseRow) -> Option<u32> {
    let decision = report.decision.as_ref()?;
    (decision.decision == Decision::Authorize).then(|| day_of(decision.at))
}

/// A node that was attested before we started has said nothing of its platform to us yet.
fn evidence(node: &Node, interval: Duration, now: Timestamp) -> Option<Evidence> {
    let passed = node.attestation.passed()?;
    let tcb = passed.result.as_ref().map(|result| result.tcb_status);
    let tenths = now.since(passed.at).as_micros() * 10 / interval.as_micros().max(1);
    Some(Evidence {
        tcb: tcb.unwrap_or(ee_core::attestation::TcbStatus::UpToDate),
        age: u64::try_from(tenths).unwrap_or(u64::MAX),
    })
}

#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Books(#[from] SubmitError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
