//! Settlements (LEDGER 8): the verdict on a node's period, then its money, exactly once.
//!
//! The row with the verdict is written first, then locks are resolved in chunks: a crash resumes
//! from the row. **Invariants:** one verdict per (node, period); an inconclusive one waits for
//! facts until the deadline and is final then; a repeat answers with the record.

use std::collections::BTreeSet;

use ee_protocol::{account::AccountId, money::MicroUsd, period::Period, time::Timestamp};

use super::{
    Books, NodeNo, Outcome, Refusal,
    command::Finalize,
    dispatch::Step,
    ledger::more,
    outcome::NodeSettlement,
    rows::{
        HoldRow, MeterKey, MeterRow, Reason, ReasonRow, SettlementKey, SettlementRow,
        SettlementState, Verdict,
    },
    settle::Pay,
};
use crate::{
    books::AccountNo,
    facts::{Lack, spans::Span},
    journal::{Canonical, sha256},
    settlement::{Judgement, judge},
};

/// Nodes that one finalize looks at.
const NODES_MAX: usize = 2_000;

impl Books {
    /// Settles a period now: of one node, or of all with locks in exactly that period.
    pub(super) fn finalize(
        &mut self,
        step: &Step<'_>,
        command: &Finalize,
    ) -> Result<Outcome, Refusal> {
        let Finalize { period, node } = command;
        if step.at < period.end() {
            return Err(Refusal::PeriodOpen);
        }
        let nodes = match node {
            Some(node) => match self.node_or_refuse(node) {
                Ok(no) => vec![no],
                Err(_) => return Ok(Outcome::Finalized(vec![unknown(node.into(), *period)])),
            },
            None => self.nodes_in(*period),
        };
        let all_settled = nodes.iter().all(|node| {
            let key = SettlementKey {
                node: *node,
                period: *period,
            };
            self.recorded(step, key).is_some()
        });
        if !all_settled && self.facts.told_until(step.at) < period.end() {
            return Err(Refusal::PeriodOpen);
        }
        self.facts.end_silent(step.at);
        let mut budget = self.policy().chunk_locks();
        let mut settled = Vec::with_capacity(nodes.len());
        for node in nodes.into_iter().take(NODES_MAX) {
            let key = SettlementKey {
                node,
                period: *period,
            };
            settled.push(self.finalize_node(step, key, &mut budget));
        }
        Ok(Outcome::Finalized(settled))
    }

    /// Nodes with locks in exactly this period, or with a verdict on it.
    fn nodes_in(&self, period: Period) -> Vec<NodeNo> {
        let judged = self.settlements.iter().map(|(key, _)| *key);
        let judged = judged
            .filter(|key| key.period == period)
            .map(|key| key.node);
        let all: BTreeSet<NodeNo> = self
            .nodes_with_locks(period)
            .into_iter()
            .chain(judged)
            .collect();
        all.into_iter().collect()
    }

    /// A settlement in memory.
    pub fn settlement(&self, key: SettlementKey) -> Option<&SettlementRow> {
        self.settlements.get(&key)
    }

    /// The settlements of a node in memory, by period.
    pub fn settlements_of(&self, node: NodeNo) -> impl Iterator<Item = &SettlementRow> {
        self.settlements
            .range(first_of(node)..first_of(AccountNo(node.0 + 1)))
            .map(|(_, row)| row)
    }

    /// The meters of a node in a period, by account.
    pub(super) fn meters_of(&self, key: SettlementKey) -> impl Iterator<Item = &MeterRow> {
        let SettlementKey { node, period } = key;
        let bound = |account| MeterKey {
            node,
            period,
            account: AccountNo(account),
        };
        self.meters
            .range(bound(0)..=bound(u32::MAX))
            .map(|(_, row)| row)
    }

    /// Whether a node has locks that no verdict has resolved.
    pub fn node_has_open_locks(&self, node: NodeNo) -> bool {
        self.account(node).credits_pending > MicroUsd::ZERO
    }

