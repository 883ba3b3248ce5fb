//! The books in PostgreSQL (LEDGER 12): one transaction and one round trip a batch.
//!
//! A batch travels as BEGIN, the head's compare-and-set, one statement for each table's rows
//! (a parameter a column, unfolded by UNNEST) and COMMIT, all sent without waiting; a head that has
//! moved fails the transaction, and the COMMIT behind it then undoes it.
//!
//! **Invariants**
//! - Nothing is served by a server whose `fsync` or `synchronous_commit` is off.
//! - A connection lost while a batch was on its way tells nothing about the batch. The head does:
//!   ours, it is durable; the old one, the batch is written again, and the compare-and-set keeps it
//!   from counting twice; another, somebody else leads.

mod cells;
mod error;
mod flight;
mod line;
mod migrate;
mod statements;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use ee_core::journal::LedgerId;
use ee_protocol::time::Timestamp;
use tokio_postgres::{
    Client, Config,
    config::{Host, SslMode},
    types::ToSql,
};

pub use error::PostgresError;

use self::{
    cells::Value,
    error::{is_lost, of_read, text},
    flight::{Landed, Sent, fly},
    line::{Line, Lines, Session},
};
use crate::{
    error::StoreError,
    ledger::{Batch, Column, CommitError, Head, LedgerStore, Lookup, Page, Row},
    row::signed,
};

/// How long a commit waits for PostgreSQL to say what became of it. Requests that need no books
/// are served for at least this long without a database, and ending the process would end them.
const OUTCOME: Duration = Duration::from_secs(15 * 60);

/// How often a batch is sent again when connections keep breaking under it: each time the head
/// still shows the old place. A server that crashes on every one of them will not take the next.
const ATTEMPTS: usize = 16;

/// The books in a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresLedger {
    lines: Arc<Lines>,
}

impl std::fmt::Debug for PostgresLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresLedger")
    }
}

/// What became of one attempt to commit.
enum Attempt {
    Done,
    Refused(CommitError),
    /// The head has moved, or the connection broke: the head tells.
    Unclear(String),
}

impl PostgresLedger {
    /// Opens the books at `url`; migrates them, and begins them under `fresh_id` if there are none.
    ///
    /// # Errors
    /// Says what to do: the URL, the way to the server, a setting or the schema is not as needed.
    pub async fn open(url: &str, fresh_id: LedgerId) -> Result<Self, PostgresError> {
        let first = async move |client: Client| {
            migrate::migrate(&client, migrate::SCRIPTS).await?;
            create_head(&client, &Head::fresh(fresh_id)).await
        };
        Self::start(url, first).await
    }

    /// Opens the books at `url` to read them: neither migrates nor begins them.
    ///
    /// # Errors
    /// As [`Self::open`]; and when there are no books, or older ones.
    pub async fn open_existing(url: &str) -> Result<Self, PostgresError> {
        let first = async |client: Client| migrate::check(&client, migrate::SCRIPTS).await;
        Self::start(url, first).await
    }

    async fn start<F>(
        url: &str,
        first: impl FnOnce(Client) -> F + Send + 'static,
    ) -> Result<Self, PostgresError>
    where
        F: Future<Output = Result<(), PostgresError>>,
    {
        let lines = line::start(config(url)?, first).await?;
        Ok(Self {
            lines: Arc::new(lines),
        })
    }

    async fn attempt(&self, batch: &Batch) -> Attempt {
        let session = match self.lines.write.session().await {
            Ok(session) => session,
            Err(error) => return Attempt::Refused(CommitError::Unavailable(error.to_string())),
        };
        let flight = match prepare(&session, batch).await {
            Ok(flight) => flight,
            Err(error) if is_lost(&error) => {
                return Attempt::Refused(CommitError::Unavailable(text(&error)));
            }
            Err(error) => return Attempt::Refused(CommitError::Unknown(text(&error))),
        };
        let landed = fly(flight.statements(&session.client)).await;
        match landed {
            Landed::All(Ok(_)) => Attempt::Done,
            Landed::All(Err(error)) => refused(&error),
            Landed::NotSent(0, error) => {
                Attempt::Refused(CommitError::Unavailable(text(&error)))
            }
            Landed::NotSent(_, error) => {
                // The transaction is open and will not be committed; nobody is to share it.
                let _ = session.client.batch_execute("ROLLBACK").await;
                Attempt::Unclear(text(&error))
            }
        }
    }

    /// Where the books stand, as soon as anybody can tell.
    async fn head_at_last(&self) -> Result<Head, String> {
        let asking = async {
            loop {
                if let Ok(session) = self.lines.write.session_within(OUTCOME).await {
                    match read_head(&session).await {
                        Err(StoreError::Unavailable(_)) => {}
                        answer => return answer.map_err(|error| error.to_string()),
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        match tokio::time::timeout(OUTCOME, asking).await {
            Ok(answer) => answer,
            Err(_) => Err("PostgreSQL did not come back".to_owned()),
        }
    }
}

impl LedgerStore for PostgresLedger {
    async fn head(&self) -> Result<Head, StoreError> {
        read_head(&*self.lines.write.session().await?).await
    }

    async fn lookup(&self, wanted: Vec<Lookup>) -> Result<Vec<Vec<Row>>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        look_up(&*self.lines.write.session().await?, &wanted).await
    }

    async fn page(&self, page: Page) -> Result<Vec<Row>, StoreError> {
        read_page(&*self.lines.read.session().await?, &page).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let mut reason = String::new();
        let mut sent = false;
        for _ in 0..ATTEMPTS {
            match self.attempt(&batch).await {
                Attempt::Done => return Ok(()),
                // An earlier attempt has shown by the head that it came to nothing.
                Attempt::Refused(CommitError::Unavailable(_)) if sent => {}
                Attempt::Refused(error) => return Err(error),
                Attempt::Unclear(why) => {
                    sent = true;
                    reason = why;
                }
            }
            match self.head_at_last().await {
                Ok(head) if head == batch.next => return Ok(()),
                Ok(head) if head == batch.expected => {}
                Ok(_) => return Err(CommitError::Lost),
                Err(why) => return Err(CommitError::Unknown(format!("{reason}; {why}"))),
            }
        }
        Err(CommitError::Unknown(reason))
    }

    async fn failed(&self) -> String {
        tokio::join!(self.lines.write.closed(), self.lines.read.closed());
        "the thread of PostgreSQL's connections ended unasked".to_owned()
    }
}
