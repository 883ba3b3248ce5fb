//! Sends a body into a stream, never beyond the granted capacity (TUNNEL 4).
//!
//! Empty frames before the end are swallowed (a connection dies of a hundred of them), and small
//! chunks are merged with what the source has ready.

use std::fmt::Display;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::Body;

use crate::error::BodyError;
use crate::grain::Sending;
use crate::limits::MERGE_BELOW;

/// A body on its way into the tunnel; resolves when its last byte was given to h2.
pub(crate) struct Pump<B> {
    source: B,
    stream: SendStream<Bytes>,
    /// Taken from the source, not yet sent.
    held: Bytes,
    after: After,
    sending: Sending,
}

/// What follows the held bytes.
enum After {
    More,
    End,
    Trailers(HeaderMap),
    Failed(String),
    /// Everything was sent.
    Nothing,
}

impl<B> Pump<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    pub(crate) fn new(source: B, stream: SendStream<Bytes>, sending: Sending) -> Self {
        Self {
            source,
            stream,
            held: Bytes::new(),
            after: After::More,
            sending,
        }
    }

    /// Gives the stream up; the peer drops what it has.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// The next data, or `None` when `after` says what comes instead.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.source).poll_frame(cx)) {
                None => return self.ends_with(After::End),
                Some(Err(error)) => return self.ends_with(After::Failed(error.to_string())),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => {
                    if self.source.is_end_stream() {
                        self.after = After::End;
                    } else if data.is_empty() {
                        continue;
                    }
                    return Poll::Ready(Some(data));
                }
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => return self.ends_with(After::Trailers(trailers)),
                    Err(_unknown) => {}
                },
            }
        }
    }

    fn ends_with(&mut self, after: After) -> Poll<Option<Bytes>> {
        self.after = after;
        Poll::Ready(None)
    }

    /// Holds the next chunk, merged with its successors if it is small and they are ready.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(first) = ready!(self.poll_source(cx)) else {
            return Poll::Ready(());
        };
        self.held = first;
        let mut merged = BytesMut::new();
        while matches!(self.after, After::More) && merged.len() + self.held.len() < MERGE_BELOW {
            let Poll::Ready(Some(next)) = self.poll_source(cx) else {
                break;
            };
            merged.extend_from_slice(&mem::replace(&mut self.held, next));
        }
        if !merged.is_empty() {
            merged.extend_from_slice(&self.held);
            self.held = merged.freeze();
        }
        Poll::Ready(())
    }

    /// Sends the held bytes as far as the peer grants.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while !self.held.is_empty() {
            self.stream.reserve_capacity(self.held.len());
            while self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(Err(error.into())),
                    None => return Poll::Ready(Err(BodyError::Reset(Reason::CANCEL))),
                }
            }
            let most = self.stream.capacity().min(self.sending.frame_bytes());
            let count = self.held.len().min(most);
            let piece = self.held.split_to(count);
            let last = self.held.is_empty() && matches!(self.after, After::End);
            self.stream.send_data(piece, last)?;
            if last {
                self.after = After::Nothing;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<B> Future for Pump<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    type Output = Result<(), BodyError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            ready!(this.poll_push(cx))?;
            match mem::replace(&mut this.after, After::Nothing) {
                After::More => {
                    this.after = After::More;
                    if this.poll_hold(cx).is_pending() {
                        let reset = ready!(this.stream.poll_reset(cx))?;
                        return Poll::Ready(Err(BodyError::Reset(reset)));
                    }
                }
                // Without held bytes; with some, `poll_push` has sent the end along.
                After::End if this.held.is_empty() => {
                    this.stream.send_data(Bytes::new(), true)?;
                }
                After::End => this.after = After::End,
                After::Trailers(trailers) if this.held.is_empty() => {
                    // HTTP/2 refuses fields of one hop; without a reset the peer would wait for
                    // the end for ever.
                    if let Err(error) = this.stream.send_trailers(trailers) {
                        this.stream.send_reset(Reason::INTERNAL_ERROR);
                        return Poll::Ready(Err(error.into()));
                    }
                }
                After::Trailers(trailers) => this.after = After::Trailers(trailers),
                After::Failed(error) => {
                    this.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(BodyError::Source(error)));
                }
                After::Nothing => return Poll::Ready(Ok(())),
            }
        }
    }
}
