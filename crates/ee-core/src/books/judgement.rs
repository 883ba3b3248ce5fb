//! Commands about nodes, facts, verdicts, abuse and stake.

use ee_protocol::money::MicroUsd;

use super::{
    Books, Command, Outcome, Refusal,
    dispatch::Step,
    rows::{SettlementKey, SettlementState},
    settle::Pay,
};

#[cfg(test)]
mod tests;

impl Books {
    /// The commands of judgement.
    pub(super) fn judgement(
        &mut self,
        step: &Step<'_>,
        command: &Command,
    ) -> Result<Outcome, Refusal> {
        let kind = command.kind();
        match command {
            Command::NodeSeen(c) => Ok(self.node_seen(step, c)),
            Command::RegisterNode(c) => self.register_node(step, c),
            Command::Deposit(c) => self.deposit(step, c, kind),
            Command::Withdraw(c) => self.withdraw(step, c, kind),
            Command::FileSlash(c) => self.file_slash(step, c, kind),
            Command::DecideSlash(c) => self.decide_slash(step, c),
            Command::ObserverStart(c) => Ok(self.observer_start(step, c)),
            Command::ObserverBeat(c) => Ok(self.observer_beat(step, c)),
            Command::ObserverStop(c) => Ok(self.observer_stop(step, c)),
            Command::TrackOpen(c) => Ok(self.track_open(step, c)),
            Command::TrackClose(c) => Ok(self.track_close(step, c)),
            Command::Breach(c) => Ok(self.breach(step, c)),
            Command::Waiting(c) => Ok(self.waiting(step, c)),
            Command::DependencyDown(c) => Ok(self.dependency_down(step, c)),
            Command::DependencyUp(c) => Ok(self.dependency_up(step, c)),
            Command::Drained(c) => Ok(self.observer_drained(step, c)),
            Command::ReportFacts(c) => self.report_facts(step, c),
            Command::FileAbuse(c) => self.file_abuse(step, c),
            Command::DecideAbuse(c) => self.decide_abuse(step, c),
            Command::Finalize(c) => self.finalize(step, c),
            Command::Tick => Ok(self.tick(step)),
            Command::Purchase(_)
            | Command::Transfer(_)
            | Command::TransferBatch(_)
            | Command::Payout(_)
            | Command::Adjust(_)
            | Command::Lock(_)
            | Command::RenewLock(_)
            | Command::ReleaseLock(_)
            | Command::BindPayer(_)
            | Command::ReportUsage(_)
            | Command::SetPolicy(_) => unreachable!("commands of money have arms of their own"),
        }
    }

    /// Resolves locks whose period is past its deadline: by its verdict, which is final by now.
    /// Locks that a finished settlement left open are an incident, and give all back.
    pub(super) fn meet_deadline(&mut self, step: &Step<'_>, key: SettlementKey, limit: usize) {
        let state = self.settlement(key).map(|row| row.state);
        match state {
            None | Some(SettlementState::Awaiting) => {
                self.judge_period(step, key);
                self.settle_next(step, key, limit);
            }
            Some(SettlementState::Settling) => {
                self.settle_next(step, key, limit);
            }
            Some(SettlementState::Settled) => {
                self.settle_chunk(step, key, Pay::Expire, limit);
            }
        }
    }

    /// A node was paid for a period: its revenue grows, its pay rests, its debts come first.
    pub(super) fn paid_out(&mut self, step: &Step<'_>, key: SettlementKey, paid: MicroUsd) {
        self.note_revenue(step, key.node, paid);
        self.hold_pay(step, key, paid);
        self.pay_claims(step, key.node);
    }
}
