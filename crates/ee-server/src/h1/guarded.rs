//! A connection of which only good requests can be read.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{
    HEAD_WITHIN,
    fault::Fault,
    follow::{Follower, Stage},
    head::HEAD_MAX_BYTES,
    interim::Interim,
    turns::Turns,
};

/// Stands for a bad request; the service answers it with the reason.
const IN_ITS_PLACE: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
/// Bytes held of a client that goes on before its upgrade is answered (TUNNEL 9, "smuggling").
const EARLY_MAX_BYTES: usize = 16 * 1024;
/// Bytes read at once while a head is not whole.
const READ_BYTES: usize = 4 * 1024;
/// Bytes of a refused client that are read and thrown away, so that our answer is not lost in a
/// reset; whoever sends more may lose it.
const DISCARD_MAX_BYTES: usize = 1024 * 1024;
/// How long a refused client may take to end its side.
const LINGER: Duration = Duration::from_secs(2);

/// Reads from `S` what the rules let through; writes pass as they are.
#[derive(Debug)]
pub struct Guarded<S> {
    io: S,
    turns: Turns,
    follower: Follower,
    /// Bytes that were read and not yet given on.
    held: BytesMut,
    /// How many of them may be given on.
    clear: usize,
    discarded: usize,
    /// Runs while a head is not whole, or while a refused client is heard out.
    timer: Option<Pin<Box<Sleep>>>,
    interim: Interim,
    /// The rest of interim answers that are being written.
    going: BytesMut,
    /// Whether hyper has nothing left to write: only then an answer can be written before its next.
    between: bool,
}

impl<S> Guarded<S> {
    /// Guards a connection of which `first` was read already.
    pub fn new(first: &[u8], io: S, turns: Turns, interim: Interim) -> Self {
        let mut guarded = Self {
            io,
            turns,
            follower: Follower::new(),
            held: BytesMut::from(first),
            clear: 0,
            discarded: 0,
            timer: None,
            interim,
            going: BytesMut::new(),
            between: true,
        };
        guarded.follow_held();
        guarded
    }

    /// The connection after an upgrade, and what was read of it too early.
    pub fn into_parts(self) -> (Bytes, S) {
        (self.held.freeze(), self.io)
    }

    fn follow_held(&mut self) {
        self.clear = self.follower.follow(&self.held);
        self.refuse_if_bad();
    }

    /// Puts the empty request in the place of a bad one.
    fn refuse_if_bad(&mut self) {
        if let Stage::Refused(fault) = self.follower.stage() {
            self.turns.refuse(self.follower.heads() + 1, *fault);
            self.held.truncate(self.clear);
            self.held.extend_from_slice(IN_ITS_PLACE);
            self.clear = self.held.len();
            self.timer = None;
        }
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.clear.min(buf.remaining());
        buf.put_slice(&self.held[..count]);
        self.held.advance(count);
        self.clear -= count;
        if self.held.is_empty() {
            // An idle connection holds no buffer.
            self.held = BytesMut::new();
        }
    }

    /// Whether the rest of a head is late; looked at when there is nothing to read.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep(HEAD_WITHIN)));
        timer.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> Guarded<S> {
    /// Reads into the caller's buffer, as most requests come whole; what must wait is taken back.
    /// False if nothing may be read yet.
    fn poll_straight(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf)?;
        if read.is_pending() && self.follower.heads() == 0 {
            // Who never asks is not told why the connection ends.
            return self.poll_late(cx).map(|()| Ok(true));
        }
        ready!(read);
        let fresh = &buf.filled()[before..];
        if fresh.is_empty() {
            return Poll::Ready(Ok(true));
        }
        self.timer = None;
        let clear = self.follower.follow(fresh);
        if clear < fresh.len() {
            self.held.extend_from_slice(&fresh[clear..]);
            buf.set_filled(before + clear);
            self.refuse_if_bad();
        }
        Poll::Ready(Ok(clear > 0))
    }

    /// Reads more of what is held already, up to a limit; false at the end of the stream.
    fn poll_more(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<bool>> {
        let mut space = [0; READ_BYTES];
        let room = limit.saturating_sub(self.held.len()).min(READ_BYTES);
        if room == 0 {
            return Poll::Pending;
        }
        let mut piece = ReadBuf::new(&mut space[..room]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
        self.held.extend_from_slice(piece.filled());
        Poll::Ready(Ok(!piece.filled().is_empty()))
    }

    /// The rest of a head; false at the end of the stream.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match self.poll_more(cx, HEAD_MAX_BYTES + READ_BYTES) {
            Poll::Ready(Ok(true)) => self.follow_held(),
            Poll::Ready(ended) => return Poll::Ready(ended),
            Poll::Pending => {
                ready!(self.poll_late(cx));
                self.follower.refuse(Fault::Late);
                self.refuse_if_bad();
            }
        }
        if self.clear > 0 {
            self.timer = None;
        }
        Poll::Ready(Ok(true))
    }

