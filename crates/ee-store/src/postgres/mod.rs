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
mod read;
mod statements;
mod write;

use std::{future::Future, net::IpAddr, sync::Arc, time::Duration};

use ee_core::journal::LedgerId;
use tokio_postgres::{
    Client, Config,
    config::{Host, SslMode},
};

pub use error::PostgresError;

use self::{error::text, line::Lines, write::Attempt};
use crate::{
    error::StoreError,
    ledger::{Batch, CommitError, Head, LedgerStore, Lookup, Page, Row, Trail},
};

/// How long a commit waits for PostgreSQL to say what became of it. Requests that need no books
/// are served for at least this long without a database, and ending the process would end them.
const OUTCOME: Duration = Duration::from_secs(15 * 60);

/// How often a batch is sent again when connections keep breaking under it: each time the head
/// still shows the old place. A server that crashes on every one of them will not take the next.
const ATTEMPTS: usize = 16;

/// How often a start waits for the server before it to be gone, some seconds each: PostgreSQL
/// notices at once when a process ends, and within 16 s when a machine does.
const ALONE_ATTEMPTS: usize = 10;

/// Between two questions for the head while PostgreSQL is away.
const AGAIN: Duration = Duration::from_millis(100);

/// A connection over TCP that is silent is probed after so long, for firewalls forget it.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// What was sent and not acknowledged by then ends a connection over TCP: its server is gone.
const SILENCE: Duration = Duration::from_secs(10);

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

impl PostgresLedger {
    /// Opens the books at `url`; migrates them, and begins them under `fresh_id` if there are none.
    ///
    /// # Errors
    /// Says what to do: the URL, the way to the server, a setting or the schema is not as needed.
    pub async fn open(url: &str, fresh_id: LedgerId) -> Result<Self, PostgresError> {
        let first = async move |client: Client| {
            migrate::migrate(&client, migrate::SCRIPTS).await?;
            write::create_head(&client, &Head::fresh(fresh_id)).await
        };
        Self::start(url, "", first).await
    }

    /// The same, for a server: refused while another server has them open.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_alone(url: &str, fresh_id: LedgerId) -> Result<Self, PostgresError> {
        let first = async move |client: Client| {
            migrate::migrate(&client, migrate::SCRIPTS).await?;
            write::create_head(&client, &Head::fresh(fresh_id)).await
        };
        let ledger = Self::start(url, line::ALONE, first).await?;
        let mut why = String::new();
        for _ in 0..ALONE_ATTEMPTS {
            match ledger.lines.write.session().await {
                Ok(_) => return Ok(ledger),
                Err(error) => why = error.to_string(),
            }
        }
        Err(PostgresError::Connect(why))
    }

    /// Opens the books at `url` to read them: neither migrates nor begins them.
    ///
    /// # Errors
    /// As [`Self::open`]; and when there are no books, or older ones.
    pub async fn open_existing(url: &str) -> Result<Self, PostgresError> {
        let first = async |client: Client| migrate::check(&client, migrate::SCRIPTS).await;
        Self::start(url, "", first).await
    }

    /// Opens the books at `url` as they are at this moment, whatever a server writes meanwhile.
    ///
    /// # Errors
    /// As [`Self::open_existing`].
    pub async fn open_at_one_moment(url: &str) -> Result<Self, PostgresError> {
        let first = async |client: Client| migrate::check(&client, migrate::SCRIPTS).await;
        let lines = line::start_at_one_moment(config(url)?, first).await?;
        Ok(Self {
            lines: Arc::new(lines),
        })
    }

    /// Whether a batch could be committed now: reads go over connections of their own.
    ///
    /// # Errors
    /// Why not, as PostgreSQL said it.
    pub fn writable(&self) -> Result<(), StoreError> {
        self.lines.write.is_up()
    }

    async fn start<F>(
        url: &str,
        begin: &'static str,
        first: impl FnOnce(Client) -> F + Send + 'static,
    ) -> Result<Self, PostgresError>
    where
        F: Future<Output = Result<(), PostgresError>>,
    {
        let lines = line::start(config(url)?, begin, first).await?;
        Ok(Self {
            lines: Arc::new(lines),
        })
    }

    /// Where the books stand, as soon as anybody can tell.
    async fn head_at_last(&self) -> Result<Head, String> {
        let asking = async {
            loop {
                match self.head().await {
                    Err(StoreError::Unavailable(_)) => tokio::time::sleep(AGAIN).await,
                    answer => return answer.map_err(|error| error.to_string()),
                }
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
        read::head(&*self.lines.look.session().await?).await
    }

    async fn lookup(&self, wanted: Vec<Lookup>) -> Result<Vec<Vec<Row>>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        read::look_up(&*self.lines.look.session().await?, &wanted).await
    }

    async fn trail(&self, trail: Trail) -> Result<Vec<Row>, StoreError> {
        read::trail(&*self.lines.page.session().await?, &trail).await
    }

    async fn page(&self, page: Page) -> Result<Vec<Row>, StoreError> {
        read::page(&*self.lines.page.session().await?, &page).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let mut doubt: Option<String> = None;
        for _ in 0..ATTEMPTS {
            match (write::attempt(&self.lines.write, &batch).await, &doubt) {
                (Attempt::Done, _) => return Ok(()),
                (Attempt::Refused(error), None) => return Err(error),
                // An earlier attempt may still be on its way inside the server.
                (Attempt::Refused(CommitError::Unavailable(_)), Some(_)) => {}
                (Attempt::Refused(error), Some(before)) => {
                    return Err(CommitError::Unknown(format!("{before}; {error}")));
                }
                (Attempt::Unclear(why), _) => doubt = Some(why),
            }
            match self.head_at_last().await {
                Ok(head) if head == batch.next => return Ok(()),
                Ok(head) if head == batch.expected => {}
                Ok(_) => return Err(CommitError::Lost),
                Err(why) => return Err(CommitError::Unknown(why)),
            }
        }
        Err(CommitError::Unknown(doubt.unwrap_or_default()))
    }

    async fn failed(&self) -> String {
        self.lines.write.closed().await;
        "the thread of PostgreSQL's connections ended unasked".to_owned()
    }
}

