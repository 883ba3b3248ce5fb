//! The WebSocket of a tunnel: text on one side, a byte stream of binary payloads on the other.
//!
//! Two owners share a [`Socket`] within one task: the driver, which handles text, pings and the
//! close, and [`crate::link::WsStream`], through which TLS and HTTP/2 read and write. The mutex is
//! therefore never contended.
//!
//! **Order.** At most one received text waits; until its owner has taken it, nothing behind it is
//! read, so a binary message is judged by the rule that holds after that text. Outgoing text and
//! pings overtake collected binary and wait behind at most one binary message.

use std::collections::VecDeque;
use std::mem;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_websockets::{CloseCode, Message, proto::ProtocolError};

use crate::epoch::Markers;
use crate::event::{CloseBy, Closed, Violation};
use crate::keep_alive::PingMeter;
use crate::limits::{BINARY_MAX, TEXTS_WAITING_MAX, TURN_BYTES};
use crate::outgoing::Outgoing;
use crate::quiet::{MaySleep, Quiet};

/// Whether binary messages are legal now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryRule {
    /// None is.
    Refused,
    /// Inner TLS handshake: so many bytes per direction are left.
    Handshake { receive: usize, send: usize },
    /// All are.
    Open,
    /// HTTP/2 has ended in good order: what the peer still says about it (its own GOAWAY, window
    /// updates) is legal and means nothing.
    Ignored,
}

/// How reading ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Violation(Violation),
    Closed(Closed),
}

/// What leaves next.
enum Next {
    OfLibrary(Message),
    /// The binary message that was collected.
    Binary,
}

/// See the module.
pub(crate) struct Socket<S> {
    ws: Quiet<S>,
    /// Whether nothing is expected but a text now and then.
    may_sleep: MaySleep,
    rule: BinaryRule,
    text_limit: usize,
    pings: PingMeter,
    end: Option<End>,
    incoming: Bytes,
    /// Bytes that were ever taken of binary messages.
    taken: u64,
    /// Bytes of binary messages that this turn still reads.
    turn_left: usize,
    text: Option<String>,
    outgoing_texts: VecDeque<String>,
    ping_due: bool,
    /// Somebody waits for a pong; set back when one has come.
    pong_wanted: bool,
    pong_seen: bool,
    markers: Markers,
    close_due: Option<(u16, String)>,
    closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(crate) fn new(ws: Quiet<S>, text_limit: usize) -> Self {
        let mut socket = Self {
            ws,
            may_sleep: MaySleep::No,
            rule: BinaryRule::Refused,
            text_limit,
            pings: PingMeter::default(),
            end: None,
            incoming: Bytes::new(),
            taken: 0,
            turn_left: TURN_BYTES,
            text: None,
            outgoing_texts: VecDeque::new(),
            ping_due: false,
            pong_wanted: false,
            pong_seen: false,
            markers: Markers::default(),
            close_due: None,
            closing: false,
        };
        socket.set_text_limit(text_limit);
        socket
    }

    /// The library knows one limit for both kinds; the smaller one is checked on arrival.
    pub(crate) fn set_text_limit(&mut self, limit: usize) {
        self.text_limit = limit;
        self.ws.set_payload_max(limit.max(BINARY_MAX));
    }

    pub(crate) fn let_sleep(&mut self, may_sleep: MaySleep) {
        self.may_sleep = may_sleep;
    }

    pub(crate) fn set_rule(&mut self, rule: BinaryRule) {
        self.rule = rule;
    }

    /// The task has the thread anew.
    pub(crate) fn begin_turn(&mut self) {
        self.turn_left = TURN_BYTES;
    }

    /// Bytes that ever came from the peer.
    pub(crate) fn received(&self) -> u64 {
        self.ws.io().received()
    }

    pub(crate) fn take_text(&mut self) -> Option<String> {
        self.text.take()
    }

    pub(crate) fn has_binary(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// Bytes that were ever taken of binary messages.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(crate) fn fail(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    pub(crate) fn push_text(&mut self, text: String) {
        self.outgoing_texts.push_back(text);
    }

    /// Asks for a ping; false when the previous one has not even left, so the peer reads nothing.
    pub(crate) fn push_ping(&mut self) -> bool {
        self.outgoing().shrink();
        !mem::replace(&mut self.ping_due, true)
    }

    fn outgoing(&mut self) -> &mut Outgoing {
        self.ws.io_mut().outgoing()
    }

    /// Asks for a ping whose pong is reported by [`Self::take_pong`].
    pub(crate) fn push_asked_ping(&mut self) {
        self.ping_due = true;
        self.pong_wanted = true;
    }

