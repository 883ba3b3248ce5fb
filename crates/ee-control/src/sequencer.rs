//! The sequencer: the one writer of the books (LEDGER 12).
//!
//! It drains its lanes, applies what it found in one batch, commits journal, rows, requests and
//! head in one transaction, and only then answers. There is no timer: a batch is what arrived
//! while the one before it was being committed, so batches grow with the load. It is a future
//! without spawn or sleep; the shell runs it on a thread of its own.
//!
//! **Invariants**
//! - A reply means that its record, and every record before it, is durable.
//! - A batch that was surely not committed leaves no trace, in memory as on disk.
//! - When the outcome of a commit is unknown nothing more is answered from memory: the sequencer
//!   stops, the process is to end, and the next one reads what is durable.
//! - One idempotency key has one effect and one answer, twins in the same batch included.

use std::{future::Future, pin::pin, sync::Arc};

use ee_core::books::Books;
use ee_store::ledger::{Behind, Head, Ledger};
use tokio::sync::mpsc;

use crate::{
    books::{BooksHandle, FACTS_LANE, Message, Ticket, USERS_LANE},
    ports::{Archive, Clock},
};

mod batch;
mod opening;

pub use opening::{OpenBooksError, open};

/// Commands of one batch: enough to share a commit among every waiting client, few enough that
/// the first of them is not kept waiting (LEDGER 12).
const BATCH_COMMANDS: usize = 4_096;
/// Ticks that share a commit while nobody waits; whoever comes then waits for all of them.
const TICKS_ALONE: u32 = 8;
/// Encoded commands of one batch, in bytes (LEDGER 12).
const BATCH_BYTES: usize = 1 << 20;

/// Why the sequencer has stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It was told to.
    #[error("asked to")]
    Asked,
    /// Every handle is gone.
    #[error("nobody is left who could ask")]
    Abandoned,
    /// Another process has written to the books.
    #[error("another process has written to the books")]
    Overtaken,
    /// Whether the last batch is durable shows at the next start.
    #[error("{0}")]
    OutcomeUnknown(String),
}

/// The owner of the books.
pub struct Sequencer {
    books: Books,
    /// Which account rows lag.
    behind: Behind,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    head: Head,
    facts: mpsc::Receiver<Message>,
    users: mpsc::Receiver<Message>,
    /// What ended the wait.
    first: Option<Message>,
    /// A tick left work over: it goes on behind those who wait, in the commit that they wait for.
    unfinished: bool,
    /// Where batches are kept a second time before they are acknowledged.
    archive: Option<Arc<dyn Archive>>,
    /// Ticks that the next batch may hold, if one left work over: twice as many as the last, and
    /// one as long as others wait too.
    ticks: u32,
}

impl Sequencer {
    fn new(
        (books, behind): (Books, Behind),
        ledger: Ledger,
        clock: Arc<dyn Clock>,
        head: Head,
    ) -> (BooksHandle, Self) {
        let (to_users, users) = mpsc::channel(USERS_LANE);
        let (to_facts, facts) = mpsc::channel(FACTS_LANE);
        let handle = BooksHandle {
            users: to_users,
            facts: to_facts,
            ledger: ledger.clone(),
        };
        let sequencer = Self {
            books,
            behind,
            ledger,
            clock,
            head,
            facts,
            users,
            first: None,
            unfinished: false,
            archive: None,
            ticks: 1,
        };
        (handle, sequencer)
    }

    /// Keeps every batch a second time before it is acknowledged.
    #[must_use]
    pub fn archived_in(self, archive: Arc<dyn Archive>) -> Self {
        Self {
            archive: Some(archive),
            ..self
        }
    }

    /// Lets account rows lag by about so many transfers, which a start takes in.
    #[must_use]
    pub fn with_redo(self, transfers: u64) -> Self {
        Self {
            behind: self.behind.with_redo(transfers),
            ..self
        }
    }

    /// Works until it is told to stop or every handle is gone, finishing the batch in hand; or
    /// until the outcome of a commit is unknown.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Stopped {
        let mut stop = pin!(stop);
        loop {
            // Between batches only: a batch that has begun is committed and answered.
            if !self.unfinished {
                self.first = tokio::select! {
                    biased;
                    () = &mut stop => return Stopped::Asked,
                    first = first(&mut self.facts, &mut self.users) => first,
                };
                if self.first.is_none() {
                    return Stopped::Abandoned;
                }
            }
            let tickets = self.drain();
            if let Err(stopped) = self.work(tickets).await {
                return stopped;
            }
        }
    }

    /// Takes the next batch: facts, as many as their lane holds, then users, so that neither keeps
    /// the other out however fast it sends. Questions are answered at once: between batches
    /// the books hold what is durable and nothing else.
    fn drain(&mut self) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        let (mut bytes, mut facts) = (0, 0);
        while tickets.len() < BATCH_COMMANDS && bytes < BATCH_BYTES {
            let mut fact = || {
                let taken = (facts < FACTS_LANE).then(|| self.facts.try_recv().ok())?;
                facts += usize::from(taken.is_some());
                taken
            };
            let first = self.first.take().or_else(&mut fact);
            match first.or_else(|| self.users.try_recv().ok()) {
                Some(Message::Submit(ticket)) => {
                    bytes += ticket.encoded.len();
                    tickets.push(*ticket);
                }
                Some(Message::Ask(question)) => question(&self.books),
                None => break,
            }
        }
        tickets
    }
}

/// The next message, a fact before a user's; none when nobody can send one any more.
async fn first(
    facts: &mut mpsc::Receiver<Message>,
    users: &mut mpsc::Receiver<Message>,
) -> Option<Message> {
    tokio::select! {
        biased;
        Some(message) = facts.recv() => Some(message),
        Some(message) = users.recv() => Some(message),
        else => None,
    }
}