    /// What the facts say of a node's period: from its first lock on, or all of it.
    pub fn verdict_on(&self, key: SettlementKey) -> (Judgement, [u8; 32]) {
        let policy = self.policy_for(key.period);
        let start = self.first_lock_start(key).unwrap_or(key.period.start());
        let window = Span::new(start.max(key.period.start()), key.period.end());
        let window = window.expect("a lock begins before its period ends");
        let mut evidence = self.facts.evidence(key.node, window, policy.comeback());
        let expires_at = self.nodes.get(&key.node).and_then(|row| row.expires_at);
        let unregistered = expires_at.and_then(|from| Span::new(from, Timestamp::FAR_FUTURE));
        let lack = unregistered.and_then(|span| span.shared(window));
        evidence
            .lacks
            .extend(lack.map(|span| (Lack::Registration, span)));
        (judge(&evidence), evidence.digest())
    }

    /// Judges a period that has no final verdict and writes the record.
    pub(super) fn judge_period(&mut self, step: &Step<'_>, key: SettlementKey) -> SettlementState {
        let (judgement, facts_hash) = self.verdict_on(key);
        let policy_hash = sha256(&[&self.policy_for(key.period).encoded()]);
        let is_over = self.deadline(key.period) <= step.at;
        let state = match judgement.verdict {
            Verdict::Inconclusive if !is_over => SettlementState::Awaiting,
            Verdict::Pass | Verdict::Fail | Verdict::Inconclusive => SettlementState::Settling,
        };
        let row = SettlementRow {
            key,
            verdict: judgement.verdict,
            reasons: judgement.findings,
            covered_us: judgement.covered_us,
            judged_us: judgement.window_us,
            facts_hash,
            policy_hash,
            state,
            cursor: None,
            settled: 0,
            failed: 0,
            posted: MicroUsd::ZERO,
            returned: MicroUsd::ZERO,
            seq: step.seq,
            at: step.at,
        };
        let unchanged = self.settlements.get(&key).is_some_and(|old| {
            old.state == SettlementState::Awaiting
                && (old.facts_hash, old.state) == (row.facts_hash, row.state)
        });
        if !unchanged {
            self.settlements.insert(key, row);
        }
        if state == SettlementState::Settling {
            self.settling.insert(key, ());
        }
        if state == SettlementState::Settling && judgement.verdict == Verdict::Fail {
            self.file_migrations(step, key);
        }
        state
    }

    /// New facts about a node: what waits for such is judged again, at once.
    pub(super) fn note_news(&mut self, step: &Step<'_>, node: NodeNo, span: Span) {
        let mine = self.settlements_of(node);
        let keys: Vec<SettlementKey> = mine
            .filter(|row| row.state == SettlementState::Awaiting)
            .map(|row| row.key)
            .filter(|key| key.shares(span))
            .collect();
        for key in keys {
            self.judge_period(step, key);
        }
    }

    /// Resolves the next locks of a judged period, at most `limit`; says how many.
    pub(super) fn settle_next(
        &mut self,
        step: &Step<'_>,
        key: SettlementKey,
        limit: usize,
    ) -> (u32, u32) {
        let row = self.settlements.get(&key).expect("it was judged");
        let pay = match row.verdict {
            Verdict::Pass => Pay::Pass,
            Verdict::Fail => Pay::Nothing,
            Verdict::Inconclusive => Pay::Split {
                covered_us: row.covered_us,
                judged_us: row.judged_us,
            },
        };
        let chunk = self.settle_chunk(step, key, pay, limit);
        self.paid_out(step, key, chunk.posted);
        let row = self.settlements.get_mut(&key).expect("it was judged");
        row.settled += chunk.settled;
        row.failed += chunk.failed;
        row.posted = more(row.posted, chunk.posted);
        row.returned = more(row.returned, chunk.returned);
        row.cursor = chunk.last.or(row.cursor);
        let judged = row.at;
        if chunk.done {
            row.state = SettlementState::Settled;
            self.settling.remove(&key);
            if self.is_abused(key, judged) {
                self.claw_back(step, key);
            }
        }
        (chunk.settled, chunk.failed)
    }

