//! The way to the books: a handle that submits commands and asks questions.
//!
//! The sequencer (`sequencer.rs`) owns the books; nobody else touches them. A reply means that the
//! command, and everything before it, is durable. **Invariant:** users cannot starve facts: each
//! has a lane of its own, and facts go first (LEDGER 12).

use ee_core::{
    books::{Books, Command, Outcome, Principal, Refusal},
    journal::{Canonical, sha256},
};
use ee_protocol::{account::IdempotencyKey, time::Timestamp};
use ee_store::ledger::Ledger;
use tokio::sync::{mpsc, oneshot};

/// Users' commands that may wait. A full lane answers `busy` at once: waiting longer would only
/// move the queue into the connections (LEDGER 12).
pub(crate) const USERS_LANE: usize = 16_384;
/// Facts and ticks that may wait; their senders wait for a place, because a fact must not be lost.
pub(crate) const FACTS_LANE: usize = 1_024;

/// A command and who gives it.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Whose token it was: its resource, or its role.
    pub principal: Principal,
    /// Under which key a repeat is recognised.
    pub key: Option<RequestKey>,
    /// What to do.
    pub command: Command,
}

/// An idempotency key and where it was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// Method and path, without ids: `POST /v1/credits/transfer`.
    pub route: &'static str,
    /// The header's value.
    pub key: IdempotencyKey,
}

/// What the books answered, durable when it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The record's place in the journal; for a refusal that is not kept, the last one's.
    pub seq: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// The answer.
    pub outcome: Result<Outcome, Refusal>,
    /// Whether it is the answer to an earlier request with the same key.
    pub replayed: bool,
}

/// Why there is no answer. Nothing is kept under the key: trying again is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The lane is full.
    #[error("too many commands are waiting")]
    Busy,
    /// The commit failed in a way that does not tell whether it took effect.
    #[error("whether the command took effect is unknown: ask again with the same key")]
    OutcomeUnknown,
    /// The database does not answer; the command took no effect.
    #[error("the books' database does not answer")]
    StoreUnavailable,
    /// No space; the command took no effect.
    #[error("the disk that holds the books is full")]
    DiskFull,
    /// The books are closed: the process is ending.
    #[error("the books are closed")]
    Closed,
}

pub(crate) type Answer = oneshot::Sender<Result<Reply, SubmitError>>;
type Question = Box<dyn FnOnce(&Books) + Send>;

/// A submission on its way, with what can be computed before the books' thread sees it.
pub(crate) struct Ticket {
    pub(crate) submission: Submission,
    /// The command, canonically encoded: what the journal keeps and the fingerprint covers.
    pub(crate) encoded: Vec<u8>,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) answer: Answer,
}

pub(crate) enum Message {
    Submit(Box<Ticket>),
    Ask(Question),
}

/// Handle to the books; clones are cheap.
#[derive(Clone)]
pub struct BooksHandle {
    pub(crate) users: mpsc::Sender<Message>,
    pub(crate) facts: mpsc::Sender<Message>,
    pub(crate) ledger: Ledger,
}

impl BooksHandle {
    /// Submits a user's command.
    ///
    /// # Errors
    /// When it was not decided; refusals of the books are replies.
    pub async fn submit(&self, submission: Submission) -> Result<Reply, SubmitError> {
        let (ticket, answer) = ticket(submission);
        self.queue(Message::Submit(ticket))?;
        answer.await.unwrap_or(Err(SubmitError::Closed))
    }

    /// Submits a fact, a tick or another command of the control plane itself: before users'
    /// commands, and waiting for a place if the lane is full.
    ///
    /// # Errors
    /// As for [`BooksHandle::submit`], without `Busy`.
    pub async fn submit_fact(&self, submission: Submission) -> Result<Reply, SubmitError> {
        let (ticket, answer) = ticket(submission);
        let sent = self.facts.send(Message::Submit(ticket)).await;
        sent.map_err(|_| SubmitError::Closed)?;
        answer.await.unwrap_or(Err(SubmitError::Closed))
    }

    /// Submits facts in order, so that they share a commit as far as they fit.
    pub async fn submit_facts(
        &self,
        submissions: Vec<Submission>,
    ) -> Vec<Result<Reply, SubmitError>> {
        let mut answers = Vec::with_capacity(submissions.len());
        for submission in submissions {
            let (ticket, answer) = ticket(submission);
            let sent = self.facts.send(Message::Submit(ticket)).await;
            answers.push(sent.map(|()| answer).map_err(|_| SubmitError::Closed));
        }
        let mut replies = Vec::with_capacity(answers.len());
        for answer in answers {
            replies.push(match answer {
                Ok(answer) => answer.await.unwrap_or(Err(SubmitError::Closed)),
                Err(closed) => Err(closed),
            });
        }
        replies
    }

    /// Submits users' commands in order, so that they share a commit as far as they fit.
    pub async fn submit_all(
        &self,
        submissions: Vec<Submission>,
    ) -> Vec<Result<Reply, SubmitError>> {
        let queued: Vec<_> = submissions
            .into_iter()
            .map(|submission| {
                let (ticket, answer) = ticket(submission);
                self.queue(Message::Submit(ticket)).map(|()| answer)
            })
            .collect();
        let mut replies = Vec::with_capacity(queued.len());
        for one in queued {
            replies.push(match one {
                Ok(answer) => answer.await.unwrap_or(Err(SubmitError::Closed)),
                Err(refused) => Err(refused),
            });
        }
        replies
    }

    /// Asks the books something. They are asked between batches: what is seen is durable.
    ///
    /// # Errors
    /// When the lane is full or the books are closed.
    pub async fn read<T, F>(&self, question: F) -> Result<T, SubmitError>
    where
        T: Send + 'static,
        F: FnOnce(&Books) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let ask: Question = Box::new(move |books| {
            // A caller that went away does not wait for its answer.
            let _ = reply.send(question(books));
        });
        self.queue(Message::Ask(ask))?;
        answer.await.map_err(|_| SubmitError::Closed)
    }

    /// The store behind the books, for what is not in memory: history, page by page.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn queue(&self, message: Message) -> Result<(), SubmitError> {
        self.users
            .try_send(message)
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => SubmitError::Busy,
                mpsc::error::TrySendError::Closed(_) => SubmitError::Closed,
            })
    }
}

/// Encodes on the caller's thread, so that the books' thread does not have to.
pub(crate) fn ticket(
    submission: Submission,
) -> (Box<Ticket>, oneshot::Receiver<Result<Reply, SubmitError>>) {
    let encoded = submission.command.encoded();
    let fingerprint = sha256(&[&encoded]);
    let (answer, answered) = oneshot::channel();
    let ticket = Ticket {
        submission,
        encoded,
        fingerprint,
        answer,
    };
    (Box::new(ticket), answered)
}
