//! A WebSocket that holds no buffers while nothing comes.
//!
//! The library keeps a read buffer of 8 KiB, and after a long text one that fits it, for as long as
//! it lives. On a tunnel without traffic it is put away whenever the peer has said all of a
//! message, and made again from the next bytes. What is between messages has no state: only that
//! makes it possible.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_websockets::{ClientBuilder, Error, Limits, Message, ServerBuilder, WebSocketStream};

use crate::counted::{Counted, EARLY_MAX};

/// See the module.
pub(crate) struct Quiet<S> {
    state: State<S>,
    end: End,
    payload_max: usize,
}

enum State<S> {
    Awake(Box<WebSocketStream<Counted<S>>>),
    Asleep(Box<Counted<S>>),
    /// Within a transition only.
    Between,
}

/// Which end this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

/// Whether the library may be put away now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaySleep {
    Yes,
    No,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Quiet<S> {
    pub(crate) fn of_client(ws: WebSocketStream<Counted<S>>) -> Self {
        Self::new(ws, End::Client)
    }

    pub(crate) fn of_server(ws: WebSocketStream<Counted<S>>) -> Self {
        Self::new(ws, End::Server)
    }

    fn new(ws: WebSocketStream<Counted<S>>, end: End) -> Self {
        Self {
            state: State::Awake(Box::new(ws)),
            end,
            // Its owner sets the limit at once.
            payload_max: 0,
        }
    }

    /// Longest payload taken from now on.
    pub(crate) fn set_payload_max(&mut self, bytes: usize) {
        self.payload_max = bytes;
        if let State::Awake(ws) = &mut self.state {
            ws.limits_mut().set_max_payload_len(Some(bytes));
        }
    }

    pub(crate) fn io(&self) -> &Counted<S> {
        match &self.state {
            State::Awake(ws) => ws.get_ref(),
            State::Asleep(io) => io,
            State::Between => unreachable!("{BETWEEN}"),
        }
    }

    pub(crate) fn io_mut(&mut self) -> &mut Counted<S> {
        match &mut self.state {
            State::Awake(ws) => ws.get_mut(),
            State::Asleep(io) => io,
            State::Between => unreachable!("{BETWEEN}"),
        }
    }

    /// The next message.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        may_sleep: MaySleep,
    ) -> Poll<Option<Result<Message, Error>>> {
        if let State::Asleep(io) = &mut self.state {
            let mut first = [0; EARLY_MAX];
            let mut buf = ReadBuf::new(&mut first);
            if let Err(error) = ready!(Pin::new(&mut *io).poll_read(cx, &mut buf)) {
                return Poll::Ready(Some(Err(Error::Io(error))));
            }
            if buf.filled().is_empty() {
                return Poll::Ready(None);
            }
            io.put_back(buf.filled());
        }
        let message = self.awake().poll_next_unpin(cx);
        if message.is_pending() && may_sleep == MaySleep::Yes {
            self.sleep(cx);
        }
        message
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match &mut self.state {
            State::Awake(ws) => ws.poll_flush_unpin(cx),
            State::Asleep(io) => Pin::new(io).poll_flush(cx).map_err(Error::Io),
            State::Between => unreachable!("{BETWEEN}"),
        }
    }

    pub(crate) fn start_send(&mut self, message: Message) -> Result<(), Error> {
        self.awake().start_send_unpin(message)
    }

    fn awake(&mut self) -> &mut WebSocketStream<Counted<S>> {
        if let State::Asleep(_) = self.state
            && let State::Asleep(io) = mem::replace(&mut self.state, State::Between)
        {
            let limits = Limits::default().max_payload_len(Some(self.payload_max));
            self.state = State::Awake(Box::new(match self.end {
                End::Client => ClientBuilder::new().limits(limits).take_over(*io),
                End::Server => ServerBuilder::new().limits(limits).serve(*io),
            }));
        }
        match &mut self.state {
            State::Awake(ws) => ws,
            State::Asleep(_) | State::Between => unreachable!("{BETWEEN}"),
        }
    }

    /// All that has come was read to the end of a message, and all that was to be said has left.
    fn sleep(&mut self, cx: &mut Context<'_>) {
        let State::Awake(ws) = &mut self.state else {
            return;
        };
        let is_between = ws.get_ref().is_between_messages();
        if is_between
            && matches!(ws.poll_flush_unpin(cx), Poll::Ready(Ok(())))
            && let State::Awake(ws) = mem::replace(&mut self.state, State::Between)
        {
            self.state = State::Asleep(Box::new(ws.into_inner()));
        }
    }
}

const BETWEEN: &str = "a transition ends where it begins";

/// Where a byte stream of frames stands (RFC 6455 section 5.2).
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// How much of the empty line that ends the handshake was seen; none once it has ended.
    head_end: Option<usize>,
    header: [u8; HEADER_MAX],
    /// Bytes of the header that have come.
    have: usize,
    /// Bytes of the payload that are to come.
    payload: u64,
    /// A message has begun whose last frame has not.
    fragmented: bool,
}

/// Two bytes, a length of eight, a key of four.
const HEADER_MAX: usize = 14;
const EMPTY_LINE: &[u8] = b"\r\n\r\n";
const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
/// Opcodes from here on are of control frames, which may stand between fragments.
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

