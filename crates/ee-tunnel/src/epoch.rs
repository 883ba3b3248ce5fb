//! One life of HTTP/2 on a tunnel, and how it ends without the tunnel (TUNNEL 3.3).
//!
//! An idle HTTP/2 session holds more memory than the rest of its tunnel. So after a while without
//! streams the control plane says GOAWAY and then, with an empty binary message, that nothing of
//! this epoch follows in its direction; the agent answers alike. Both drop HTTP/2 and keep the
//! inner TLS; the next request begins a new epoch with a new preface.
//!
//! The marker stands outside TLS, so whoever ends the outer TLS can forge it. **Invariant:** a
//! marker that does not follow a GOAWAY seen by HTTP/2 itself ends the tunnel: no stream is ever
//! taken for complete because of one.

use std::future::Future;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::limits::{DISCARD_BYTES, EPOCH_END_TIME};
use crate::link::{Link, SharedSocket, lock};
use crate::meter::Meter;

/// Where a link goes when HTTP/2 is dropped.
pub(crate) struct Home<S>(Arc<Mutex<Returned<S>>>);

/// What HTTP/2 gives back.
struct Returned<S> {
    link: Option<Link<S>>,
    flood: bool,
}

/// A link as HTTP/2 has it.
pub(crate) struct Lent<S> {
    /// Always there until the drop.
    link: Option<Link<S>>,
    home: Arc<Mutex<Returned<S>>>,
    /// Set where the peer is not trusted with what frames cost.
    meter: Option<Meter>,
}

/// Lends a link for one epoch. A meter fails it when the peer floods.
pub(crate) fn lend<S>(link: Link<S>, meter: Option<Meter>) -> (Lent<S>, Home<S>) {
    let home = Arc::new(Mutex::new(Returned {
        link: None,
        flood: false,
    }));
    let lent = Lent {
        link: Some(link),
        home: Arc::clone(&home),
        meter,
    };
    (lent, Home(home))
}

impl<S> Home<S> {
    /// The link, once HTTP/2 is dropped.
    pub(crate) fn take(&self) -> Option<Link<S>> {
        lock(&self.0).link.take()
    }

    /// Whether the meter has failed the link.
    pub(crate) fn was_flooded(&self) -> bool {
        lock(&self.0).flood
    }
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        lock(&self.home).link = self.link.take();
    }
}

impl<S> Lent<S> {
    fn link(&mut self) -> Pin<&mut Link<S>>
    where
        Link<S>: Unpin,
    {
        Pin::new(self.link.as_mut().expect("it is taken by the drop only"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Lent<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let lent = self.get_mut();
        let before = buf.filled().len();
        ready!(lent.link().poll_read(cx, buf))?;
        let Some(meter) = &mut lent.meter else {
            return Poll::Ready(Ok(()));
        };
        let read = meter.read(&buf.filled()[before..]);
        if read.is_err() {
            lock(&lent.home).flood = true;
        }
        Poll::Ready(read.map_err(io::Error::other))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().link().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().link().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().link().poll_flush(cx)
    }

    /// HTTP/2 shuts its transport down at its end, which the inner TLS outlives.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// The empty binary messages of one socket.
#[derive(Debug, Default)]
pub(crate) struct Markers {
    rule: MarkerRule,
    /// Ours is to leave behind what was collected.
    due: bool,
}

/// What an empty binary message of the peer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum MarkerRule {
    /// A fault.
    #[default]
    Fault,
    /// The end of its direction of an epoch.
    Ends,
    /// It has come; nothing behind it is read until its owner has taken it.
    Waits,
}

impl Markers {
    /// Both ends know how epochs end.
    pub(crate) fn agree(&mut self) {
        self.rule = MarkerRule::Ends;
    }

    /// Ends our direction.
    pub(crate) fn push(&mut self) {
        self.due = true;
    }

    /// Whether ours is to leave now.
    pub(crate) fn take_due(&mut self) -> bool {
        mem::take(&mut self.due)
    }

    /// The peer's has come; false where it may not.
    pub(crate) fn arrives(&mut self) -> bool {
        let may = self.rule == MarkerRule::Ends;
        if may {
            self.rule = MarkerRule::Waits;
        }
        may
    }

    /// Whether the peer has ended its direction, and nobody has taken that.
    pub(crate) fn waits(&self) -> bool {
        self.rule == MarkerRule::Waits
    }

    /// Takes the peer's; what follows is of the next epoch.
    pub(crate) fn take(&mut self) -> bool {
        let waits = self.waits();
        if waits {
            self.rule = MarkerRule::Ends;
        }
        waits
    }
}

/// An epoch between its two markers.
pub(crate) struct Ending<S> {
    link: Link<S>,
    socket: SharedSocket<S>,
    timer: Pin<Box<Sleep>>,
    own: Marker,
    peers: Marker,
}

/// The empty message of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Due,
    Seen,
}

/// Why an epoch has no good end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndFailed;

impl<S: AsyncRead + AsyncWrite + Unpin> Ending<S> {
    pub(crate) fn new(link: Link<S>, socket: SharedSocket<S>) -> Self {
        Self {
            link,
            socket,
            timer: Box::pin(sleep(EPOCH_END_TIME)),
            own: Marker::Due,
            peers: Marker::Due,
        }
    }

