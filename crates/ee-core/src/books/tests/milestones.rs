//! What a run of the model must come by, or it proves little.

use std::collections::BTreeSet;

use super::{auditor::Auditor, *};
use crate::books::outcome::ItemResult;

pub(super) const MILESTONES: [&str; 14] = [
    "pass that pays",
    "pass that pays a part",
    "fail that returns",
    "split that pays",
    "late report of a pass",
    "late report of a fail",
    "meter given up",
    "metered lock gave way",
    "reserved lock given back",
    "chain broken",
    "id repeated",
    "app renewed",
    "app short of funds",
    "usage uncollected",
];

#[derive(Default)]
pub(super) struct Milestones {
    pub reached: BTreeSet<&'static str>,
}

impl Milestones {
    pub(super) fn reach(&mut self, name: &'static str) {
        assert!(MILESTONES.contains(&name));
        self.reached.insert(name);
    }

    fn reach_if(&mut self, name: &'static str, is_reached: bool) {
        if is_reached {
            self.reach(name);
        }
    }

    /// Notes what a command came by; `auditor` has taken its changes in.
    pub(super) fn note(
        &mut self,
        command: &Command,
        result: &Result<Outcome, Refusal>,
        (changes, auditor): (&Changes, &Auditor),
    ) {
        self.note_settlements(changes);
        self.note_locks(command, changes);
        let mut reached = |name, is_reached| self.reach_if(name, is_reached);
        match result {
            Ok(Outcome::UsageReported(used)) => {
                // A repeat answers without a row.
                let Some(row) = changes.usage.first() else {
                    return;
                };
                let key = SettlementKey {
                    node: row.meter.node,
                    period: row.meter.period,
                };
                let late = auditor.settlements.get(&key);
                let late = late.filter(|row| row.state == SettlementState::Settled);
                let late = late.map(|row| row.verdict);
                let passed = late == Some(Verdict::Pass) && used.lock.is_some();
                reached("late report of a pass", passed);
                reached("late report of a fail", late == Some(Verdict::Fail));
            }
            Ok(Outcome::Batch(items)) => {
                reached("chain broken", items.contains(&ItemResult::ChainBroken));
            }
            Ok(Outcome::Renewed(renewed)) => {
                reached("app renewed", renewed.locks.iter().any(|lock| lock.is_new));
                let short = renewed.short == Some(Refusal::InsufficientFunds);
                reached("app short of funds", short);
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn note_settlements(&mut self, changes: &Changes) {
        let mut reached = |name, is_reached| self.reach_if(name, is_reached);
        let settlements = || {
            changes
                .settlements
                .iter()
                .filter(|row| row.settled + row.failed > 0)
        };
        let verdict = |verdict, paid: &dyn Fn(&SettlementRow) -> bool| {
            settlements().any(|row| row.verdict == verdict && paid(row))
        };
        let posted = |row: &SettlementRow| row.posted > MicroUsd::ZERO;
        reached("pass that pays", verdict(Verdict::Pass, &posted));
        let returned = |row: &SettlementRow| row.returned > MicroUsd::ZERO;
        let part = |row: &SettlementRow| posted(row) && returned(row);
        reached("pass that pays a part", verdict(Verdict::Pass, &part));
        reached("fail that returns", verdict(Verdict::Fail, &returned));
        reached("split that pays", verdict(Verdict::Inconclusive, &posted));
    }

    fn note_locks(&mut self, command: &Command, changes: &Changes) {
        let mut reached = |name, is_reached| self.reach_if(name, is_reached);
        reached("meter given up", !changes.meters_gone.is_empty());
        let released = changes
            .locks
            .iter()
            .filter(|row| row.state == LockState::Released);
        let displaced = !matches!(command, Command::ReleaseLock(_)) && released.count() > 0;
        reached("metered lock gave way", displaced);
        let reserved = changes
            .locks
            .iter()
            .any(|row| row.state == LockState::Released && row.mode == LockMode::Reserved);
        reached("reserved lock given back", reserved);
        let uncollected = changes
            .usage
            .iter()
            .any(|row| row.state == UsageState::Uncollected);
        reached("usage uncollected", uncollected);
    }
}
