//! The control plane's end: WebSocket server, inner TLS client, HTTP/2 client.
//!
//! Order within a turn: commands (uploads, the start of h2), h2, input, timers, output.

mod rest;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use ee_protocol::control_mac::Sender;
use h2::client::{Connection, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::ServerBuilder;

use crate::counted::Counted;
use crate::epoch::{Ending, Home, Lent, Rest, lend};
use crate::event::{Closed, InnerTls, TunnelOptions, Violation};
use crate::h2_settings::{self, Window};
use crate::handle::{Session, Shared, TunnelHandle};
use crate::inner_tls::{HANDSHAKE_RULE, Handshake};
use crate::jobs::Jobs;
use crate::keys::InnerTlsClient;
use crate::limits::STREAM_WINDOW;
use crate::link::Link;
use crate::meter::Meter;
use crate::outgoing::Outgoing;
use crate::quiet::{MaySleep, Quiet};
use crate::sealing::Sealing;
use crate::socket::BinaryRule;
use crate::wire::{Fate, Wire};

/// What happened on a tunnel.
#[derive(Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// A control message; its MAC is checked where one is due.
    Text(String),
    /// The inner TLS handshake ended.
    InnerTls(InnerTls),
    /// The peer answered [`ControlTunnel::ping`].
    Pong,
    /// No request is in flight and none will come: after `drain` or the agent's GOAWAY.
    Drained,
    /// The peer broke the rules. The owner may send a last text; the tunnel then closes.
    Violation(Violation),
    /// The end; no event follows.
    Closed(Closed),
}

type Opened<S> = Result<(SendRequest<Bytes>, Connection<Lent<S>, Bytes>), h2::Error>;

/// What runs over binary messages.
enum Mux<S: AsyncRead + AsyncWrite + Unpin> {
    /// Nothing is agreed.
    Off,
    Shaking(Handshake<S>),
    /// Ready for h2, which the first request starts.
    Ready(Link<S>),
    Opening(Pin<Box<dyn Future<Output = Opened<S>> + Send>>, Home<S>),
    Live(Box<Connection<Lent<S>, Bytes>>, Home<S>),
    /// h2 has ended, and its epoch ends.
    Ending(Box<Ending<S>>),
}