    /// Sends our marker behind our last byte, and forgets what HTTP/2 of the peer still said. Ready
    /// once both directions have ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndFailed>> {
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(EndFailed));
        }
        if self.own == Marker::Due && self.poll_own(cx)?.is_ready() {
            self.own = Marker::Seen;
        }
        if self.peers == Marker::Due && self.poll_peers(cx)?.is_ready() {
            self.peers = Marker::Seen;
        }
        match (self.own, self.peers) {
            (Marker::Seen, Marker::Seen) => Poll::Ready(Ok(())),
            (Marker::Due, _) | (_, Marker::Due) => Poll::Pending,
        }
    }

    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndFailed>> {
        ready!(Pin::new(&mut self.link).poll_flush(cx)).map_err(|_| EndFailed)?;
        lock(&self.socket).markers().push();
        Poll::Ready(Ok(()))
    }

    fn poll_peers(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndFailed>> {
        let mut scratch = [0; DISCARD_BYTES];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.link).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Err(EndFailed)),
                // The socket stops at the marker: what came before it has been read.
                Poll::Pending if lock(&self.socket).markers().take() => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    pub(crate) fn into_link(self) -> Link<S> {
        self.link
    }
}

/// Finds out when a tunnel has had no request for long enough. It looks at each ping, so that an
/// idle tunnel needs no timer more and a request touches none.
#[derive(Debug)]
pub(crate) struct Rest {
    after: Duration,
    /// Requests that had begun at the last look.
    begun: u64,
    quiet: Duration,
}

impl Rest {
    pub(crate) fn new(after: Duration) -> Self {
        Self {
            after,
            begun: 0,
            quiet: Duration::ZERO,
        }
    }

    /// Whether it is time, `interval` after the last look.
    pub(crate) fn is_due(&mut self, interval: Duration, begun: u64, inflight: usize) -> bool {
        if begun != self.begun || inflight > 0 {
            self.begun = begun;
            self.quiet = Duration::ZERO;
            return false;
        }
        self.quiet += interval;
        self.quiet >= self.after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_rests_after_one_to_two_minutes_without_requests() {
        for seconds in [24, 30, 36] {
            let interval = Duration::from_secs(seconds);
            let mut rest = Rest::new(Duration::from_secs(60));
            assert!(!rest.is_due(interval, 1, 0), "something happened");
            let open = (0..9).any(|_| rest.is_due(interval, 1, 1));
            assert!(!open, "a stream is open");
            assert!(!rest.is_due(interval, 2, 0));
            let looks = (1..).find(|_| rest.is_due(interval, 2, 0)).unwrap();
            // The last request ended up to one interval before the look that noticed it.
            assert!(interval * looks >= Duration::from_secs(60));
            assert!(interval * (looks + 1) <= Duration::from_secs(120));
        }
    }
}
