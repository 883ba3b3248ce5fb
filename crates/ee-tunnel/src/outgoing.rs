//! Binary messages on their way out, framed here and not by the WebSocket library.
//!
//! The library takes each message as a buffer of its own. A busy tunnel would allocate, fault in
//! and give back 64 KiB per message, and a client would touch the bytes once more to mask them.
//! Here one buffer is kept while the tunnel is busy, and bytes are masked as they are copied.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::AsyncWrite;

use crate::limits::BINARY_SEND;

/// The longest header: two bytes, a length of eight, a key of four (RFC 6455 section 5.2).
const HEADER_MAX: usize = 14;
/// FIN and the opcode of a binary message.
const FIN_BINARY: u8 = 0x82;
/// Payloads up to this length have it in the header's second byte.
const SHORT_MAX: usize = 125;
/// Bytes copied and masked at a time: small enough to be still in the first cache. A multiple of
/// four, so that the key begins anew with each block.
const BLOCK: usize = 4096;
/// Masking keys drawn at once.
const KEYS: usize = 16;

/// The message that is being collected, or the frame that is being written.
pub(crate) struct Outgoing {
    /// Room for the header, then the payload; empty when there is neither.
    buffer: Vec<u8>,
    /// What is left to write of a sealed frame; empty while bytes are collected.
    unwritten: Range<usize>,
    /// A client masks (RFC 6455 section 5.3).
    keys: Option<Keys>,
    key: [u8; 4],
}

impl Outgoing {
    pub(crate) fn of_server() -> Self {
        Self::new(None)
    }

    pub(crate) fn of_client() -> Self {
        Self::new(Some(Keys::default()))
    }

    fn new(keys: Option<Keys>) -> Self {
        Self {
            buffer: Vec::new(),
            unwritten: 0..0,
            keys,
            key: [0; 4],
        }
    }

    /// Whether a sealed frame has not left yet: nothing can be collected meanwhile.
    pub(crate) fn is_sealed(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Bytes that the message being collected still takes.
    pub(crate) fn room(&self) -> usize {
        if self.is_sealed() {
            return 0;
        }
        BINARY_SEND - self.buffer.len().saturating_sub(HEADER_MAX)
    }

    /// Whether payload was collected that is not sealed.
    pub(crate) fn has_payload(&self) -> bool {
        !self.is_sealed() && !self.buffer.is_empty()
    }

    /// Collects bytes: at most [`Self::room`], and at least one.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.is_empty() {
            self.key = self.keys.as_mut().map_or(Ok([0; 4]), Keys::next)?;
            self.buffer.extend_from_slice(&[0; HEADER_MAX]);
        }
        if self.keys.is_none() {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        let mut key = self.key;
        key.rotate_left((self.buffer.len() - HEADER_MAX) % 4);
        self.buffer.reserve(bytes.len());
        for block in bytes.chunks(BLOCK) {
            let from = self.buffer.len();
            self.buffer.extend_from_slice(block);
            mask(&mut self.buffer[from..], key);
        }
        Ok(())
    }

    /// Forgets what was collected; a sealed frame goes on, or the peer could not follow.
    pub(crate) fn forget(&mut self) {
        if !self.is_sealed() {
            self.buffer = Vec::new();
        }
    }

