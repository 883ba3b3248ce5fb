//! Abuse (LEDGER 9): filed by a launcher, decided once by the owner.
//!
//! `pending -> authorized | denied`; the same decision again answers the same. An overturned
//! decision is a record and moves no money.

use ee_protocol::{money::MicroUsd, period::Period, time::Timestamp};

use super::{
    Books, EntryId, EntryNo, NodeNo, Outcome, Refusal,
    command::{DecideAbuse, FileAbuse},
    dispatch::Step,
    rows::{AbuseRow, Decision, DecisionRow, ReportState, SettlementKey},
    slashes::filed,
};
use crate::facts::spans::Span;

impl Books {
    /// Reports abuse: of a period, or from the start of the current one until the decision.
    pub(super) fn file_abuse(
        &mut self,
        step: &Step<'_>,
        command: &FileAbuse,
    ) -> Result<Outcome, Refusal> {
        let FileAbuse {
            node,
            period,
            reason,
            reported_by,
        } = command;
        let node = self.node_or_refuse(node)?;
        let current = Period::holding(step.at, self.policy().period_s);
        let from = match period {
            Some(period) => period.start(),
            None => current.map_or(step.at, Period::start),
        };
        let no = self.next_no(step);
        let row = AbuseRow {
            no,
            at: step.at,
            node,
            from,
            until: period.map(Period::end),
            reason: reason.clone(),
            reported_by: reported_by.clone(),
            actor: step.actor.clone(),
            state: ReportState::Pending,
            decision: None,
        };
        self.abuse.insert(no, row);
        Ok(filed(
            EntryId::new(step.at, no),
            ReportState::Pending,
            MicroUsd::ZERO,
        ))
    }

    /// Decides a report, once.
    pub(super) fn decide_abuse(
        &mut self,
        step: &Step<'_>,
        command: &DecideAbuse,
    ) -> Result<Outcome, Refusal> {
        let DecideAbuse {
            report,
            decision,
            authorized_by,
        } = command;
        let no = report.no();
        let row = self.abuse.get(&no).or_else(|| step.known.reports.get(&no));
        let row = row
            .filter(|row| row.at == report.at())
            .ok_or(Refusal::ReportNotFound)?
            .clone();
        let Some(state) = decided(row.state, *decision)? else {
            return Ok(filed(*report, row.state, MicroUsd::ZERO));
        };
        let decision = DecisionRow {
            decision: *decision,
            authorized_by: authorized_by.clone(),
            actor: step.actor.clone(),
            at: step.at,
        };
        let until = row.until.unwrap_or(step.at);
        let (node, from) = (row.node, row.from);
        let row = AbuseRow {
            state,
            until: Some(until),
            decision: Some(decision),
            ..row
        };
        self.abuse.insert(no, row);
        let mut moved = MicroUsd::ZERO;
        if let (ReportState::Authorized, Some(span)) = (state, Span::new(from, until)) {
            let mark = self.mark(step);
            self.facts.abuse(mark, node, span);
            self.note_news(step, node, span);
            moved = self.claw_back_within(step, node, span);
        }
        Ok(filed(*report, state, moved))
    }

    /// Undecided reports about a node in a period.
    pub(super) fn pending_abuse(&self, key: SettlementKey) -> Vec<EntryId> {
        let pending = self
            .abuse_about(key.node)
            .filter(|row| row.state == ReportState::Pending);
        let about = pending.filter(|row| row.concerns(key.period));
        about.map(|row| EntryId::new(row.at, row.no)).collect()
    }

    /// Whether an undecided report still defers the verdict.
    pub(super) fn abuse_defers(&self, key: SettlementKey, now: Timestamp) -> bool {
        let patience = self.policy_for(key.period).abuse_decision();
        self.abuse_about(key.node)
            .filter(|row| row.state == ReportState::Pending && row.concerns(key.period))
            .any(|row| now < row.at.after(patience))
    }

    /// Whether abuse was authorised after the verdict on a period: what came before, the verdict
    /// knew.
    pub(super) fn is_abused(&self, key: SettlementKey, judged: Timestamp) -> bool {
        self.abuse_about(key.node)
            .filter(|row| row.state == ReportState::Authorized && row.concerns(key.period))
            .filter_map(|row| row.decision.as_ref())
            .any(|decision| judged <= decision.at)
    }

    /// Forgets decided reports that no unsettled period can concern.
    pub(super) fn forget_reports(&mut self, horizon: Timestamp, most: usize) -> usize {
        let decided = self
            .abuse
            .iter()
            .filter(|(_, row)| row.is_decided_before(horizon));
        let old: Vec<EntryNo> = decided.map(|(no, _)| *no).take(most).collect();
        for no in &old {
            self.abuse.retire(no);
        }
        old.len()
    }

    fn abuse_about(&self, node: NodeNo) -> impl Iterator<Item = &AbuseRow> {
        self.abuse
            .iter()
            .map(|(_, row)| row)
            .filter(move |row| row.node == node)
    }
}

impl AbuseRow {
    fn concerns(&self, period: Period) -> bool {
        self.from < period.end() && self.until.is_none_or(|until| period.start() < until)
    }

    fn is_decided_before(&self, horizon: Timestamp) -> bool {
        let ended = self.until.is_some_and(|until| until < horizon);
        ended
            && self
                .decision
                .as_ref()
                .is_some_and(|decision| decision.at < horizon)
    }
}

/// The state after a decision; none if it was decided so before.
fn decided(state: ReportState, decision: Decision) -> Result<Option<ReportState>, Refusal> {
    let wanted = match decision {
        Decision::Authorize => ReportState::Authorized,
        Decision::Deny => ReportState::Denied,
        Decision::Overturn => ReportState::Overturned,
    };
    match (state, decision) {
        (ReportState::Pending, Decision::Authorize | Decision::Deny)
        | (ReportState::Authorized, Decision::Overturn) => Ok(Some(wanted)),
        (_, _) if state == wanted => Ok(None),
        (_, _) => Err(Refusal::ReportAlreadyDecided),
    }
}