/// Reads the URL, and refuses a way to the server that others could read along.
fn config(url: &str) -> Result<Config, PostgresError> {
    let mut config: Config = url
        .parse()
        .map_err(|error: tokio_postgres::Error| PostgresError::Url(text(&error)))?;
    match config.get_ssl_mode() {
        SslMode::Disable => {}
        SslMode::Prefer => refuse_open_network(&config)?,
        SslMode::Require | _ => return Err(PostgresError::Tls),
    }
    if config.get_application_name().is_none() {
        config.application_name("easyenclave");
    }
    config.keepalives_idle(KEEPALIVE);
    config.tcp_user_timeout(SILENCE);
    Ok(config)
}

fn refuse_open_network(config: &Config) -> Result<(), PostgresError> {
    for host in config.get_hosts() {
        let Host::Tcp(name) = host else { continue };
        let address: Result<IpAddr, _> = name.parse();
        let local = name == "localhost" || address.is_ok_and(|address| address.is_loopback());
        if !local {
            return Err(PostgresError::OpenNetwork { host: name.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readable_way_to_the_server_is_refused() {
        for local in [
            "postgresql://ee@%2Frun%2Fpostgresql/ee",
            "postgresql://ee:secret@127.0.0.1:5433/ee",
            "postgresql://ee@[::1]/ee",
            "postgresql://ee@localhost/ee",
            "postgresql://ee@db.internal/ee?sslmode=disable",
        ] {
            assert!(config(local).is_ok(), "{local}");
        }
        let open = config("postgresql://ee:secret@db.internal/ee");
        assert!(matches!(open, Err(PostgresError::OpenNetwork { host }) if host == "db.internal"));
        let tls = config("postgresql://ee@localhost/ee?sslmode=require");
        assert!(matches!(tls, Err(PostgresError::Tls)));
    }

    #[test]
    fn a_bad_url_is_named_without_its_password() {
        let error = config("postgresql://ee:secret@localhost:port/ee").unwrap_err();
        assert!(error.to_string().contains("EE_DATABASE_URL"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
