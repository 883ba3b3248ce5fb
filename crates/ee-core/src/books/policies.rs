//! Which settings hold for which period: those that were set before it started.

use ee_protocol::{period::Period, time::Timestamp};

use super::{Books, Outcome, Policy, dispatch::Step, rows::PolicyRow};

/// What holds before the first `SetPolicy`.
static DOCUMENTED: Policy = Policy::documented();

impl Books {
    pub(super) fn set_policy(&mut self, step: &Step<'_>, policy: &Policy) -> Outcome {
        if self.policies.is_empty() || self.policy() != policy {
            let row = PolicyRow {
                seq: step.seq,
                from: step.at,
                policy: policy.clone(),
            };
            self.policies.insert(step.seq, row);
        }
        Outcome::Recorded
    }

    /// The newest settings.
    pub fn policy(&self) -> &Policy {
        self.policies
            .iter()
            .next_back()
            .map_or(&DOCUMENTED, |(_, row)| &row.policy)
    }

    /// The settings that hold for a period; those of the first command hold for earlier ones too.
    pub fn policy_for(&self, period: Period) -> &Policy {
        let start: Timestamp = period.start();
        let mut rows = self.policies.iter().rev().map(|(_, row)| row);
        let found = rows.find(|row| row.from <= start);
        let first = || self.policies.first().map(|(_, row)| row);
        found.or_else(first).map_or(&DOCUMENTED, |row| &row.policy)
    }
}
