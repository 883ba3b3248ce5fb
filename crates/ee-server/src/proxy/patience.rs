//! A client that does not read holds a credit of its app and bytes of ours: its connection ends
//! (TUNNEL 10, "client not reading").

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long not one byte may leave while some want to.
const CLIENT_READS_WITHIN: Duration = Duration::from_secs(60);

/// A connection whose writes fail once the peer has taken nothing for a minute.
pub struct Patient<S> {
    io: S,
    within: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub fn new(io: S) -> Self {
        Self {
            io,
            within: CLIENT_READS_WITHIN,
            stalled: None,
        }
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let within = self.within;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(within)));
        timer.as_mut().poll(cx).map(|()| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client does not read",
            ))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn patient<S>(io: S, millis: u64) -> Patient<S> {
        Patient {
            within: Duration::from_millis(millis),
            ..Patient::new(io)
        }
    }

    #[tokio::test]
    async fn a_client_that_never_reads_is_cut_off() {
        let (ours, _theirs) = tokio::io::duplex(4);
        let error = patient(ours, 20)
            .write_all(b"more than fits")
            .await
            .expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_slow_reader_is_served_to_the_end() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let reading = async {
            let mut read = Vec::new();
            let mut piece = [0; 4];
            while let Ok(count @ 1..) = theirs.read(&mut piece).await {
                read.extend_from_slice(&piece[..count]);
                sleep(Duration::from_millis(5)).await;
            }
            read
        };
        let writing = async {
            let mut ours = patient(ours, 2_000);
            ours.write_all(b"a rather long answer").await.expect("read");
        };
        let ((), read) = tokio::join!(writing, reading);
        assert_eq!(read, b"a rather long answer");
    }
}
