//! Before a command: the locks of its accounts that are past their deadline are resolved, so that
//! nobody is refused for money that is no longer set aside.

use ee_protocol::account::AccountId;

use super::{Books, Command, dispatch::Step, rows::SettlementKey};

/// Locks that a command resolves before it begins. `Tick` resolves the rest: it is late if a
/// command finds any.
const DUE_LOCKS_MAX: usize = 256;

impl Books {
    pub(super) fn resolve_due(&mut self, step: &Step<'_>, command: &Command) {
        if self.expired_settlements(step.at).next().is_none() {
            return;
        }
        let accounts = command.accounts();
        let mut due: Vec<SettlementKey> = accounts
            .into_iter()
            .filter_map(|id| self.account_no(id))
            .flat_map(|no| self.locks_of_account(no, step.at))
            .take(DUE_LOCKS_MAX)
            .map(|lock| lock.settlement())
            .collect();
        due.sort_unstable();
        due.dedup();
        for key in due {
            self.meet_deadline(step, key, DUE_LOCKS_MAX);
        }
    }
}

impl Command {
    /// The accounts whose money decides about the command.
    fn accounts(&self) -> Vec<&AccountId> {
        match self {
            Self::Purchase(c) => vec![&c.account],
            Self::Transfer(c) => vec![&c.from, &c.to],
            Self::TransferBatch(c) => c.items.iter().map(|item| &item.transfer.from).collect(),
            Self::Payout(c) => vec![&c.account],
            Self::Lock(c) => vec![&c.account],
            Self::ReportUsage(c) => vec![&c.account],
            Self::Deposit(c) => vec![&c.account],
            Self::Adjust(_)
            | Self::RenewLock(_)
            | Self::ReleaseLock(_)
            | Self::BindPayer(_)
            | Self::NodeSeen(_)
            | Self::RegisterNode(_)
            | Self::Withdraw(_)
            | Self::FileSlash(_)
            | Self::DecideSlash(_)
            | Self::ObserverStart(_)
            | Self::ObserverBeat(_)
            | Self::ObserverStop(_)
            | Self::TrackOpen(_)
            | Self::TrackClose(_)
            | Self::Breach(_)
            | Self::Waiting(_)
            | Self::DependencyDown(_)
            | Self::DependencyUp(_)
            | Self::Drained(_)
            | Self::ReportFacts(_)
            | Self::FileAbuse(_)
            | Self::DecideAbuse(_)
            | Self::Finalize(_)
            | Self::Tick
            | Self::SetPolicy(_) => Vec::new(),
        }
    }
}