/// One tunnel at the control plane. Call [`Self::next`] in a loop: it drives everything.
pub struct ControlTunnel<S: AsyncRead + AsyncWrite + Unpin> {
    wire: Wire<S>,
    mux: Mux<S>,
    sealing: Sealing,
    shared: Arc<Shared>,
    uploads: Jobs,
    events: VecDeque<ControlEvent>,
    draining: bool,
    /// Receive window that our streams have.
    window: Window,
    /// Set where the agent knows how epochs end.
    rest: Option<Rest>,
    rest_after: Duration,
    /// Whether this turn has let others go first.
    gathered: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> ControlTunnel<S> {
    /// Takes over a connection after its 101.
    #[must_use]
    pub fn accept(io: S, options: &TunnelOptions) -> Self {
        let ws = ServerBuilder::new().serve(Counted::new(io, Outgoing::of_server()));
        Self {
            wire: Wire::new(Quiet::of_server(ws), options),
            mux: Mux::Off,
            sealing: Sealing::default(),
            shared: Arc::new(Shared::new(options.buffered.clone())),
            uploads: Jobs::default(),
            events: VecDeque::new(),
            draining: false,
            window: Window::new(STREAM_WINDOW),
            rest: None,
            rest_after: options.rest_after,
            gathered: false,
        }
    }

    /// The way in for requests.
    #[must_use]
    pub fn handle(&self) -> TunnelHandle {
        TunnelHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Queues a control message.
    pub fn send_text(&mut self, text: String) {
        let text = self.sealing.seal(text);
        self.wire.push_text(text);
    }

    /// Longest text taken from now on.
    pub fn set_text_limit(&mut self, limit: usize) {
        self.wire.set_text_limit(limit);
    }

    /// Pings the peer now; `Pong` follows if it lives.
    pub fn ping(&mut self) {
        self.wire.ping();
    }

    /// Starts the inner TLS handshake; ClientHello follows the texts queued so far.
    pub fn start_inner_tls(&mut self, tls: &InnerTlsClient) {
        if matches!(self.mux, Mux::Off) {
            self.wire.set_rule(HANDSHAKE_RULE);
            self.mux = Mux::Shaking(Handshake::client(tls, self.wire.stream()));
        }
    }

    /// HTTP/2 will run on bare binary messages (`"inner_tls":"off"`).
    pub fn offer_plain(&mut self) {
        if matches!(self.mux, Mux::Off) {
            self.mux = Mux::Ready(Link::Plain(self.wire.stream()));
        }
    }

    /// Both ends know how epochs end: HTTP/2 rests while nobody asks for anything.
    pub fn use_epochs(&mut self) {
        self.rest = Some(Rest::new(self.rest_after));
        self.wire.agree_on_epochs();
    }

    /// The agent is attested: traffic may flow, and on a tunnel with inner TLS every text is
    /// sealed from the next one on. Call it before sending `status ok attested`.
    pub fn attested(&mut self, credits: u32) {
        self.sealing.require();
        self.shared.open(credits);
    }

    /// How many requests the agent serves at once.
    pub fn set_credits(&mut self, credits: u32) {
        self.shared.set_credits(credits);
    }

    /// Takes no new request; `Drained` follows when those in flight are answered.
    pub fn drain(&mut self) {
        self.draining = true;
        self.shared.set_session(Session::Closed);
    }

    /// Sends what is queued and a close frame; `Closed` follows within two seconds. Requests in
    /// flight fail.
    pub fn close(&mut self, code: u16, reason: &str) {
        self.stop_traffic();
        self.wire.close(code, reason);
    }

    /// The next event. Cancel safe.
    pub async fn next(&mut self) -> ControlEvent {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<ControlEvent> {
        self.shared.inboxes.driver().register(cx.waker());
        if self.events.is_empty() && self.gathers(cx) {
            return Poll::Pending;
        }
        self.wire.begin_turn();
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            let again = self.turn(cx);
            if self.events.is_empty() && !again {
                return Poll::Pending;
            }
        }
    }

    /// Clients become ready together, and each wakes us: a turn among many requests waits until
    /// all that are ready have asked, so that they leave in one message.
    fn gathers(&mut self, cx: &mut Context<'_>) -> bool {
        let waits = !self.gathered && self.shared.inflight() > 1;
        self.gathered = waits;
        if waits {
            let _woken_later = pin!(tokio::task::yield_now()).poll(cx);
        }
        waits
    }

    /// Polls each part once; true when another turn would find work.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let backlog = self.wire.backlog();
        for upload in self.shared.take_uploads() {
            self.uploads.push(upload);
        }
        self.uploads.poll(cx);
        self.shared.inboxes.release_due();
        self.poll_mux(cx);
        if let Some(text) = self.wire.poll_text(cx, self.may_sleep()) {
            self.take_text(text);
        }
        if self.wire.take_pong() {
            self.events.push_back(ControlEvent::Pong);
        }
        self.wire.sweep(&self.shared.inboxes);
        match self.wire.poll_fate(cx) {
            Poll::Ready(Fate::Violation(violation)) => {
                self.stop_traffic();
                self.events.push_back(ControlEvent::Violation(violation));
            }
            Poll::Ready(Fate::Closed(closed)) => {
                self.stop_traffic();
                self.events.push_back(ControlEvent::Closed(closed));
            }
            Poll::Pending => {}
        }
        self.notice_drained();
        self.notice_marker();
        self.rest_if_due();
        (self.wire.goes_on(&backlog) && self.reads_binary()) || self.wire.has_marker()
    }

    /// Without HTTP/2 nothing comes but a text now and then.
    fn may_sleep(&self) -> MaySleep {
        match self.mux {
            Mux::Off | Mux::Ready(_) => MaySleep::Yes,
            Mux::Shaking(_) | Mux::Opening(..) | Mux::Live(..) | Mux::Ending(_) => MaySleep::No,
        }
    }

    fn reads_binary(&self) -> bool {
        matches!(self.mux, Mux::Shaking(_) | Mux::Live(..) | Mux::Ending(_))
    }

    fn take_text(&mut self, text: String) {
        match self.sealing.open_if_required(text) {
            Ok(text) => self.events.push_back(ControlEvent::Text(text)),
            Err(_) => self.wire.violate(Violation::ControlMacInvalid),
        }
    }

    fn poll_mux(&mut self, cx: &mut Context<'_>) {
        match &mut self.mux {
            Mux::Off => {}
            Mux::Shaking(_) => self.poll_handshake(cx),
            Mux::Ready(_) if self.shared.is_wanted() => {
                self.open_h2();
                self.poll_mux(cx);
            }
            Mux::Ready(_) => {}
            Mux::Opening(opening, _) => {
                if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
                    self.h2_opened(opened);
                    self.poll_mux(cx);
                }
            }
            Mux::Live(connection, _) => {
                let inboxes = &self.shared.inboxes;
                let (most, backlogs) = (inboxes.stream_window(), inboxes.backlogs());
                let wanted = self.window.among(backlogs, most);
                self.window
                    .follow(wanted, |bytes| connection.set_initial_window_size(bytes));
                if let Poll::Ready(result) = Pin::new(connection).poll(cx) {
                    self.h2_ended(&result);
                    self.poll_mux(cx);
                }
            }
            Mux::Ending(ending) => {
                if let Poll::Ready(result) = ending.poll(cx) {
                    self.epoch_ended(result);
                    self.poll_mux(cx);
                }
            }
        }
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) {
        let Mux::Shaking(handshake) = &mut self.mux else {
            return;
        };
        let Poll::Ready(result) = handshake.poll(cx) else {
            return;
        };
        // Until h2 starts, the agent has nothing to say in binary.
        self.wire.set_rule(BinaryRule::Refused);
        self.mux = Mux::Off;
        if !self.wire.is_open() {
            return;
        }
        let outcome = match result {
            Ok(established) => {
                self.sealing.arm(&established.mac_key, Sender::Control);
                self.mux = Mux::Ready(Link::Tls(established.stream));
                InnerTls::Established(established.info)
            }
            Err(error) => InnerTls::Failed(error),
        };
        self.events.push_back(ControlEvent::InnerTls(outcome));
    }

