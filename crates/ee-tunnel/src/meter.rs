//! Counts the frames of an HTTP/2 peer that cost us more than they cost it.
//!
//! h2 answers every PING and SETTINGS and forgets no stream for free, and sets no limit to how
//! many come; a request that is reset at once has been sent to an app and cancelled there
//! (CVE-2023-44487). Frames with data are not counted: windows and rates limit those.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// Frames without data in one second. gRPC measures its path with a PING each round trip, which
/// makes some thousand on a fast network.
pub(crate) const IDLE_FRAMES_PER_SECOND: u32 = 10_000;
/// Streams that a client gives up in one second: a browser that leaves a page gives up all of its
/// 128, a few times a second at most.
const RESETS_PER_SECOND: u32 = 500;
/// Grants of window by an agent in one second. Ours makes two for each 512 KiB that it took, an
/// eager one two for each frame of 16 KiB: 800 MB/s of uploads on one tunnel.
pub(crate) const AGENT_WINDOW_UPDATES_PER_SECOND: u32 = 100_000;
/// Length of a frame's head (RFC 9113 section 4.1).
const FRAME_HEAD: usize = 9;
/// Length of the client's preface, which stands before the first frame.
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// A peer that sends frames for their own sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many frames that carry nothing")]
pub(crate) struct Flood;

/// Most frames of a kind in one second.
#[derive(Debug, Clone, Copy)]
struct Most {
    idle: u32,
    resets: u32,
    windows: u32,
}

/// Follows the frames of one peer.
#[derive(Debug)]
pub(crate) struct Meter {
    most: Most,
    /// The head of the frame that is being read.
    head: [u8; FRAME_HEAD],
    have: usize,
    /// Bytes up to the next head.
    skip: usize,
    second: Instant,
    idle: u32,
    resets: u32,
    windows: u32,
}

impl Meter {
    /// Of a client, from the first byte of its preface. What it grants of window costs us less
    /// than it: an eager client of a large answer grants for every frame.
    fn of_client() -> Self {
        let most = Most {
            idle: IDLE_FRAMES_PER_SECOND,
            resets: RESETS_PER_SECOND,
            windows: u32::MAX,
        };
        Self::new(most, PREFACE)
    }

    /// Of an agent, which is a server: it resets what we have asked for, and an upload that its
    /// app did not read to the end, so as often as we ask.
    pub(crate) fn of_agent() -> Self {
        let most = Most {
            idle: IDLE_FRAMES_PER_SECOND,
            resets: IDLE_FRAMES_PER_SECOND,
            windows: AGENT_WINDOW_UPDATES_PER_SECOND,
        };
        Self::new(most, 0)
    }

    fn new(most: Most, skip: usize) -> Self {
        Self {
            most,
            head: [0; FRAME_HEAD],
            have: 0,
            skip,
            second: Instant::now(),
            idle: 0,
            resets: 0,
            windows: 0,
        }
    }

    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            let count = (FRAME_HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + count].copy_from_slice(&bytes[..count]);
            self.have += count;
            bytes = &bytes[count..];
            if self.have == FRAME_HEAD {
                self.have = 0;
                self.frame()?;
            }
        }
    }

    fn frame(&mut self) -> Result<(), Flood> {
        let [high, middle, low, kind, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = usize::try_from(length).expect("24 bits");
        let counted = match kind {
            DATA | CONTINUATION => length == 0,
            HEADERS => false,
            _ => true,
        };
        if !counted {
            return Ok(());
        }
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.second = Instant::now();
            (self.idle, self.resets, self.windows) = (0, 0, 0);
        }
        match kind {
            WINDOW_UPDATE => self.windows = self.windows.saturating_add(1),
            _ => self.idle += 1,
        }
        self.resets += u32::from(kind == RST_STREAM);
        let Most {
            idle,
            resets,
            windows,
        } = self.most;
        if self.idle > idle || self.resets > resets || self.windows > windows {
            return Err(Flood);
        }
        Ok(())
    }
}

/// A connection that fails when its client floods.
#[derive(Debug)]
pub struct Metered<S> {
    io: S,
    meter: Meter,
}

impl<S> Metered<S> {
    /// Meters a client's connection from the first byte of its preface.
    pub fn of_client(io: S) -> Self {
        Self {
            io,
            meter: Meter::of_client(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = self.meter.read(&buf.filled()[before..]);
        Poll::Ready(read.map_err(io::Error::other))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(kind: u8, length: u8, count: u32) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, 0, 0, 0, 0, 1];
        frame.resize(FRAME_HEAD + usize::from(length), 0);
        frame.repeat(usize::try_from(count).expect("small"))
    }

    fn meter() -> Meter {
        let mut meter = Meter::of_client();
        meter.read(&[0; PREFACE]).expect("the preface");
        meter
    }

    #[tokio::test(start_paused = true)]
    async fn frames_without_data_are_counted_by_the_second_however_they_arrive() {
        for (kind, limit) in [(6, IDLE_FRAMES_PER_SECOND), (RST_STREAM, RESETS_PER_SECOND)] {
            for piece in [1 << 20, 5] {
                let mut meter = meter();
                for second in 0..3 {
                    let most = frames(kind, 8, limit);
                    for bytes in most.chunks(piece) {
                        assert_eq!(meter.read(bytes), Ok(()), "{kind} {second}");
                    }
                    tokio::time::advance(Duration::from_secs(1)).await;
                }
                assert_eq!(meter.read(&frames(kind, 8, limit)), Ok(()));
                assert_eq!(meter.read(&frames(kind, 8, 1)), Err(Flood));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_data_and_windows_are_not_counted() {
        for (kind, length) in [(DATA, 1), (HEADERS, 20), (WINDOW_UPDATE, 4)] {
            let many = frames(kind, length, IDLE_FRAMES_PER_SECOND * 2);
            assert_eq!(meter().read(&many), Ok(()), "{kind}");
        }
        for kind in [DATA, CONTINUATION] {
            let many = frames(kind, 0, IDLE_FRAMES_PER_SECOND * 2);
            assert_eq!(meter().read(&many), Err(Flood), "empty {kind}");
        }
    }

    /// An agent refuses as fast as it is asked, and grants no window for its own sake.
    #[tokio::test(start_paused = true)]
    async fn an_agent_may_reset_more_and_grant_less() {
        let most = [
            (RST_STREAM, IDLE_FRAMES_PER_SECOND),
            (WINDOW_UPDATE, AGENT_WINDOW_UPDATES_PER_SECOND),
        ];
        for (kind, limit) in most {
            let mut meter = Meter::of_agent();
            assert_eq!(meter.read(&frames(kind, 4, limit)), Ok(()), "{kind}");
            assert_eq!(meter.read(&frames(kind, 4, 1)), Err(Flood), "{kind}");
        }
    }
}
