//! Bodies that come through the tunnel: responses at the control plane, requests at the agent.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::error::BodyError;
use crate::handle::Inflight;
use crate::inbox::{Inboxes, SharedInbox, poll_frame};
use crate::link::lock;

/// A received body. Memory: at most the stream window. Dropping it early cancels the stream.
struct Received(SharedInbox);

impl Received {
    fn new(stream: RecvStream, inboxes: &Inboxes) -> Self {
        Self(inboxes.open(stream))
    }

    fn is_finished(&self) -> bool {
        lock(&self.0).is_finished()
    }
}

/// The body of a response, at the control plane.
///
/// Chunks that are taken and kept count as unread: whoever collects more than the stream window
/// (1 MiB) must copy them, or the sender stops for ever.
pub struct TunnelBody {
    received: Option<Received>,
    _inflight: Inflight,
    /// Dropped with the body: stops an upload that still runs.
    _upload: Option<oneshot::Sender<()>>,
}

impl TunnelBody {
    pub(crate) fn new(
        stream: RecvStream,
        inboxes: &Inboxes,
        inflight: Inflight,
        upload: Option<oneshot::Sender<()>>,
    ) -> Self {
        let received = (!stream.is_end_stream()).then(|| Received::new(stream, inboxes));
        Self {
            received,
            _inflight: inflight,
            _upload: upload,
        }
    }
}

impl Body for TunnelBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &self.received {
            Some(received) => poll_frame(&received.0, cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.received.as_ref().is_none_or(Received::is_finished)
    }

    fn size_hint(&self) -> SizeHint {
        size_hint(self.received.as_ref())
    }
}

/// The body of a request, at the agent. Chunks that are kept count as unread, as in [`TunnelBody`].
pub struct IncomingBody {
    received: Option<Received>,
}

impl IncomingBody {
    pub(crate) fn new(stream: RecvStream, inboxes: &Inboxes) -> Self {
        let received = (!stream.is_end_stream()).then(|| Received::new(stream, inboxes));
        Self { received }
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &self.received {
            Some(received) => poll_frame(&received.0, cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.received.as_ref().is_none_or(Received::is_finished)
    }

    fn size_hint(&self) -> SizeHint {
        size_hint(self.received.as_ref())
    }
}

/// Exact where the whole body has arrived, else unknown (a `content-length` field says it).
fn size_hint(received: Option<&Received>) -> SizeHint {
    match received {
        None => SizeHint::with_exact(0),
        Some(received) => lock(&received.0).size_hint(),
    }
}