    fn open_h2(&mut self) {
        if let Mux::Ready(link) = std::mem::replace(&mut self.mux, Mux::Off) {
            self.wire.set_rule(BinaryRule::Open);
            let window = self.shared.inboxes.stream_window();
            self.window = Window::new(window);
            let builder = h2_settings::client(self.shared.credits(), window);
            let (lent, home) = lend(link, Some(Meter::of_agent()));
            let opening = Box::pin(async move { builder.handshake(lent).await });
            self.mux = Mux::Opening(opening, home);
        }
    }

    fn h2_opened(&mut self, opened: Opened<S>) {
        let Mux::Opening(_, home) = std::mem::replace(&mut self.mux, Mux::Off) else {
            return;
        };
        match opened {
            Ok((sender, connection)) => {
                self.mux = Mux::Live(Box::new(connection), home);
                let draining = self.draining;
                let session = if draining {
                    Session::Closed
                } else {
                    Session::Live(sender)
                };
                self.shared.set_session(session);
            }
            Err(error) => self.h2_ended(&Err(error)),
        }
    }

    /// Without an error: it goes to rest, or the agent said GOAWAY and its last stream is done.
    fn h2_ended(&mut self, result: &Result<(), h2::Error>) {
        let ended = std::mem::replace(&mut self.mux, Mux::Off);
        let flooded = matches!(&ended, Mux::Live(_, home) if home.was_flooded());
        if let (Mux::Live(connection, home), Ok(())) = (ended, result) {
            drop(connection);
            if let (true, Some(link)) = (self.shared.is_idle(), home.take()) {
                let ending = Ending::new(link, self.wire.socket());
                self.mux = Mux::Ending(Box::new(ending));
                return;
            }
        }
        self.wire.set_rule(BinaryRule::Ignored);
        self.draining = true;
        self.shared.set_session(Session::Closed);
        if let Err(error) = result {
            tracing::debug!(%error, "the tunnel's HTTP/2 session failed");
            self.wire.violate(match flooded {
                true => Violation::FrameFlood,
                false => Violation::MuxFailed,
            });
        }
    }

    fn notice_drained(&mut self) {
        if self.draining && self.shared.inflight() == 0 && self.wire.is_open() {
            self.draining = false;
            self.events.push_back(ControlEvent::Drained);
        }
    }

    /// Requests in flight fail at once: dropping h2 ends every stream.
    fn stop_traffic(&mut self) {
        self.shared.set_session(Session::Closed);
        self.uploads.clear();
        drop(self.shared.take_uploads());
        self.mux = Mux::Off;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for ControlTunnel<S> {
    fn drop(&mut self) {
        self.shared.set_session(Session::Closed);
    }
}
