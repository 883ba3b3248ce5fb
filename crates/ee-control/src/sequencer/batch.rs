//! One batch: from tickets to a transaction to answers.

use ee_core::{
    books::{
        Command, Known, Need, Outcome, Principal, Refusal, Seq, ids::Fingerprint,
        known::RequestKey as RequestId, rows::RequestRow,
    },
    journal::{Body, Canonical, Header, Key, RecordHead},
};
use ee_protocol::{account::Note, time::Timestamp};
use ee_store::{
    StoreError,
    ledger::{
        CommitError, LedgerStore, books, needs,
        requests::{self, Requests},
    },
    segments::KeptBatch,
};

use super::{Sequencer, Stopped, TICKS_ALONE};
use crate::books::{Answer, Reply, RequestKey, SubmitError, Ticket};

/// A batch that is being made.
pub(super) struct Making {
    at: Timestamp,
    known: Known,
    body: Body,
    /// What is remembered of this batch under idempotency keys, and what it forgets.
    requests: Requests,
    /// Who waits for what; the replies hold once the batch is durable.
    replies: Vec<(Answer, Reply)>,
}

impl Sequencer {
    /// Applies, commits, answers. An error means that the process is to end.
    pub(super) async fn work(&mut self, tickets: Vec<Ticket>) -> Result<(), Stopped> {
        let goes_on = std::mem::take(&mut self.unfinished);
        if tickets.is_empty() && !goes_on {
            return Ok(());
        }
        let at = self.head.at.max(self.clock.now());
        let (known, forgotten) = match self.fetch(&tickets, goes_on, at).await {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::error!(event = "books_not_read", %error);
                refuse(
                    tickets.into_iter().map(|ticket| ticket.answer),
                    SubmitError::StoreUnavailable,
                );
                return Ok(());
            }
        };
        let mut making = Making {
            at,
            known,
            body: Body::default(),
            requests: Requests {
                forgotten,
                ..Requests::default()
            },
            replies: Vec::with_capacity(tickets.len()),
        };
        self.ticks = match tickets.is_empty() {
            true => TICKS_ALONE.min(self.ticks * 2),
            false => 1,
        };
        for ticket in tickets {
            self.take(ticket, &mut making);
        }
        if goes_on {
            self.go_on(&mut making);
        }
        self.commit(making).await
    }

    /// Ticks on: once if somebody waits for this commit, and more often the longer nobody does.
    fn go_on(&mut self, making: &mut Making) {
        let tick = Command::Tick;
        let encoded = tick.encoded();
        for _ in 0..self.ticks {
            self.unfinished = false;
            self.decide(&Principal::System, None, &tick, &encoded, making);
            if !self.unfinished {
                return;
            }
        }
    }

    /// Reads what the batch needs and memory does not have, in one go; with a tick in it, also
    /// the keys that it forgets.
    async fn fetch(
        &self,
        tickets: &[Ticket],
        goes_on: bool,
        at: Timestamp,
    ) -> Result<(Known, Vec<RequestId>), StoreError> {
        let mut needs: Vec<Need> = Vec::new();
        for ticket in tickets {
            let submission = &ticket.submission;
            let id = submission
                .key
                .as_ref()
                .map(|key| id(&submission.principal, key));
            needs.extend(id.map(Need::Request));
            needs.extend(submission.command.needs());
        }
        if goes_on {
            needs.extend(Command::Tick.needs());
        }
        let ticks = |ticket: &Ticket| ticket.submission.command == Command::Tick;
        let forgotten = if goes_on || tickets.iter().any(ticks) {
            requests::forgettable(&self.ledger, self.books.policy(), at).await?
        } else {
            Vec::new()
        };
        let known = needs::fetch(&self.ledger, needs).await?;
        Ok((known, forgotten))
    }

    /// Answers what was answered before, and decides what was not.
    fn take(&mut self, ticket: Ticket, making: &mut Making) {
        let Ticket {
            submission,
            encoded,
            fingerprint,
            answer,
        } = ticket;
        let principal = submission.principal;
        let id = submission.key.as_ref().map(|key| id(&principal, key));
        let earlier = id.as_ref().and_then(|id| making.known.requests.get(id));
        let earlier = earlier.filter(|row| requests::is_remembered(row.at, making.at));
        let reply = match earlier {
            Some(row) => repeated(row, fingerprint),
            None => {
                let key = id.map(|id| (id, fingerprint));
                self.decide(&principal, key, &submission.command, &encoded, making)
            }
        };
        making.replies.push((answer, reply));
    }

    /// Applies a command and writes its record.
    fn decide(
        &mut self,
        principal: &Principal,
        key: Option<(RequestId, [u8; 32])>,
        command: &Command,
        encoded: &[u8],
        making: &mut Making,
    ) -> Reply {
        let (at, books) = (making.at, &mut self.books);
        let outcome = books.apply(at, principal, command, &making.known);
        self.unfinished |= is_unfinished(&outcome);
        let seq = self.books.head().seq;
        let kept = key.as_ref().map(|(id, fingerprint)| Key {
            route: id.route.clone(),
            key: id.key.clone(),
            fingerprint: *fingerprint,
        });
        let head = RecordHead {
            seq: seq.0,
            at,
            actor: principal,
            key: kept.as_ref(),
        };
        making.body.push(&head, encoded, &outcome);
        if let Some((id, fingerprint)) = key {
            making.remember(id, fingerprint, seq, &outcome);
        }
        Reply {
            seq: seq.0,
            at,
            outcome,
            replayed: false,
        }
    }

    /// Makes the batch durable, then answers.
    async fn commit(&mut self, making: Making) -> Result<(), Stopped> {
        let Making {
            at,
            known: _,
            body,
            requests,
            replies,
        } = making;
        if body.is_empty() {
            answer_all(replies);
            return Ok(());
        }
        let header = Header {
            batch: self.head.batch + 1,
            first_seq: self.head.seq + 1,
            count: body.count(),
            at,
            epoch: self.head.epoch,
            watermark: self.books.watermark(),
        };
        let copied = self.archive.as_ref().map(|_| body.clone());
        let (batch, next) = books::seal(
            &self.head,
            (&self.books, &mut self.behind),
            header,
            body,
            &requests,
        );
        assert_eq!(
            next.seq,
            self.books.head().seq.0,
            "every command has its record"
        );
        match self.ledger.commit(batch).await {
            Ok(()) => {
                self.books.committed();
                self.behind.committed();
                let root = next.root;
                self.head = next;
                match (&self.archive, copied) {
                    (Some(archive), Some(body)) => {
                        let body = body.into_bytes();
                        let batch = KeptBatch { header, body, root };
                        archive.keep(batch, Box::new(move || answer_all(replies)));
                    }
                    (_, _) => answer_all(replies),
                }
                Ok(())
            }
            Err(error) => self.undo(error, replies),
        }
    }

    /// What was surely not committed is taken back; after anything else memory is not to be
    /// believed.
    fn undo(&mut self, error: CommitError, replies: Vec<(Answer, Reply)>) -> Result<(), Stopped> {
        tracing::error!(event = "books_not_written", %error);
        let waiting = replies.into_iter().map(|(answer, _)| answer);
        let (answer, outcome) = match error {
            CommitError::DiskFull => (SubmitError::DiskFull, Ok(())),
            CommitError::Unavailable(_) => (SubmitError::StoreUnavailable, Ok(())),
            CommitError::Lost => (SubmitError::OutcomeUnknown, Err(Stopped::Overtaken)),
            CommitError::Unknown(why) => (
                SubmitError::OutcomeUnknown,
                Err(Stopped::OutcomeUnknown(why)),
            ),
        };
        refuse(waiting, answer);
        if outcome.is_ok() {
            self.books.roll_back();
            // A tick that was taken back comes again with the next one of the shell.
            self.unfinished = false;
        }
        outcome
    }
}

