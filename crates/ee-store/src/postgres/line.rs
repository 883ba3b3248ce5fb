//! Connections that come back: one thread drives them, handles take what is up.
//!
//! The driver's connection is a future that somebody must poll. A thread with its own small
//! runtime does, so that it moves on while the caller's runtime applies a batch. When a connection
//! ends, the thread makes another, and checks again that what the server acknowledges is durable:
//! it may have been started anew with other settings.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use tokio::sync::{oneshot, watch};
use tokio_postgres::{Client, Config, Error, NoTls, Statement};

use super::error::PostgresError;
use crate::error::StoreError;

/// A server that does not take a connection by then is taken to be away.
const CONNECT: Duration = Duration::from_secs(5);
/// Between two attempts to connect: an attempt at a socket that refuses costs microseconds.
const RETRY: Duration = Duration::from_millis(200);
/// How long a caller waits for a connection that is just being made; a restart of PostgreSQL
/// takes about that long, and a request that waits longer is better told to come again.
const PATIENCE: Duration = Duration::from_secs(2);

/// One server at a time: the lock is the connection's, and goes with it, however its process ends.
/// It keeps servers from disturbing each other; that no batch counts twice rests on the head alone.
/// Without the settings a server whose machine is gone would keep it for hours.
pub(super) const ALONE: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 2;
SET tcp_keepalives_count = 3;
DO $$ BEGIN
    IF NOT pg_try_advisory_lock(1701143918, hashtext(current_schema())) THEN
        RAISE EXCEPTION 'another server has these books open: stop it first';
    END IF;
END $$";
/// Everything that is read after it was so at its first statement, and nothing is written.
const ONE_MOMENT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A connection, with what was prepared on it.
pub(super) struct Session {
    pub(super) client: Client,
    prepared: Mutex<HashMap<String, Statement>>,
}

impl Session {
    /// Prepares a statement, once a connection.
    pub(super) async fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        let known = self.prepared().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.prepared().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn prepared(&self) -> std::sync::MutexGuard<'_, HashMap<String, Statement>> {
        self.prepared
            .lock()
            .expect("nothing panics while it holds this")
    }
}

enum State {
    Up(Arc<Session>),
    Down(String),
}

/// A handle on one connection, whichever it is at the time.
#[derive(Clone)]
pub(super) struct Line {
    state: watch::Receiver<Arc<State>>,
}

impl Line {
    /// The connection, waiting a little for one that is being made.
    pub(super) async fn session(&self) -> Result<Arc<Session>, StoreError> {
        let mut state = self.state.clone();
        let up = state.wait_for(|state| matches!(**state, State::Up(_)));
        let found = match tokio::time::timeout(PATIENCE, up).await {
            Ok(Ok(state)) => Arc::clone(&state),
            Ok(Err(_)) => return Err(StoreError::Closed),
            Err(_) => Arc::clone(&self.state.borrow()),
        };
        match &*found {
            State::Up(session) => Ok(Arc::clone(session)),
            State::Down(reason) => Err(StoreError::Unavailable(reason.clone())),
        }
    }

    /// Whether the connection is up at this moment.
    pub(super) fn is_up(&self) -> Result<(), StoreError> {
        match &**self.state.borrow() {
            State::Up(_) => Ok(()),
            State::Down(reason) => Err(StoreError::Unavailable(reason.clone())),
        }
    }

    /// Resolves when the thread is gone.
    pub(super) async fn closed(&self) {
        let mut state = self.state.clone();
        while state.changed().await.is_ok() {}
    }
}

/// What each connection is for.
pub(super) struct Lines {
    /// Commits alone: whatever else stood between BEGIN and COMMIT would be part of them.
    pub(super) write: Line,
    /// What a batch needs before it is applied: a long page must not stand before it.
    pub(super) look: Line,
    /// Pages for people.
    pub(super) page: Line,
}

/// Starts the thread; `first` runs once, on a connection of its own, before anything else, and
/// `begin` on each connection that commits.
pub(super) async fn start<F>(
    config: Config,
    begin: &'static str,
    first: impl FnOnce(Client) -> F + Send + 'static,
) -> Result<Lines, PostgresError>
where
    F: Future<Output = Result<(), PostgresError>>,
{
    let down = || watch::channel(Arc::new(State::Down("not yet connected".to_owned())));
    let ((write, for_write), (look, for_look), (page, for_page)) = (down(), down(), down());
    let (ready, opened) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(PostgresError::Thread)?;
    let work = async move || {
        let outcome = run_first(&config, first).await;
        let failed = outcome.is_err();
        if ready.send(outcome).is_ok() && !failed {
            let write = keep_up(&config, write, begin);
            let (look, page) = (keep_up(&config, look, ""), keep_up(&config, page, ""));
            tokio::join!(write, look, page);
        }
    };
    thread::Builder::new()
        .name("ee-postgres".to_owned())
        .spawn(move || runtime.block_on(work()))
        .map_err(PostgresError::Thread)?;
    opened
        .await
        .map_err(|_| PostgresError::Connect("its thread ended".to_owned()))??;
    Ok(Lines {
        write: Line { state: for_write },
        look: Line { state: for_look },
        page: Line { state: for_page },
    })
}

