//! One command in, one outcome or refusal out.

use ee_protocol::time::Timestamp;

use super::{
    Books, Command, EntryNo, Head, Known, Outcome, Principal, Refusal, Seq, command::TRANSFER_KIND,
    ids::IDX_BITS,
};

/// The command in hand: what every module of the books is given beside its fields.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Its number.
    pub seq: Seq,
    /// Its instant, never before an earlier one.
    pub at: Timestamp,
    /// On whose behalf.
    pub actor: &'a Principal,
    /// Rows that are not in memory.
    pub known: &'a Known,
}

impl Books {
    /// The books before their first command. Their first accounts are among the first changes.
    pub fn empty() -> Self {
        let mut books = Self::default();
        books.open_genesis();
        books
    }

    /// The last command.
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Carries out a command at an instant not before the last.
    pub fn apply(
        &mut self,
        at: Timestamp,
        actor: &Principal,
        command: &Command,
        known: &Known,
    ) -> Result<Outcome, Refusal> {
        assert!(at >= self.head.at, "the books' time never runs backwards");
        self.head = Head {
            seq: Seq(self.head.seq.0 + 1),
            at,
        };
        self.next_idx = 0;
        let step = Step {
            seq: self.head.seq,
            at,
            actor,
            known,
        };
        self.resolve_due(&step, command);
        self.dispatch(&step, command)
    }

    fn dispatch(&mut self, step: &Step<'_>, command: &Command) -> Result<Outcome, Refusal> {
        let kind = command.kind();
        match command {
            Command::Purchase(c) => self.purchase(step, c, kind),
            Command::Transfer(c) => self.transfer(step, c, kind),
            // An id means the same transfer, alone or in a batch.
            Command::TransferBatch(c) => self.transfer_batch(step, c, TRANSFER_KIND),
            Command::Payout(c) => self.payout(step, c, kind),
            Command::Adjust(c) => self.adjust(step, c, kind),
            Command::Lock(c) => self.lock(step, c, kind),
            Command::RenewLock(c) => self.renew_lock(step, c),
            Command::ReleaseLock(c) => self.release_lock(step, c),
            Command::BindPayer(c) => self.bind_payer(step, c),
            Command::ReportUsage(c) => self.report_usage(step, c, kind),
            Command::SetPolicy(policy) => Ok(self.set_policy(step, policy)),
            Command::NodeSeen(_)
            | Command::RegisterNode(_)
            | Command::Deposit(_)
            | Command::Withdraw(_)
            | Command::FileSlash(_)
            | Command::DecideSlash(_)
            | Command::ObserverStart(_)
            | Command::ObserverBeat(_)
            | Command::ObserverStop(_)
            | Command::TrackOpen(_)
            | Command::TrackClose(_)
            | Command::Breach(_)
            | Command::Waiting(_)
            | Command::DependencyDown(_)
            | Command::DependencyUp(_)
            | Command::Drained(_)
            | Command::ReportFacts(_)
            | Command::FileAbuse(_)
            | Command::DecideAbuse(_)
            | Command::Finalize(_)
            | Command::Tick => self.judgement(step, command),
        }
    }

    /// The number of the next row that the command in hand makes.
    pub(super) fn next_no(&mut self, step: &Step<'_>) -> EntryNo {
        let no = EntryNo {
            seq: step.seq,
            idx: self.next_idx,
        };
        assert!(self.next_idx >> IDX_BITS == 0, "a command makes few rows");
        self.next_idx += 1;
        no
    }
}