impl Making {
    fn remember(
        &mut self,
        id: RequestId,
        fingerprint: [u8; 32],
        seq: Seq,
        outcome: &Result<Outcome, Refusal>,
    ) {
        let row = RequestRow {
            key: id.clone(),
            fingerprint: Fingerprint(fingerprint),
            result: outcome.clone(),
            seq,
            at: self.at,
        };
        // A twin in the same batch finds it here.
        self.known.requests.insert(id, row.clone());
        self.requests.remembered.push(row);
    }
}

/// The answer to a request that came before under the same key.
fn repeated(row: &RequestRow, fingerprint: [u8; 32]) -> Reply {
    let same = row.fingerprint.0 == fingerprint;
    Reply {
        seq: row.seq.0,
        at: row.at,
        outcome: if same {
            row.result.clone()
        } else {
            Err(Refusal::IdempotencyKeyReused)
        },
        replayed: same,
    }
}

fn id(principal: &Principal, key: &RequestKey) -> RequestId {
    RequestId {
        principal: principal.clone(),
        route: Note::parse(key.route).expect("routes are short"),
        key: key.key.clone(),
    }
}

fn is_unfinished(outcome: &Result<Outcome, Refusal>) -> bool {
    matches!(outcome, Ok(Outcome::Ticked(ticked)) if ticked.more)
}

fn answer_all(replies: Vec<(Answer, Reply)>) {
    for (answer, reply) in replies {
        // A caller that went away does not wait for its answer.
        let _ = answer.send(Ok(reply));
    }
}

fn refuse(waiting: impl Iterator<Item = Answer>, error: SubmitError) {
    for answer in waiting {
        let _ = answer.send(Err(error));
    }
}
