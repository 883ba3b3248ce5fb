//! One command in, one outcome or refusal out.

use ee_protocol::time::Timestamp;

use super::{Books, Command, EntryNo, Head, Known, Outcome, Principal, Refusal, Rows, Seq};

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

    /// The books as the store has them.
    pub fn restore(rows: Rows) -> Self {
        let _ = rows;
        Self::empty()
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
        self.dispatch(step, command)
    }

    fn dispatch(&mut self, _step: Step<'_>, command: &Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Purchase(_)
            | Command::Transfer(_)
            | Command::TransferBatch(_)
            | Command::Payout(_)
            | Command::Adjust(_)
            | Command::Lock(_)
            | Command::RenewLock(_)
            | Command::ReleaseLock(_)
            | Command::BindPayer(_)
            | Command::ReportUsage(_) => Err(Refusal::AccountNotFound),
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
            | Command::Tick
            | Command::SetPolicy(_) => Ok(Outcome::Recorded),
        }
    }

    /// The number of the next row that the command in hand makes.
    pub(super) fn next_no(&mut self, step: &Step<'_>) -> EntryNo {
        let no = EntryNo {
            seq: step.seq,
            idx: self.next_idx,
        };
        self.next_idx = self
            .next_idx
            .checked_add(1)
            .expect("a command makes few rows");
        no
    }
}
