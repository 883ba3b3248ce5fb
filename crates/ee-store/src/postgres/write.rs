//! Writing: one batch as one transaction in one round trip.

use tokio_postgres::{Client, Error, Statement, error::SqlState};

use super::{
    cells::{self, Value},
    error::{PostgresError, is_lost, text},
    flight::{Landed, Sent, fly},
    line::{Line, Session},
    statements,
};
use crate::{
    ledger::{Batch, Cell, CommitError, Head},
    row::signed,
};

/// What became of one attempt to commit.
pub(super) enum Attempt {
    /// It is durable.
    Done,
    /// It left no trace, unless the error says that nobody knows.
    Refused(CommitError),
    /// The head has moved, or the connection broke: the head tells.
    Unclear(String),
}

/// Begins the books, if there are none.
pub(super) async fn create_head(client: &Client, fresh: &Head) -> Result<(), PostgresError> {
    let (batch, seq, epoch) = (signed(fresh.batch), signed(fresh.seq), signed(fresh.epoch));
    let (id, root) = (&fresh.ledger_id[..], &fresh.root[..]);
    let at = fresh.at.unix_micros();
    client
        .execute(
            statements::CREATE_HEAD,
            &[&id, &batch, &seq, &epoch, &root, &at],
        )
        .await?;
    Ok(())
}

/// Sends a batch once.
pub(super) async fn attempt(line: &Line, batch: &Batch) -> Attempt {
    let session = match line.session().await {
        Ok(session) => session,
        Err(error) => return Attempt::Refused(CommitError::Unavailable(error.to_string())),
    };
    let head = head_cells(batch);
    let transaction = match Transaction::prepare(&session, batch, &head).await {
        Ok(transaction) => transaction,
        Err(error) if is_lost(&error) => {
            return Attempt::Refused(CommitError::Unavailable(text(&error)));
        }
        Err(error) => return Attempt::Refused(CommitError::Unknown(text(&error))),
    };
    match fly(transaction.statements(&session.client)).await {
        Landed::All(Ok(rows)) => {
            assert_eq!(rows[1], 1, "the books have one head");
            Attempt::Done
        }
        Landed::All(Err(error)) => refused(&error),
        Landed::NotSent(0, error) => Attempt::Refused(CommitError::Unavailable(text(&error))),
        Landed::NotSent(_, error) => {
            // The transaction stays open and uncommitted: nobody is to go on in it. If this fails
            // too, the connection is gone, and the transaction with it.
            let _ = session.client.batch_execute("ROLLBACK").await;
            Attempt::Unclear(text(&error))
        }
    }
}

/// What an error in the middle of the transaction means: the COMMIT behind it has undone it.
fn refused(error: &Error) -> Attempt {
    let moved = error
        .as_db_error()
        .is_some_and(|db| db.constraint() == Some(statements::HEAD_CONSTRAINT));
    if moved || is_lost(error) {
        return Attempt::Unclear(text(error));
    }
    let passing = [
        // Classes and codes of "not now": resources, cancelled by hand, locked by hand, a server
        // that has become a standby.
        SqlState::INSUFFICIENT_RESOURCES,
        SqlState::OUT_OF_MEMORY,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::QUERY_CANCELED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    Attempt::Refused(match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => CommitError::DiskFull,
        Some(code) if passing.contains(code) => CommitError::Unavailable(text(error)),
        // A row that the schema refuses is a mistake of the books: memory is not to be believed
        // any more than after a failed commit.
        Some(_) | None => CommitError::Unknown(text(error)),
    })
}

/// The parameters of [`statements::MOVE_HEAD`].
fn head_cells(batch: &Batch) -> [Cell; 7] {
    let (expected, next) = (&batch.expected, &batch.next);
    [
        Cell::Int(signed(next.batch)),
        Cell::Int(signed(next.seq)),
        Cell::Int(signed(next.epoch)),
        Cell::Blob(next.root.to_vec()),
        Cell::Int(next.at.unix_micros()),
        Cell::Int(signed(expected.seq)),
        Cell::Int(signed(expected.epoch)),
    ]
}

/// Everything of a transaction but its ends, ready to be sent.
struct Transaction<'a> {
    steps: Vec<(Statement, Vec<Value<'a>>)>,
}

impl<'a> Transaction<'a> {
    async fn prepare(session: &Session, batch: &'a Batch, head: &'a [Cell]) -> Result<Self, Error> {
        let mut steps = Vec::new();
        let move_head = session.prepare(statements::MOVE_HEAD).await?;
        steps.push((move_head, head.iter().map(Value::One).collect()));
        for change in &batch.changes {
            let table = change.table;
            if !change.delete.is_empty() {
                let statement = session.prepare(&statements::delete(table)).await?;
                steps.push((
                    statement,
                    cells::arrays(table.key_columns(), &change.delete),
                ));
            }
            if !change.put.is_empty() {
                let statement = session.prepare(&statements::put(table)).await?;
                steps.push((statement, cells::arrays(table.columns, &change.put)));
            }
        }
        Ok(Self { steps })
    }

    fn statements<'s>(&'s self, client: &'s Client) -> Vec<Sent<'s>> {
        let plain = |sql: &'static str| -> Sent<'s> {
            Box::pin(async move { client.batch_execute(sql).await.map(|()| 0) })
        };
        let mut sent = vec![plain("BEGIN")];
        for (statement, values) in &self.steps {
            sent.push(Box::pin(client.execute_raw(statement, values.iter())));
        }
        sent.push(plain("COMMIT"));
        sent
    }
}
