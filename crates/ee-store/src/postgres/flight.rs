//! One round trip: statements sent one behind the other without waiting for answers.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use tokio_postgres::Error;

/// A statement on its way: it is sent when it is first polled.
pub(super) type Sent<'a> = Pin<Box<dyn Future<Output = Result<u64, Error>> + Send + 'a>>;

/// How a flight ended.
pub(super) enum Landed {
    /// Every statement was sent; the first error, if there was one, and the rows each counted.
    All(Result<Vec<u64>, Error>),
    /// This one could not be sent, nor any after it.
    NotSent(usize, Error),
}

/// Sends statements in order and collects their answers.
///
/// **Invariant:** a statement is sent only if all before it were; so a COMMIT at the end is never
/// sent without the rest of its transaction.
pub(super) async fn fly(mut statements: Vec<Sent<'_>>) -> Landed {
    let mut answers: Vec<Option<Result<u64, Error>>> = Vec::with_capacity(statements.len());
    let unsent = poll_fn(|cx| {
        for (at, statement) in statements.iter_mut().enumerate() {
            match statement.as_mut().poll(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Some((at, error))),
                Poll::Ready(Ok(rows)) => answers.push(Some(Ok(rows))),
                Poll::Pending => answers.push(None),
            }
        }
        Poll::Ready(None)
    })
    .await;
    if let Some((at, error)) = unsent {
        return Landed::NotSent(at, error);
    }
    poll_fn(|cx| {
        let mut waiting = false;
        for (statement, answer) in statements.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match statement.as_mut().poll(cx) {
                    Poll::Ready(done) => *answer = Some(done),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    Landed::All(answers.into_iter().flatten().collect())
}