    /// What follows a request that asked for another protocol; false at the end of the stream.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let number = self.follower.heads();
        match self.turns.upgraded(number, cx.waker()) {
            Some(upgraded) => {
                self.follower.answered(upgraded);
                self.follow_held();
                Poll::Ready(Ok(true))
            }
            None => self.poll_more(cx, EARLY_MAX_BYTES),
        }
    }

    /// Throws away what a refused client still sends; ready when it has ended.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; READ_BYTES];
        while self.discarded < DISCARD_MAX_BYTES {
            let mut piece = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece));
            if read.is_err() || piece.filled().is_empty() {
                self.discarded = DISCARD_MAX_BYTES;
            }
            self.discarded += piece.filled().len();
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.clear > 0 {
                this.give(buf);
                return Poll::Ready(Ok(()));
            }
            let goes_on = match this.follower.stage() {
                Stage::Head(_) if !this.held.is_empty() => ready!(this.poll_head(cx))?,
                Stage::Head(_) | Stage::Body(_) | Stage::Chunks(_) => {
                    if ready!(this.poll_straight(cx, buf))? {
                        return Poll::Ready(Ok(()));
                    }
                    true
                }
                Stage::Asked => ready!(this.poll_answer(cx))?,
                Stage::Opaque => return Pin::new(&mut this.io).poll_read(cx, buf),
                Stage::Refused(_) => {
                    // Not an end: hyper would drop the answer that it is writing.
                    let _ended = this.poll_discard(cx);
                    return Poll::Pending;
                }
                Stage::Broken => {
                    let broken = "the chunks of the body are not as RFC 9112 7.1 has them";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, broken)));
                }
            };
            if !goes_on {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    /// Ready when no interim answer stands before what hyper writes next.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.between
            && let Some(interim) = self.interim.take()
        {
            self.going.unsplit(interim);
        }
        while !self.going.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.going))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.going.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.between = false;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.between = false;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper flushes when it has written all it has: the place for an interim answer, unless the
    /// answer itself has gone.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.between = true;
        if !self.turns.is_open() {
            let _late = self.interim.take();
        }
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// A refused client is heard out for a moment: closing with its bytes unread would reset the
    /// connection, and the reason with it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        if matches!(this.follower.stage(), Stage::Refused(_)) && this.poll_discard(cx).is_pending()
        {
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(LINGER)));
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        task::{Wake, Waker},
    };

    use http::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn guarded(first: &[u8]) -> (Guarded<DuplexStream>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        (
            Guarded::new(first, ours, Turns::default(), Interim::default()),
            theirs,
        )
    }

    const GOOD: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";

    #[tokio::test]
    async fn good_requests_pass_byte_for_byte_however_they_arrive() {
        let sent = GOOD.repeat(3);
        for split in [1, 7, 20, 41, 60] {
            let (first, rest) = sent.split_at(split);
            let (mut ours, mut theirs) = guarded(first);
            let writing = async {
                for piece in rest.chunks(split) {
                    theirs.write_all(piece).await.expect("sent");
                    tokio::task::yield_now().await;
                }
                drop(theirs);
            };
            let mut read = Vec::new();
            let (end, ()) = tokio::join!(ours.read_to_end(&mut read), writing);
            end.expect("read");
            assert_eq!(read, sent, "{split}");
        }
    }

    #[tokio::test]
    async fn a_bad_head_becomes_an_empty_one_and_the_rest_is_thrown_away() {
        let (mut ours, mut theirs) = guarded(b"");
        let bad = b"GET /bad HTTP/1.1\r\nX : y\r\n\r\n";
        theirs
            .write_all(&[GOOD, bad, GOOD].concat())
            .await
            .expect("sent");
        let mut read = vec![0; GOOD.len() + IN_ITS_PLACE.len()];
        ours.read_exact(&mut read).await.expect("read");
        assert_eq!(read, [GOOD, IN_ITS_PLACE].concat());
        let more = tokio::time::timeout(Duration::from_millis(20), ours.read_u8()).await;
        assert!(more.is_err(), "nothing comes after it, not even the end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_refused_as_late() {
        let (mut ours, mut theirs) = guarded(b"");
        theirs.write_all(b"GET / HTTP/1.1\r\n").await.expect("sent");
        let mut read = vec![0; IN_ITS_PLACE.len()];
        ours.read_exact(&mut read).await.expect("read");
        assert_eq!(read, IN_ITS_PLACE);
        assert!(matches!(ours.follower.stage(), Stage::Refused(Fault::Late)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_asks_is_closed_and_who_has_asked_is_waited_for() {
        let (mut ours, _theirs) = guarded(b"");
        let closed = tokio::time::timeout(HEAD_WITHIN * 2, ours.read_u8()).await;
        assert!(closed.expect("in time").is_err(), "the end");
        let (mut ours, _theirs) = guarded(GOOD);
        let mut read = vec![0; GOOD.len()];
        ours.read_exact(&mut read).await.expect("read");
        let waited = tokio::time::timeout(HEAD_WITHIN * 2, ours.read_u8()).await;
        assert!(waited.is_err(), "hyper decides how long");
    }

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// hyper does not look again by itself at a connection that had nothing to read.
    #[tokio::test]
    async fn an_answer_wakes_who_waits_behind_an_upgrade() {
        let asks = b"GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n";
        let (mut ours, _theirs) = guarded(&[asks, GOOD].concat());
        let mut read = vec![0; asks.len()];
        ours.read_exact(&mut read).await.expect("read");
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut space = [0; 256];
        let mut buf = ReadBuf::new(&mut space);
        let polled = Pin::new(&mut ours).poll_read(&mut Context::from_waker(&waker), &mut buf);
        assert!(polled.is_pending());
        ours.turns.answered(StatusCode::OK);
        assert!(woken.0.load(Ordering::Relaxed));
        let mut read = vec![0; GOOD.len()];
        ours.read_exact(&mut read).await.expect("read");
        assert_eq!(read, GOOD);
    }
}