    pub(crate) fn take_pong(&mut self) -> bool {
        mem::take(&mut self.pong_seen)
    }

    pub(crate) fn markers(&mut self) -> &mut Markers {
        &mut self.markers
    }

    /// The close frame leaves after the queued texts; collected binary is dropped.
    pub(crate) fn push_close(&mut self, code: u16, reason: &str) {
        if self.closing || self.close_due.is_some() {
            return;
        }
        self.outgoing().forget();
        let cut = reason.floor_char_boundary(CLOSE_REASON_MAX);
        self.close_due = Some((code, reason[..cut].to_owned()));
    }

    /// Reads until a binary payload waits, a text waits, or the socket ended: `Ready` for each.
    /// Whoever has read much comes again when others had their turn.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.incoming.is_empty()
            && self.text.is_none()
            && self.end.is_none()
            && !self.markers.waits()
        {
            if self.outgoing_texts.len() >= TEXTS_WAITING_MAX {
                return Poll::Pending;
            }
            if self.turn_left == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let may_sleep = match self.closing || self.close_due.is_some() {
                true => MaySleep::No,
                false => self.may_sleep,
            };
            let message = ready!(self.ws.poll_next(cx, may_sleep));
            self.take_message(message);
        }
        Poll::Ready(())
    }

    /// Reads and forgets until the peer has answered our close frame or is gone.
    pub(crate) fn poll_close_answer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(Ok(_)) = ready!(self.ws.poll_next(cx, MaySleep::No)) {}
        Poll::Ready(())
    }

    /// Copies received bytes into `buf`.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.incoming.is_empty() {
            ready!(self.poll_fill(cx));
            if self.incoming.is_empty() {
                // A text must be taken first (its owner polls again), or the stream is over.
                return if self.end.is_some() {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            }
        }
        let count = self.incoming.len().min(buf.remaining());
        buf.put_slice(&self.incoming.split_to(count));
        self.taken += count as u64;
        Poll::Ready(Ok(()))
    }

    /// Collects bytes for the next binary message; a full one is sent at once.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.end.is_some() || self.closing || self.close_due.is_some() {
            return Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()));
        }
        if self.outgoing().room() == 0 {
            ready!(self.poll_send(cx))?;
        }
        let count = buf.len().min(self.outgoing().room());
        if let BinaryRule::Handshake { send, .. } = &mut self.rule {
            *send = send
                .checked_sub(count)
                .ok_or(std::io::ErrorKind::QuotaExceeded)?;
        }
        if count > 0 {
            self.outgoing().push(&buf[..count])?;
        }
        Poll::Ready(Ok(count))
    }

    /// Sends all that waits: pings, texts, collected binary, the close frame, in this order.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            match ready!(self.ws.poll_flush(cx)) {
                Ok(()) => {}
                Err(error) => return Poll::Ready(Err(self.lose(&error))),
            }
            let Some(message) = self.next_message() else {
                return Poll::Ready(Ok(()));
            };
            let Next::OfLibrary(message) = message else {
                self.outgoing().seal();
                continue;
            };
            if let Err(error) = self.ws.start_send(message) {
                return Poll::Ready(Err(self.lose(&error)));
            }
        }
    }

    fn next_message(&mut self) -> Option<Next> {
        if self.closing {
            return None;
        }
        if mem::take(&mut self.ping_due) {
            return Some(Next::OfLibrary(Message::ping(Bytes::new())));
        }
        if let Some(text) = self.outgoing_texts.pop_front() {
            return Some(Next::OfLibrary(Message::text(text)));
        }
        // Once an end is known the library may have sent a close frame: only it may follow up.
        if self.end.is_none() && self.outgoing().has_payload() {
            return Some(Next::Binary);
        }
        if self.markers.take_due() && self.end.is_none() {
            return Some(Next::OfLibrary(Message::binary(Bytes::new())));
        }
        let (code, reason) = self.close_due.take()?;
        self.closing = true;
        let code = CloseCode::try_from(code).unwrap_or(CloseCode::INTERNAL_SERVER_ERROR);
        Some(Next::OfLibrary(Message::close(Some(code), &reason)))
    }

    fn lose(&mut self, error: &tokio_websockets::Error) -> std::io::Error {
        self.fail(End::Closed(Closed::lost(error.to_string())));
        std::io::ErrorKind::BrokenPipe.into()
    }

    fn take_message(&mut self, message: Option<Result<Message, tokio_websockets::Error>>) {
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return self.fail(End::Closed(closed_by(&error))),
            None => return self.fail(End::Closed(Closed::lost("the socket ended"))),
        };
        if message.is_binary() {
            self.take_binary(message.into_payload().into());
        } else if message.is_text() {
            self.take_text_message(message.into_payload().into());
        } else if message.is_ping() && self.pings.is_flood() {
            self.fail(End::Violation(Violation::PingFlood));
        } else if message.is_pong() {
            self.pong_seen |= mem::take(&mut self.pong_wanted);
        } else if let Some((code, reason)) = message.as_close() {
            let code = Some(u16::from(code)).filter(|code| *code != NO_STATUS);
            let closed = Closed {
                by: CloseBy::Peer,
                code,
                reason: reason.to_owned(),
            };
            self.fail(End::Closed(closed));
        }
    }

    fn take_binary(&mut self, payload: Bytes) {
        if payload.is_empty() {
            if !self.markers.arrives() {
                self.refuse(1002, "empty binary message");
            }
            return;
        }
        if payload.len() > BINARY_MAX {
            return self.refuse(1009, "binary message too long");
        }
        match &mut self.rule {
            BinaryRule::Open => {}
            BinaryRule::Ignored => return,
            BinaryRule::Handshake { receive, .. } if *receive >= payload.len() => {
                *receive -= payload.len();
            }
            BinaryRule::Refused | BinaryRule::Handshake { .. } => {
                return self.fail(End::Violation(Violation::BinaryNotAllowed));
            }
        }
        self.turn_left = self.turn_left.saturating_sub(payload.len());
        self.incoming = payload;
    }

    fn take_text_message(&mut self, payload: Bytes) {
        if payload.len() > self.text_limit {
            return self.refuse(1009, "text too long");
        }
        match String::from_utf8(payload.into()) {
            Ok(text) => self.text = Some(text),
            Err(_) => self.refuse(1007, "invalid UTF-8"),
        }
    }

    fn refuse(&mut self, code: u16, reason: &str) {
        self.push_close(code, reason);
        self.fail(End::Closed(Closed::by_us(code, reason)));
    }
}

