//! A request body that can be taken back as long as nobody has read from it, so that a request
//! which an agent refused unseen may go to another, whatever its method (ROUTING 5).

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Holds a body between attempts.
pub struct Lender<B>(Arc<Mutex<Option<B>>>);

/// The body as one attempt sees it; the first read makes it this attempt's own.
pub struct Lent<B> {
    shared: Arc<Mutex<Option<B>>>,
    taken: Option<B>,
    ended: bool,
    hint: SizeHint,
}

impl<B: Body> Lender<B> {
    /// Takes the body in.
    pub fn new(body: B) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    /// The body for an attempt, unless an earlier one has read from it.
    pub fn lend(&self) -> Option<Lent<B>> {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let body = guard.as_ref()?;
        let (ended, hint) = (body.is_end_stream(), body.size_hint());
        drop(guard);
        Some(Lent {
            shared: Arc::clone(&self.0),
            taken: None,
            ended,
            hint,
        })
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Lent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.taken.is_none() {
            let taken = self
                .shared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            self.taken = taken;
        }
        match &mut self.taken {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.taken.as_ref().map_or(self.ended, Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.taken.as_ref().map_or(self.hint, Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn an_unread_body_is_lent_again_and_a_read_one_is_not() {
        let lender = Lender::new(Full::new(Bytes::from_static(b"once")));
        drop(lender.lend().expect("unread"));
        let lent = lender.lend().expect("still unread");
        assert_eq!(lent.size_hint().exact(), Some(4));
        let read = lent.collect().await.expect("infallible").to_bytes();
        assert_eq!(read, "once");
        assert!(lender.lend().is_none());
    }
}