    /// Gives the buffer back if nothing is in it.
    pub(crate) fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
    }

    /// Makes a frame of what was collected.
    pub(crate) fn seal(&mut self) {
        let length = self.buffer.len() - HEADER_MAX;
        let mut header = [0; HEADER_MAX];
        header[0] = FIN_BINARY;
        let masked = if self.keys.is_some() { 0x80 } else { 0 };
        let mut end = match u16::try_from(length) {
            Ok(short) if length <= SHORT_MAX => {
                header[1] = masked | short.to_be_bytes()[1];
                2
            }
            Ok(middle) => {
                header[1] = masked | 126;
                header[2..4].copy_from_slice(&middle.to_be_bytes());
                4
            }
            Err(_) => {
                header[1] = masked | 127;
                header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
                10
            }
        };
        if self.keys.is_some() {
            header[end..end + 4].copy_from_slice(&self.key);
            end += 4;
        }
        let from = HEADER_MAX - end;
        self.buffer[from..HEADER_MAX].copy_from_slice(&header[..end]);
        self.unwritten = from..self.buffer.len();
    }

    /// Writes the rest of a sealed frame.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.is_sealed() {
            let rest = &self.buffer[self.unwritten.clone()];
            let count = ready!(Pin::new(&mut *io).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unwritten.start += count;
            if self.unwritten.is_empty() {
                self.buffer.clear();
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Applies a masking key from its first byte on.
fn mask(bytes: &mut [u8], key: [u8; 4]) {
    let wide = u32::from_ne_bytes(key);
    let mut words = bytes.chunks_exact_mut(4);
    for word in words.by_ref() {
        let value = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        word.copy_from_slice(&(value ^ wide).to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// Unpredictable masking keys, a few drawn at a time.
struct Keys {
    drawn: [u8; 4 * KEYS],
    left: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            drawn: [0; 4 * KEYS],
            left: 0,
        }
    }
}

impl Keys {
    fn next(&mut self) -> io::Result<[u8; 4]> {
        if self.left == 0 {
            SystemRandom::new()
                .fill(&mut self.drawn)
                .map_err(|_| io::Error::other("the operating system gives no randomness"))?;
            self.left = KEYS;
        }
        self.left -= 1;
        let at = 4 * self.left;
        let mut key = [0; 4];
        key.copy_from_slice(&self.drawn[at..at + 4]);
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use futures_util::StreamExt;
    use tokio_websockets::{ClientBuilder, ServerBuilder};

    use super::*;

    fn frame(mut outgoing: Outgoing, pieces: &[&[u8]]) -> Vec<u8> {
        for piece in pieces {
            outgoing.push(piece).unwrap();
        }
        outgoing.seal();
        let mut written = Vec::new();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(outgoing.poll_write(&mut written, cx).is_ready());
        assert!(!outgoing.is_sealed() && outgoing.buffer.is_empty());
        written
    }

    /// Every length at which the header changes, in pieces that put the key at every offset.
    fn payloads() -> Vec<Vec<Vec<u8>>> {
        let lengths = [1, 2, 5, 125, 126, 127, 4095, 4096, 4097, BINARY_SEND];
        let byte = |at: usize| u8::try_from(at * 7 % 251).unwrap();
        let pieces = |length: usize, size: usize| {
            let whole: Vec<u8> = (0..length).map(byte).collect();
            whole.chunks(size).map(<[u8]>::to_vec).collect()
        };
        let sizes = [1, 3, 5, 4097, BINARY_SEND];
        let all = lengths.iter().flat_map(|&l| sizes.map(|s| pieces(l, s)));
        all.collect()
    }

    #[tokio::test]
    async fn the_library_reads_our_frames() {
        for pieces in payloads() {
            let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let bytes = frame(Outgoing::of_client(), &slices);
            let io = tokio_test_io(bytes);
            let mut ws = ServerBuilder::new().serve(io);
            let message = ws.next().await.unwrap().unwrap();
            assert!(message.is_binary());
            assert_eq!(message.as_payload()[..], pieces.concat());
            let bytes = frame(Outgoing::of_server(), &slices);
            let mut ws = ClientBuilder::new().take_over(tokio_test_io(bytes));
            let message = ws.next().await.unwrap().unwrap();
            assert_eq!(message.as_payload()[..], pieces.concat());
        }
    }

    fn tokio_test_io(bytes: Vec<u8>) -> impl tokio::io::AsyncRead + AsyncWrite + Unpin {
        tokio::io::join(io::Cursor::new(bytes), tokio::io::sink())
    }

    #[test]
    fn keys_differ_from_message_to_message() {
        let mut keys = Keys::default();
        let drawn: std::collections::BTreeSet<_> =
            (0..3 * KEYS).map(|_| keys.next().unwrap()).collect();
        // Two equal ones among 48 of 2^32 would be a wonder; a stuck source gives one.
        assert!(drawn.len() > 2 * KEYS);
    }

    #[test]
    fn a_frame_half_written_is_never_forgotten() {
        let mut outgoing = Outgoing::of_server();
        outgoing.push(b"half").unwrap();
        outgoing.seal();
        outgoing.forget();
        outgoing.shrink();
        let mut written = Vec::new();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(outgoing.poll_write(&mut written, cx).is_ready());
        assert_eq!(written, b"\x82\x04half");
    }
}