/// Starts the thread with one connection for everything, on which all is read as of one moment. It
/// does not come back when it ends: what would be read then is of another moment.
pub(super) async fn start_at_one_moment<F>(
    config: Config,
    first: impl FnOnce(Client) -> F + Send + 'static,
) -> Result<Lines, PostgresError>
where
    F: Future<Output = Result<(), PostgresError>>,
{
    let (state, line) = watch::channel(Arc::new(State::Down("not yet connected".to_owned())));
    let (ready, opened) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(PostgresError::Thread)?;
    let work = async move || {
        let outcome = run_first(&config, first).await;
        let failed = outcome.is_err();
        if ready.send(outcome).is_ok() && !failed {
            let ended = async {
                let reason = serve(&config, &state, ONE_MOMENT).await;
                state.send_replace(Arc::new(State::Down(reason)));
                state.closed().await;
            };
            tokio::select! {
                () = state.closed() => {}
                () = ended => {}
            }
        }
    };
    thread::Builder::new()
        .name("ee-postgres".to_owned())
        .spawn(move || runtime.block_on(work()))
        .map_err(PostgresError::Thread)?;
    opened
        .await
        .map_err(|_| PostgresError::Connect("its thread ended".to_owned()))??;
    let line = Line { state: line };
    Ok(Lines {
        write: line.clone(),
        look: line.clone(),
        page: line,
    })
}

async fn run_first<F>(config: &Config, first: impl FnOnce(Client) -> F) -> Result<(), PostgresError>
where
    F: Future<Output = Result<(), PostgresError>>,
{
    let (client, connection) = connect(config).await?;
    let work = async {
        check_settings(&client).await?;
        first(client).await
    };
    // The connection ends when `work` has dropped its client.
    let (outcome, _) = tokio::join!(work, connection);
    outcome
}

/// Keeps one connection up until nobody holds a handle.
async fn keep_up(config: &Config, state: watch::Sender<Arc<State>>, begin: &'static str) {
    let lasting = async {
        loop {
            let reason = serve(config, &state, begin).await;
            state.send_replace(Arc::new(State::Down(reason)));
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = state.closed() => {}
        () = lasting => {}
    }
}

/// Serves one connection to its end, after a first statement; why it ended.
async fn serve(config: &Config, state: &watch::Sender<Arc<State>>, begin: &'static str) -> String {
    let (client, connection) = match connect(config).await {
        Ok(connected) => connected,
        Err(error) => return error.to_string(),
    };
    let offer = async {
        let begun = async {
            check_settings(&client).await?;
            Ok::<_, PostgresError>(client.batch_execute(begin).await?)
        };
        match begun.await {
            Ok(()) => {
                let session = Session {
                    client,
                    prepared: Mutex::new(HashMap::new()),
                };
                state.send_replace(Arc::new(State::Up(Arc::new(session))));
                None
            }
            Err(error) => Some(error.to_string()),
        }
    };
    let (refused, ended) = tokio::join!(offer, async {
        let ended = connection.await;
        // Nobody is to take it any more, though `offer` may have put it up.
        state.send_replace(Arc::new(State::Down("the connection ended".to_owned())));
        ended
    });
    match (refused, ended) {
        (Some(reason), _) => reason,
        (None, Err(error)) => super::error::text(&error),
        (None, Ok(())) => "the connection ended".to_owned(),
    }
}

async fn connect(
    config: &Config,
) -> Result<(Client, impl Future<Output = Result<(), Error>>), PostgresError> {
    let connecting = tokio::time::timeout(CONNECT, config.connect(NoTls));
    match connecting.await {
        Ok(connected) => connected.map_err(PostgresError::from),
        Err(_) => Err(PostgresError::Connect("no answer in time".to_owned())),
    }
}

/// What a commit's acknowledgement means rests on these.
async fn check_settings(client: &Client) -> Result<(), PostgresError> {
    let row = client
        .query_one(
            "SELECT current_setting('fsync'),
                    current_setting('synchronous_commit'),
                    CASE WHEN pg_is_in_recovery() THEN 'on' ELSE 'off' END",
            &[],
        )
        .await?;
    let rows: [(&str, &[&str], &str); 3] = [
        ("fsync", &["on"], "on"),
        // `remote_apply` waits for a standby besides; `local` and `remote_write` promise less.
        ("synchronous_commit", &["on", "remote_apply"], "on"),
        ("in_hot_standby", &["off"], "off"),
    ];
    for (at, (name, accepted, needed)) in rows.into_iter().enumerate() {
        let found: String = row.get(at);
        if !accepted.contains(&found.as_str()) {
            return Err(PostgresError::Setting {
                name,
                found,
                needed,
            });
        }
    }
    // Every statement of ours goes by a key; without statistics the planner would read small
    // tables whole and go on doing so while they grow.
    client
        .batch_execute(
            "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off",
        )
        .await?;
    Ok(())
}
