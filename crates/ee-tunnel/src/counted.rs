//! What lies below the WebSocket library: the connection, and our own binary frames beside it.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::outgoing::Outgoing;
use crate::quiet::Frames;

/// Bytes that wake a sleeping WebSocket: a ping and its neighbours, read without a buffer.
pub(crate) const EARLY_MAX: usize = 64;

/// Counts what the peer sends, for keep-alive and for sweeps of unread streams, and writes binary
/// messages around the library: each of its writes first ends the frame that is on its way.
pub(crate) struct Counted<S> {
    io: S,
    received: u64,
    frames: Frames,
    /// Read before the library was there to take it.
    early: [u8; EARLY_MAX],
    early_left: Range<usize>,
    outgoing: Outgoing,
}

impl<S> Counted<S> {
    /// A connection on which the peer sends frames from its first byte.
    pub(crate) fn new(io: S, outgoing: Outgoing) -> Self {
        Self::over(io, outgoing, Frames::default())
    }

    /// A connection on which the handshake is still to be read.
    pub(crate) fn with_handshake(io: S, outgoing: Outgoing) -> Self {
        Self::over(io, outgoing, Frames::behind_head())
    }

    fn over(io: S, outgoing: Outgoing, frames: Frames) -> Self {
        Self {
            io,
            received: 0,
            frames,
            early: [0; EARLY_MAX],
            early_left: 0..0,
            outgoing,
        }
    }

    /// Bytes that ever came from the peer.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Whether the next byte of the peer begins a message.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.frames.is_between_messages() && self.early_left.is_empty()
    }

    /// Bytes to be read again, at most [`EARLY_MAX`] and only when none wait.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        self.early[..bytes.len()].copy_from_slice(bytes);
        self.early_left = 0..bytes.len();
    }

    pub(crate) fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }
}

impl<S: AsyncWrite + Unpin> Counted<S> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.outgoing.poll_write(&mut self.io, cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        if !this.early_left.is_empty() {
            let count = this.early_left.len().min(buf.remaining());
            let from = this.early_left.start;
            buf.put_slice(&this.early[from..from + count]);
            this.early_left.start += count;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut this.io).poll_read(cx, buf);
        let fresh = &buf.filled()[before..];
        this.received += fresh.len() as u64;
        this.frames.pass(fresh);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        ready!(self.poll_frame(cx))?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        ready!(self.poll_frame(cx))?;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.poll_frame(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
