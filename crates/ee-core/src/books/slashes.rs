//! Slashes and bans (LEDGER 10): filed, then decided or left to execute by themselves.
//!
//! **Invariants:** a slash takes at most stake and unbonding together; a ban lasts; a mere miss
//! never slashes.

use std::collections::BTreeSet;

use ee_protocol::{
    account::Note, money::MicroUsd, names::AppName, period::Period, time::Timestamp,
};

use super::{
    AccountNo, Books, EntryId, EntryNo, NodeNo, Outcome, Principal, Refusal,
    accounts::Part,
    clients::Once,
    command::{DecideSlash, FileSlash},
    dispatch::Step,
    ids::ClientKey,
    ledger::{Posting, less, more},
    outcome::Filed,
    rows::{
        DayRevenue, Decision, DecisionRow, MeterKey, ReportState, SettlementKey, SlashReason,
        SlashRow, StakeTier, TransferKind,
    },
};

/// Hours of revenue in a penalty, by tier: the promise is 99.999 %, 99.99 %, 99.9 %.
const PENALTY_HOURS: [(StakeTier, i128); 3] = [
    (StakeTier::Premium, 720),
    (StakeTier::Standard, 24),
    (StakeTier::Economy, 1),
];
/// Days over which revenue is averaged, and their hours.
const REVENUE_DAYS: u32 = 30;
const REVENUE_HOURS: i128 = 720;
/// Microseconds in a day.
const DAY_US: i64 = 86_400_000_000;

impl Books {
    /// Asks for a slash; it waits for a decision.
    pub(super) fn file_slash(
        &mut self,
        step: &Step<'_>,
        command: &FileSlash,
        kind: u16,
    ) -> Result<Outcome, Refusal> {
        let key = command.id.clone().map(ClientKey::Admin);
        self.once(step, Once::new(key, kind, command), |books| {
            let node = books.node_or_refuse(&command.node)?;
            let amount = match command.reason {
                SlashReason::AttestationFraud => books.slashable(node),
                SlashReason::DowntimeMigration => books.penalty(step.at, node),
            };
            let what = (command.reason, amount);
            let id = books.add_slash(step, node, what, command.evidence.clone(), None);
            Ok(filed(id, ReportState::Pending, MicroUsd::ZERO))
        })
    }

    /// Files a slash for each failed period after which an app's lock went elsewhere. A mere miss
    /// that the app stayed through costs the period, not the stake.
    pub(super) fn file_migrations(&mut self, step: &Step<'_>, key: SettlementKey) {
        let Ok(next) = key.period.next() else {
            return;
        };
        let apps = self.open_locks(key).filter_map(|lock| lock.app.clone());
        let apps: BTreeSet<AppName> = apps.collect();
        let moved = apps
            .into_iter()
            .find(|app| self.app_left(app, key.node, next));
        if let Some(app) = moved {
            let note = format!("{app} went elsewhere after {}", key.period);
            let evidence = Note::parse(&note).expect("a name and a period are short");
            self.file_downtime_migration(step, key.node, evidence);
        }
    }

    /// Whether an app's locks of a period are on other nodes only.
    fn app_left(&self, app: &AppName, node: NodeNo, period: Period) -> bool {
        let first = MeterKey {
            node: AccountNo(0),
            period,
            account: AccountNo(0),
        };
        let locks = self.locks_by_app.range((app.clone(), first)..);
        let mine = locks.take_while(|((name, _), _)| name == app);
        let mut nodes = mine
            .map(|((_, meter), _)| meter)
            .filter(|meter| meter.period == period);
        nodes
            .next()
            .is_some_and(|first| first.node != node && nodes.all(|m| m.node != node))
    }

    /// Files a slash that executes by itself unless it is denied.
    pub(super) fn file_downtime_migration(
        &mut self,
        step: &Step<'_>,
        node: NodeNo,
        evidence: Note,
    ) {
        let amount = self.penalty(step.at, node);
        if amount > MicroUsd::ZERO {
            let due = step.at.after(self.policy().slash_delay());
            let what = (SlashReason::DowntimeMigration, amount);
            self.add_slash(step, node, what, evidence, Some(due));
        }
    }

    fn add_slash(
        &mut self,
        step: &Step<'_>,
        node: NodeNo,
        (reason, amount): (SlashReason, MicroUsd),
        evidence: Note,
        due: Option<Timestamp>,
    ) -> EntryId {
        let no = self.next_no(step);
        let row = SlashRow {
            no,
            at: step.at,
            node,
            reason,
            evidence,
            amount,
            due,
            state: ReportState::Pending,
            decision: None,
        };
        self.slashes.insert(no, row);
        EntryId::new(step.at, no)
    }