impl Frames {
    /// Frames begin behind the head of a request or an answer, perhaps in one read with it.
    pub(crate) fn behind_head() -> Self {
        Self {
            head_end: Some(0),
            ..Self::default()
        }
    }

    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if let Some(seen) = self.head_end {
                self.head_end = if bytes[0] == EMPTY_LINE[seen] {
                    Some(seen + 1).filter(|seen| *seen < EMPTY_LINE.len())
                } else {
                    Some(usize::from(bytes[0] == b'\r'))
                };
                bytes = &bytes[1..];
                continue;
            }
            if self.payload > 0 {
                let there = self.payload.min(bytes.len() as u64);
                self.payload -= there;
                bytes = &bytes[usize::try_from(there).expect("at most their length")..];
                continue;
            }
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            self.end_header();
        }
    }

    /// Whether the next byte begins a message.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.head_end.is_none() && self.have == 0 && self.payload == 0 && !self.fragmented
    }

    fn end_header(&mut self) {
        if self.have < 2 {
            return;
        }
        let [first, second, rest @ ..] = self.header;
        let mask = if second & MASKED == 0 { 0 } else { 4 };
        let (extra, length) = match second & LENGTH {
            126 => (2, u64::from(u16::from_be_bytes([rest[0], rest[1]]))),
            127 => {
                let [a, b, c, d, e, f, g, h, ..] = rest;
                (8, u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
            short => (0, u64::from(short)),
        };
        if self.have < 2 + extra + mask {
            return;
        }
        self.have = 0;
        self.payload = length;
        if first & OPCODE < CONTROL {
            self.fragmented = first & FIN == 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::outgoing::Outgoing;

    fn frame(opcode: u8, fin: u8, masked: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![fin | opcode];
        match length {
            0..=125 => bytes.push(masked | u8::try_from(length).unwrap()),
            126..=0xffff => {
                bytes.push(masked | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        if masked != 0 {
            bytes.extend([0xff; 4]);
        }
        bytes.extend(vec![0x82; length]);
        bytes
    }

    #[test]
    fn only_the_end_of_a_message_is_between_messages() {
        for masked in [0, MASKED] {
            for length in [0, 1, 125, 126, 65_535, 65_536] {
                let messages = [
                    vec![frame(2, FIN, masked, length)],
                    vec![
                        frame(1, 0, masked, length),
                        frame(9, FIN, masked, 3),
                        frame(0, FIN, masked, length),
                    ],
                ];
                for message in messages {
                    let whole = message.concat();
                    for step in [1, 2, 7, 4_096, whole.len()] {
                        let mut frames = Frames::default();
                        let mut passed = 0;
                        for piece in whole.chunks(step) {
                            frames.pass(piece);
                            passed += piece.len();
                            assert_eq!(frames.is_between_messages(), passed == whole.len());
                        }
                    }
                }
            }
        }
    }

    /// A masked text of `length` bytes.
    fn text(length: usize) -> Vec<u8> {
        let mut bytes = frame(1, FIN, MASKED, length);
        let from = bytes.len() - length;
        bytes[from..].fill(b'x' ^ 0xff);
        bytes
    }

    /// A frame that comes in one read with the head, as Autobahn's 6.4.2 may.
    #[test]
    fn frames_begin_behind_the_head() {
        let head = b"HTTP/1.1 101 Switching\r\nA: b\r\r\n\r\n";
        let begun = frame(1, 0, 0, 5);
        for step in [1, 3, 1_000] {
            let mut frames = Frames::behind_head();
            for piece in [&head[..], &begun].concat().chunks(step) {
                frames.pass(piece);
            }
            assert!(!frames.is_between_messages(), "{step}");
            frames.pass(&frame(0, FIN, 0, 5));
            assert!(frames.is_between_messages(), "{step}");
        }
        let mut frames = Frames::behind_head();
        frames.pass(&head[..head.len() - 1]);
        assert!(!frames.is_between_messages(), "the head goes on");
    }

    #[tokio::test]
    async fn messages_in_chops_are_read_as_they_were_sent() {
        for chop in [1, 63, 64, 65, 128, 1_000] {
            for length in [5, 60, 1_000, 70_000] {
                let (near, mut far) = tokio::io::duplex(256);
                let ws = ServerBuilder::new().serve(Counted::new(near, Outgoing::of_server()));
                let mut quiet = Quiet::of_server(ws);
                quiet.set_payload_max(1 << 20);
                let sent = [text(length), text(length + 1)].concat();
                let send = async {
                    for piece in sent.chunks(chop) {
                        far.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                };
                let receive = async {
                    for expected in [length, length + 1] {
                        let next = poll_fn(|cx| quiet.poll_next(cx, MaySleep::Yes)).await;
                        let message = next.expect("a message").expect("a good one");
                        assert_eq!(message.as_text().unwrap(), "x".repeat(expected));
                    }
                    poll_fn(|cx| {
                        assert!(quiet.poll_next(cx, MaySleep::Yes).is_pending());
                        Poll::Ready(())
                    })
                    .await;
                    assert!(matches!(quiet.state, State::Asleep(_)), "{chop} {length}");
                };
                tokio::join!(send, receive);
            }
        }
    }
}
