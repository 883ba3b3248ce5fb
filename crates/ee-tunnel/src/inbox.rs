//! Received bodies: eager drain, release on write (TUNNEL 4).
//!
//! h2 closes the *whole connection* when unread DATA frames under 256 bytes exhaust a budget, so
//! one client that trickles bytes into a slow app could kill every stream of a node. Two things
//! keep frames from waiting inside h2. The reader of a body takes everything that has arrived
//! each time it is polled. And while a reader is busy elsewhere, [`Inboxes::sweep`] takes its
//! place: the driver calls it whenever so many bytes were received that the budget could shrink
//! noticeably, and it moves what waits into the stream's inbox, small frames merged.
//!
//! The window is given back only when the next hop has dropped the bytes it was handed, so what
//! an inbox holds is bounded by the stream window and a slow reader stops its sender. That drop may
//! happen inside h2's own lock (an app that echoes its request), so it only counts; the reader or
//! the driver gives the counted bytes back.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::buffered::{Backlogs, Buffered, Share};
use crate::error::BodyError;
use crate::limits::{MERGE_BELOW, MERGE_UP_TO, RELEASE_BATCH, SWEEP_BYTES, SWEEP_BYTES_PER_STREAM};
use crate::link::lock;

/// The receiving half of one stream.
pub(crate) struct Inbox {
    stream: RecvStream,
    /// Taken out of h2, not yet given to the reader.
    chunks: VecDeque<Bytes>,
    /// The newest bytes, while they are few.
    tail: BytesMut,
    end: Option<Result<Option<HeaderMap>, BodyError>>,
    /// The reader, if it waits for data.
    reader: Option<Waker>,
    owed: Arc<Owed>,
    /// Bytes that came out of h2 and were not given back.
    share: Share,
}

impl Inbox {
    fn new(stream: RecvStream, owed: Owed, share: Share) -> Self {
        Self {
            stream,
            share,
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            end: None,
            reader: None,
            owed: Arc::new(owed),
        }
    }

    /// Takes all that has arrived out of h2; whether the stream has ended.
    pub(crate) fn drain(&mut self) -> bool {
        let waker = self.reader.clone().unwrap_or_else(|| Waker::noop().clone());
        let cx = &mut Context::from_waker(&waker);
        while self.end.is_none() {
            match self.poll_stream(cx) {
                Poll::Ready(Some(data)) => self.keep(data),
                Poll::Ready(None) => {}
                Poll::Pending => break,
            }
        }
        self.end.is_some()
    }

    /// The next data from h2; `None` when `end` is set now.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match std::task::ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.share.add(data.len());
                    return Poll::Ready(Some(data));
                }
                Some(Err(error)) => self.end = Some(Err(error.into())),
                None => {
                    let trailers = std::task::ready!(self.stream.poll_trailers(cx));
                    self.end = Some(trailers.map_err(BodyError::from));
                }
            }
            if self.end.is_some() {
                return Poll::Ready(None);
            }
        }
    }

    fn keep(&mut self, data: Bytes) {
        if data.len() < MERGE_BELOW {
            self.tail.extend_from_slice(&data);
            if self.tail.len() >= MERGE_UP_TO {
                self.chunks.push_back(self.tail.split().freeze());
            }
            return;
        }
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
        self.chunks.push_back(data);
    }

    fn pop(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.chunks.pop_front() {
            return Some(chunk);
        }
        (!self.tail.is_empty()).then(|| mem::take(&mut self.tail).freeze())
    }

    /// The next chunk; small ones are merged with what is already there.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let first = match self.pop() {
            Some(chunk) => chunk,
            None if self.end.is_some() => return Poll::Ready(None),
            None => match std::task::ready!(self.poll_stream(cx)) {
                Some(chunk) => chunk,
                None => return Poll::Ready(None),
            },
        };
        if first.len() >= MERGE_BELOW || self.end.is_some() && self.is_empty() {
            return Poll::Ready(Some(first));
        }
        Poll::Ready(Some(self.merge(first, cx)))
    }

    fn merge(&mut self, first: Bytes, cx: &mut Context<'_>) -> Bytes {
        let mut merged = BytesMut::new();
        let mut only = first;
        while only.len() + merged.len() < MERGE_UP_TO {
            let next = match self.pop() {
                Some(chunk) => chunk,
                None if self.end.is_some() => break,
                None => match self.poll_stream(cx) {
                    Poll::Ready(Some(chunk)) => chunk,
                    Poll::Ready(None) | Poll::Pending => break,
                },
            };
            if next.len() >= MERGE_BELOW {
                // Nothing is gained by copying a long one behind a short one.
                self.chunks.push_front(next);
                break;
            }
            merged.extend_from_slice(&only);
            only = next;
        }
        if merged.is_empty() {
            return only;
        }
        merged.extend_from_slice(&only);
        merged.freeze()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.tail.is_empty()
    }

    /// Whether all data has been handed over and no trailers follow.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_empty() && matches!(self.end, Some(Ok(None)))
    }

    /// Exact when everything has arrived and no trailers follow.
    pub(crate) fn size_hint(&self) -> SizeHint {
        if !matches!(self.end, Some(Ok(None))) {
            return SizeHint::default();
        }
        let queued: usize = self.chunks.iter().map(Bytes::len).sum();
        SizeHint::with_exact((queued + self.tail.len()) as u64)
    }

    fn release_owed(&mut self) {
        let count = self.owed.bytes.swap(0, Ordering::Relaxed);
        if count > 0 {
            self.release(count);
        }
    }

    fn release(&mut self, count: usize) {
        self.share.take(count);
        // Fails only when the stream is gone, and its window with it.
        let _gone = self.stream.flow_control().release_capacity(count);
    }
}