/// Bytes of a close reason: a control frame holds 125, two are the code.
const CLOSE_REASON_MAX: usize = 123;
/// The library's word for a close frame without a code.
const NO_STATUS: u16 = 1005;

/// The library has queued the close frame for what the peer did wrong already.
fn closed_by(error: &tokio_websockets::Error) -> Closed {
    use tokio_websockets::Error::{PayloadTooLong, Protocol};
    let code = if let Protocol(ProtocolError::InvalidUtf8) = error {
        1007
    } else if let Protocol(_) = error {
        1002
    } else if let PayloadTooLong { .. } = error {
        1009
    } else {
        return Closed::lost(error.to_string());
    };
    Closed::by_us(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use tokio_websockets::ClientBuilder;

    use super::*;
    use crate::counted::Counted;
    use crate::limits::BINARY_SEND;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many full messages of a server.
    fn messages(count: usize) -> Vec<u8> {
        let mut outgoing = Outgoing::of_server();
        let mut bytes = Vec::new();
        for _ in 0..count {
            outgoing.push(&[7; BINARY_SEND]).expect("no key is drawn");
            outgoing.seal();
            let written = outgoing.poll_write(&mut bytes, &mut Context::from_waker(Waker::noop()));
            assert!(written.is_ready());
        }
        bytes
    }

    #[tokio::test]
    async fn who_has_read_much_lets_others_have_their_turn() {
        let in_a_turn = TURN_BYTES.div_ceil(BINARY_SEND);
        let bytes = messages(2 * in_a_turn);
        let io = tokio::io::join(std::io::Cursor::new(bytes), tokio::io::sink());
        let ws = ClientBuilder::new().take_over(Counted::new(io, Outgoing::of_client()));
        let mut socket = Socket::new(Quiet::of_client(ws), BINARY_MAX);
        socket.set_rule(BinaryRule::Open);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        let mut room = vec![0; BINARY_SEND];
        for turn in 1..=2 {
            let mut read = 0;
            loop {
                let mut buf = ReadBuf::new(&mut room);
                let pending = socket.poll_read(cx, &mut buf).is_pending();
                if pending || buf.filled().is_empty() {
                    break;
                }
                read += buf.filled().len();
            }
            assert_eq!(read, in_a_turn * BINARY_SEND, "{turn}");
            assert_eq!(woken.0.load(Ordering::Relaxed), turn, "it comes again");
            socket.begin_turn();
        }
    }
}
