//! One round trip: statements sent one behind the other without waiting for answers.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use tokio_postgres::Error;

/// A future among others.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A statement on its way: it is sent when it is first polled.
pub(super) type Sent<'a> = Boxed<'a, Result<u64, Error>>;

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
    let mut answers = Vec::with_capacity(statements.len());
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
    match unsent {
        Some((at, error)) => Landed::NotSent(at, error),
        None => Landed::All(land(statements, answers).await.into_iter().collect()),
    }
}

/// Waits for all of some futures, each polled in its turn from the first on.
pub(super) async fn together<T>(futures: Vec<Boxed<'_, T>>) -> Vec<T> {
    let answers = futures.iter().map(|_| None).collect();
    land(futures, answers).await
}

async fn land<T>(mut futures: Vec<Boxed<'_, T>>, mut answers: Vec<Option<T>>) -> Vec<T> {
    poll_fn(|cx| {
        let mut all = Poll::Ready(());
        for (future, answer) in futures.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(done) => *answer = Some(done),
                    Poll::Pending => all = Poll::Pending,
                }
            }
        }
        all
    })
    .await;
    answers.into_iter().flatten().collect()
}