    /// Whether a node's pay of this period rests first.
    pub(super) fn hold_pay(&mut self, step: &Step<'_>, key: SettlementKey, posted: MicroUsd) {
        let hold = self.policy_for(key.period).payout_hold();
        if posted == MicroUsd::ZERO || hold.is_zero() {
            return;
        }
        let free_at = step.at.after(hold);
        match self.holds.get_mut(&key) {
            Some(row) => row.amount = more(row.amount, posted),
            None => self.holds.insert(
                key,
                HoldRow {
                    key,
                    amount: posted,
                    free_at,
                },
            ),
        }
    }

    fn finalize_node(
        &mut self,
        step: &Step<'_>,
        key: SettlementKey,
        budget: &mut usize,
    ) -> NodeSettlement {
        let is_final = self
            .recorded(step, key)
            .is_some_and(|row| row.state != SettlementState::Awaiting);
        if !is_final && self.first_lock_start(key).is_none() {
            return self.unrecorded(key);
        }
        let pending_abuse = self.pending_abuse(key);
        if !is_final {
            self.judge_period(step, key);
            *budget = budget.saturating_sub(1);
        }
        let (mut settled, mut failed) = (0, 0);
        let settling = self.settlements.get(&key).map(|row| row.state);
        if settling == Some(SettlementState::Settling) && *budget > 0 {
            (settled, failed) = self.settle_next(step, key, *budget);
            *budget = budget.saturating_sub((settled + failed) as usize);
        }
        let row = self.recorded(step, key).expect("it was judged").clone();
        let SettlementRow {
            verdict,
            reasons,
            state,
            posted,
            returned,
            ..
        } = row;
        NodeSettlement {
            node: self.id_of(key.node),
            period: key.period,
            verdict,
            reasons,
            state,
            settled,
            failed,
            posted,
            returned,
            pending_abuse,
        }
    }

    /// The verdict on a period without locks: said, but there is nothing to record.
    fn unrecorded(&self, key: SettlementKey) -> NodeSettlement {
        let (judgement, _) = self.verdict_on(key);
        NodeSettlement {
            node: self.id_of(key.node),
            period: key.period,
            verdict: judgement.verdict,
            reasons: judgement.findings,
            state: SettlementState::Settled,
            settled: 0,
            failed: 0,
            posted: MicroUsd::ZERO,
            returned: MicroUsd::ZERO,
            pending_abuse: self.pending_abuse(key),
        }
    }

    fn recorded<'a>(&'a self, step: &Step<'a>, key: SettlementKey) -> Option<&'a SettlementRow> {
        self.settlements
            .get(&key)
            .or_else(|| step.known.settlements.get(&key))
    }
}

impl SettlementKey {
    /// Whether its period has an instant of a span.
    pub(super) fn shares(self, span: Span) -> bool {
        self.period.start() < span.until() && span.from() < self.period.end()
    }
}

fn first_of(node: NodeNo) -> SettlementKey {
    let period = Period::new(0, 1).expect("the first millisecond is a period");
    SettlementKey { node, period }
}

/// The prototype's answer about a node that nobody knows.
fn unknown(node: AccountId, period: Period) -> NodeSettlement {
    let reason = ReasonRow {
        reason: Reason::NodeNotFound,
        first: period.start(),
        last: period.end(),
        count: 1,
        excused_ms: 0,
    };
    NodeSettlement {
        node,
        period,
        verdict: Verdict::Fail,
        reasons: vec![reason],
        state: SettlementState::Settled,
        settled: 0,
        failed: 0,
        posted: MicroUsd::ZERO,
        returned: MicroUsd::ZERO,
        pending_abuse: Vec::new(),
    }
}