    /// Executes or denies a slash, once; the same decision again answers the same.
    pub(super) fn decide_slash(
        &mut self,
        step: &Step<'_>,
        command: &DecideSlash,
    ) -> Result<Outcome, Refusal> {
        let DecideSlash {
            slash,
            decision,
            authorized_by,
        } = command;
        let no = slash.no();
        let row = self
            .slashes
            .get(&no)
            .or_else(|| step.known.slashes.get(&no));
        let row = row
            .filter(|row| row.at == slash.at())
            .ok_or(Refusal::SlashNotFound)?
            .clone();
        let wanted = match decision {
            Decision::Authorize => ReportState::Authorized,
            Decision::Deny => ReportState::Denied,
            Decision::Overturn => return Err(Refusal::SlashAlreadyDecided),
        };
        if row.state != ReportState::Pending {
            let same = row.state == wanted;
            return same
                .then(|| filed(*slash, row.state, MicroUsd::ZERO))
                .ok_or(Refusal::SlashAlreadyDecided);
        }
        let decision = DecisionRow {
            decision: *decision,
            authorized_by: authorized_by.clone(),
            actor: step.actor.clone(),
            at: step.at,
        };
        let taken = self.close_slash(step, row, wanted, decision);
        Ok(filed(*slash, wanted, taken))
    }

    /// Executes a slash whose time has come.
    pub(super) fn execute_due_slash(&mut self, step: &Step<'_>, no: EntryNo) {
        let Some(row) = self.slashes.get(&no).cloned() else {
            return;
        };
        let decision = DecisionRow {
            decision: Decision::Authorize,
            authorized_by: Note::parse("undenied").expect("a short note"),
            actor: Principal::System,
            at: step.at,
        };
        self.close_slash(step, row, ReportState::Authorized, decision);
    }

    fn close_slash(
        &mut self,
        step: &Step<'_>,
        row: SlashRow,
        state: ReportState,
        decision: DecisionRow,
    ) -> MicroUsd {
        let (no, node, reason, amount) = (row.no, row.node, row.reason, row.amount);
        self.slashes.insert(
            no,
            SlashRow {
                state,
                decision: Some(decision),
                ..row
            },
        );
        self.slashes.retire(&no);
        if state != ReportState::Authorized {
            return MicroUsd::ZERO;
        }
        let amount = match reason {
            SlashReason::AttestationFraud => self.slashable(node),
            SlashReason::DowntimeMigration => amount.min(self.slashable(node)),
        };
        self.slash(step, node, amount);
        if reason == SlashReason::AttestationFraud {
            self.ban(step, node);
        }
        amount
    }

    /// Takes stake first, then what is unbonding, the youngest first.
    fn slash(&mut self, step: &Step<'_>, node: NodeNo, amount: MicroUsd) {
        let slashable = self.slashable(node);
        assert!(
            amount <= slashable,
            "a slash takes at most stake and unbonding"
        );
        let pool = AccountNo::SLASH_POOL;
        let from_stake = amount.min(self.stake_of(node));
        let rest = less(amount, from_stake);
        for (part, taken) in [(Part::Stake, from_stake), (Part::Unbonding, rest)] {
            if taken > MicroUsd::ZERO {
                let debit = self.part(node, part);
                self.move_money(step, Posting::of(TransferKind::Slash, (debit, pool), taken));
            }
        }
        self.shrink_unbonding(node, rest);
        self.refresh_standing(step, node);
    }

    /// Remembers what a settlement paid, for the measure of penalties.
    pub(super) fn note_revenue(&mut self, step: &Step<'_>, node: NodeNo, paid: MicroUsd) {
        if paid == MicroUsd::ZERO {
            return;
        }
        let today = day_of(step.at);
        self.change_node(step, node, |row| {
            row.revenue
                .retain(|earned| earned.day + REVENUE_DAYS > today);
            match row.revenue.last_mut().filter(|earned| earned.day == today) {
                Some(earned) => earned.paid = more(earned.paid, paid),
                None => row.revenue.push(DayRevenue { day: today, paid }),
            }
        });
    }

    /// Mean hourly revenue of 30 days times the hours of the tier, at most the stake. Rounded
    /// down, in the node's favour.
    pub fn penalty(&self, at: Timestamp, node: NodeNo) -> MicroUsd {
        let Some(row) = self.nodes.get(&node) else {
            return MicroUsd::ZERO;
        };
        let today = day_of(at);
        let recent = row
            .revenue
            .iter()
            .filter(|earned| earned.day + REVENUE_DAYS > today);
        let paid: i128 = recent.map(|earned| i128::from(earned.paid.micros())).sum();
        let hours = PENALTY_HOURS
            .into_iter()
            .find(|(tier, _)| *tier == row.tier);
        let hours = hours.map_or(0, |(_, hours)| hours);
        let penalty = i64::try_from(paid * hours / REVENUE_HOURS).unwrap_or(i64::MAX);
        MicroUsd::from_micros(penalty).min(self.stake_of(node))
    }
}

/// A report or slash, and what became of it.
pub(super) const fn filed(id: EntryId, state: ReportState, moved: MicroUsd) -> Outcome {
    Outcome::Filed(Filed { id, state, moved })
}

fn day_of(at: Timestamp) -> u32 {
    u32::try_from(at.unix_micros().div_euclid(DAY_US)).unwrap_or(0)
}