/// An inbox as its reader holds it.
pub(crate) type SharedInbox = Arc<Mutex<Inbox>>;

/// Reads the next frame of a body.
pub(crate) fn poll_frame(
    inbox: &SharedInbox,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let mut guard = lock(inbox);
    guard.reader = None;
    guard.release_owed();
    match guard.poll_chunk(cx) {
        Poll::Ready(Some(chunk)) => {
            Poll::Ready(Some(Ok(Frame::data(hand_over(&mut guard, chunk)))))
        }
        Poll::Ready(None) => Poll::Ready(match guard.end.replace(Ok(None)) {
            Some(Ok(Some(trailers))) => Some(Ok(Frame::trailers(trailers))),
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(None)) | None => None,
        }),
        Poll::Pending => {
            guard.reader = Some(cx.waker().clone());
            Poll::Pending
        }
    }
}

/// Once the stream has ended its sender has nothing left to be held back, so no hook is needed.
fn hand_over(inbox: &mut Inbox, chunk: Bytes) -> Bytes {
    if inbox.end.is_some() {
        inbox.release(chunk.len());
        return chunk;
    }
    Bytes::from_owner(Held {
        chunk,
        owed: Arc::clone(&inbox.owed),
    })
}

/// Bytes that the next hop has dropped and that were not yet given back to the sender.
struct Owed {
    bytes: AtomicUsize,
    inbox: Weak<Mutex<Inbox>>,
    releases: Arc<Releases>,
}

/// Inboxes that owe enough to be served by the driver, for their reader may not come soon.
#[derive(Default)]
struct Releases {
    due: Mutex<Vec<Weak<Mutex<Inbox>>>>,
    driver: AtomicWaker,
}

/// Bytes on their way through the next hop. It must not own the inbox: dropped inside h2's lock,
/// it would drop the stream there.
struct Held {
    chunk: Bytes,
    owed: Arc<Owed>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.chunk
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let before = self
            .owed
            .bytes
            .fetch_add(self.chunk.len(), Ordering::Relaxed);
        if before < RELEASE_BATCH && before + self.chunk.len() >= RELEASE_BATCH {
            lock(&self.owed.releases.due).push(Weak::clone(&self.owed.inbox));
            self.owed.releases.driver.wake();
        }
    }
}

/// The inboxes of one tunnel whose streams have not ended.
#[derive(Default)]
pub(crate) struct Inboxes {
    open: Mutex<Vec<Weak<Mutex<Inbox>>>>,
    releases: Arc<Releases>,
    buffered: Buffered,
    backlogs: Backlogs,
}

impl Inboxes {
    /// No streams yet; `buffered` counts what those to come hold.
    pub(crate) fn new(buffered: Buffered) -> Self {
        Self {
            buffered,
            ..Self::default()
        }
    }

    /// See [`Buffered::bytes`].
    pub(crate) fn buffered(&self) -> usize {
        self.buffered.bytes()
    }

    /// Receive window that a stream may have now.
    pub(crate) fn stream_window(&self) -> u32 {
        self.buffered.stream_window()
    }

    /// Streams that have much for readers who do not take it.
    pub(crate) fn backlogs(&self) -> usize {
        self.backlogs.count()
    }

    /// An inbox for a stream. What has arrived with the head is taken at once; a stream that
    /// ended so needs no sweeps.
    pub(crate) fn open(&self, stream: RecvStream) -> SharedInbox {
        let inbox = Arc::new_cyclic(|inbox| {
            let releases = Arc::clone(&self.releases);
            let owed = Owed {
                bytes: AtomicUsize::new(0),
                inbox: Weak::clone(inbox),
                releases,
            };
            Mutex::new(Inbox::new(
                stream,
                owed,
                self.buffered.share(&self.backlogs),
            ))
        });
        if !lock(&inbox).drain() {
            self.add(&inbox);
        }
        inbox
    }

    fn add(&self, inbox: &SharedInbox) {
        let mut open = lock(&self.open);
        // Dead entries keep memory: make room before the vector grows.
        if open.len() == open.capacity() {
            open.retain(|entry| entry.strong_count() > 0);
        }
        open.push(Arc::downgrade(inbox));
    }

    /// Who is woken when bytes are to be given back, and when a handle has work.
    pub(crate) fn driver(&self) -> &AtomicWaker {
        &self.releases.driver
    }

    /// Gives back what slow readers' next hops have taken.
    pub(crate) fn release_due(&self) {
        let due = mem::take(&mut *lock(&self.releases.due));
        for inbox in due.iter().filter_map(Weak::upgrade) {
            lock(&inbox).release_owed();
        }
    }

    fn sweep(&self) -> usize {
        let mut open = lock(&self.open);
        open.retain(|entry| entry.upgrade().is_some_and(|inbox| !lock(&inbox).drain()));
        open.len()
    }
}

/// Decides when the driver sweeps.
#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    next_at: u64,
}

impl Sweeper {
    /// `received` is the number of bytes that ever came from the peer.
    pub(crate) fn sweep_if_due(&mut self, received: u64, inboxes: &Inboxes) {
        if received < self.next_at {
            return;
        }
        let streams = inboxes.sweep() as u64;
        self.next_at = received + SWEEP_BYTES + streams * SWEEP_BYTES_PER_STREAM;
    }
}
