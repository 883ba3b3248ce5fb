//! The journal batch by batch: the chain checked, every command carried out again.

use ee_core::{
    books::{Books, Command, Need, Seq, ids::Fingerprint, known::RequestKey, rows::RequestRow},
    journal::{
        Body, Canonical, Header, Key, Record, RecordHead, Root, decode_batch, next_root, sha256,
    },
};

use super::{Check, Finding};
use crate::{
    error::StoreError,
    ledger::{
        Behind, CommitError, Direction, Head, LedgerStore, MemoryLedger, Page, Row,
        books::{self, read_batch},
        needs::fetch,
        requests::{Requests, forgettable},
        tables::JOURNAL,
    },
};

/// Batches read at once: each may be a megabyte.
const PAGE_BATCHES: u32 = 32;

/// Books that are brought forward along a journal, and the store that they write to.
#[derive(Debug)]
pub struct Replayed<S> {
    /// The tables, as they must be.
    pub store: S,
    /// The books, as they must be in memory.
    pub books: Books,
    /// Which account rows of the store lag.
    behind: Behind,
    /// Up to where the journal was carried out.
    pub head: Head,
    /// What was wrong on the way; the replay ends at a batch that does not fit.
    pub findings: Vec<Finding>,
}

/// Carries out the whole journal of a store again, in memory.
///
/// # Errors
/// When the store cannot be read.
pub async fn replay<S: LedgerStore>(store: &S) -> Result<Replayed<MemoryLedger>, StoreError> {
    let recorded = store.head().await?;
    let archive = MemoryLedger::new(recorded.ledger_id);
    let mut replayed = Replayed::new(
        archive,
        (Books::empty(), Behind::at_once()),
        Head::fresh(recorded.ledger_id),
    );
    let mut after = None;
    loop {
        let rows = store.page(journal_page(after.take())).await?;
        let more = rows.len() == PAGE_BATCHES as usize;
        after = rows.last().map(|row| row[..1].to_vec());
        for row in rows {
            if !replayed.row(row).await? {
                return Ok(replayed);
            }
        }
        if !more {
            break;
        }
    }
    if replayed.head != recorded {
        replayed.find("the head is not where the journal ends");
    }
    if let Err(unsound) = replayed.books.audit() {
        replayed.find_in(Check::Balances, unsound.to_string());
    }
    Ok(replayed)
}

fn journal_page(after: Option<Row>) -> Page {
    Page {
        table: &JOURNAL,
        equals: Vec::new(),
        order: &["batch"],
        after,
        direction: Direction::Ascending,
        limit: PAGE_BATCHES,
    }
}

impl<S: LedgerStore> Replayed<S> {
    /// Books at some place of their journal, to be brought forward.
    pub(crate) fn new(store: S, (books, behind): (Books, Behind), head: Head) -> Self {
        Self {
            store,
            books,
            behind,
            head,
            findings: Vec::new(),
        }
    }

    /// Carries out a row of the journal; false if it does not fit behind the one before.
    async fn row(&mut self, row: Row) -> Result<bool, StoreError> {
        match read_batch(row) {
            Ok((header, body, root)) => self.batch(&header, &body, root).await,
            Err(StoreError::Corrupt(what)) => {
                self.find(format!("behind batch {}: {what}", self.head.batch));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Carries out a batch; false if it does not fit behind the one before.
    pub(crate) async fn batch(
        &mut self,
        header: &Header,
        body: &[u8],
        root: Root,
    ) -> Result<bool, StoreError> {
        if let Some(why) = self.misfit(header, body, root) {
            self.find(format!("batch {}: {why}", header.batch));
            return Ok(false);
        }
        let records = match decode_batch(header, body) {
            Ok(records) => records,
            Err(error) => {
                self.find(format!("batch {}: {error}", header.batch));
                return Ok(false);
            }
        };
        let needs = records.iter().flat_map(needs);
        let mut known = fetch(&self.store, needs).await?;
        let mut again = Body::default();
        let mut requests = self.forgets(header, &records).await?;
        for record in records {
            let applied = self
                .books
                .apply(header.at, &record.actor, &record.command, &known);
            if applied != record.outcome {
                let (seq, then) = (record.seq, &record.outcome);
                let what = format!("record {seq} answered {then:?}, its replay {applied:?}");
                self.find_in(Check::Replay, what);
            }
            let encoded = record.command.encoded();
            if let Some(request) = self.request(&record, &encoded) {
                known.requests.insert(request.key.clone(), request.clone());
                requests.remembered.push(request);
            }
            let head = RecordHead {
                seq: record.seq,
                at: record.at,
                actor: &record.actor,
                key: record.key.as_ref(),
            };
            again.push(&head, &encoded, &applied);
        }
        self.keep(*header, again, &requests).await?;
        Ok(true)
    }

    /// Why a batch is not the next one.
    fn misfit(&self, header: &Header, body: &[u8], root: [u8; 32]) -> Option<&'static str> {
        let last = &self.head;
        if header.batch != last.batch + 1 {
            return Some("a batch before it is missing");
        }
        if header.first_seq != last.seq + 1 {
            return Some("its first record is not the next one");
        }
        if header.at < last.at || header.epoch < last.epoch {
            return Some("its time or epoch lies before the last");
        }
        (next_root(&last.root, header, body) != root).then_some("its root does not follow")
    }

    /// What the sequencer forgot with this batch, before it applied it.
    async fn forgets(&self, header: &Header, records: &[Record]) -> Result<Requests, StoreError> {
        let mut requests = Requests::default();
        if records.iter().any(|record| record.command == Command::Tick) {
            let (policy, at) = (self.books.policy(), header.at);
            requests.forgotten = forgettable(&self.store, policy, at).await?;
        }
        Ok(requests)
    }

    /// What must be remembered of a record under its key.
    fn request(&mut self, record: &Record, encoded: &[u8]) -> Option<RequestRow> {
        let Key {
            route,
            key,
            fingerprint,
        } = record.key.clone()?;
        if sha256(&[encoded]) != fingerprint {
            let what = format!(
                "record {} has the fingerprint of another command",
                record.seq
            );
            self.find_in(Check::Requests, what);
        }
        Some(RequestRow {
            key: RequestKey {
                principal: record.actor.clone(),
                route,
                key,
            },
            fingerprint: Fingerprint(fingerprint),
            result: record.outcome.clone(),
            seq: Seq(record.seq),
            at: record.at,
        })
    }

    async fn keep(
        &mut self,
        header: Header,
        body: Body,
        requests: &Requests,
    ) -> Result<(), StoreError> {
        if self.books.watermark() != header.watermark {
            let what = format!(
                "batch {} has another watermark than its facts",
                header.batch
            );
            self.find_in(Check::Facts, what);
        }
        let rows = (&self.books, &mut self.behind);
        let (batch, next) = books::seal(&self.head, rows, header, body, requests);
        self.store.commit(batch).await.map_err(not_kept)?;
        self.books.committed();
        self.behind.committed();
        self.head = next;
        Ok(())
    }

    fn find(&mut self, what: impl Into<String>) {
        self.find_in(Check::Chain, what);
    }

    fn find_in(&mut self, check: Check, what: impl Into<String>) {
        self.findings.push(Finding {
            check,
            what: what.into(),
        });
    }
}

fn not_kept(error: CommitError) -> StoreError {
    match error {
        CommitError::DiskFull => StoreError::DiskFull,
        CommitError::Unavailable(_) | CommitError::Lost | CommitError::Unknown(_) => {
            StoreError::OutcomeUnknown(error.to_string())
        }
    }
}

fn needs(record: &Record) -> Vec<Need> {
    record.command.needs()
}
