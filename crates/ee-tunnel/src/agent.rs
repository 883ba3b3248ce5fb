//! The agent's end: WebSocket client, inner TLS server, HTTP/2 server.
//!
//! Order within a turn: served requests, h2, input, timers, output.

mod rest;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use ee_protocol::control_mac::Sender;
use h2::RecvStream;
use h2::server::{Connection, Handshake as Preface, SendResponse};
use http::{Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::ClientBuilder;

use crate::body::IncomingBody;
use crate::counted::Counted;
use crate::epoch::{Ending, Home, Lent, lend};
use crate::error::ConnectError;
use crate::event::{Closed, InnerTls, TunnelOptions, Violation};
use crate::grain::Grain;
use crate::h2_settings::{self, Window};
use crate::inbox::Inboxes;
use crate::inner_tls::{HANDSHAKE_RULE, Handshake};
use crate::interim::{self, InterimSender};
use crate::jobs::{Job, Jobs};
use crate::keys::InnerTlsServer;
use crate::limits::STREAM_WINDOW;
use crate::link::Link;
use crate::outgoing::Outgoing;
use crate::quiet::{MaySleep, Quiet};
use crate::responder::Responder;
use crate::sealing::Sealing;
use crate::socket::BinaryRule;
use crate::wire::{Fate, Wire};

/// What happened on a tunnel.
pub enum AgentEvent {
    /// A control message.
    Text {
        /// The message.
        text: String,
        /// Whether its MAC was checked. On a tunnel with inner TLS `status ok attested` counts
        /// only with one; after it, texts without do not arrive at all.
        authenticated: bool,
    },
    /// The inner TLS handshake ended.
    InnerTls(InnerTls),
    /// A request to serve.
    Request(Request<IncomingBody>, Responder),
    /// The peer broke the rules. The owner may send a last text; the tunnel then closes.
    Violation(Violation),
    /// The end; no event follows.
    Closed(Closed),
}

/// What runs over binary messages.
enum Mux<S: AsyncRead + AsyncWrite + Unpin> {
    /// Nothing is agreed.
    Off,
    Shaking(Handshake<S>),
    /// Ready for h2, which the control plane's first bytes start.
    Ready(Link<S>),
    Opening(Box<Preface<Lent<S>, Bytes>>, Home<S>),
    Live(Box<Connection<Lent<S>, Bytes>>, Home<S>),
    /// h2 has ended, and its epoch ends.
    Ending(Box<Ending<S>>),
}

/// One tunnel at the agent. Call [`Self::next`] in a loop: it drives everything.
pub struct AgentTunnel<S: AsyncRead + AsyncWrite + Unpin> {
    wire: Wire<S>,
    mux: Mux<S>,
    sealing: Sealing,
    inboxes: Inboxes,
    served: Jobs,
    /// Of the answers.
    grain: Grain,
    events: VecDeque<AgentEvent>,
    attested: bool,
    draining: bool,
    epochs: bool,
    /// Receive window that our streams have.
    window: Window,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AgentTunnel<S> {
    /// Asks the control plane at the other end of `io` for a tunnel.
    pub async fn connect(io: S, uri: &Uri, options: &TunnelOptions) -> Result<Self, ConnectError> {
        let builder = ClientBuilder::from_uri(uri.clone());
        let (ws, _response) = builder
            .connect_on(Counted::with_handshake(io, Outgoing::of_client()))
            .await
            .map_err(ConnectError::from)?;
        Ok(Self {
            wire: Wire::new(Quiet::of_client(ws), options),
            mux: Mux::Off,
            sealing: Sealing::default(),
            inboxes: Inboxes::new(options.buffered.clone()),
            served: Jobs::default(),
            grain: Grain::default(),
            events: VecDeque::new(),
            attested: false,
            draining: false,
            epochs: false,
            window: Window::new(STREAM_WINDOW),
        })
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

    /// The control plane will send a ClientHello (`"inner_tls":"required"`). Call it before the
    /// next event is asked for.
    pub fn expect_inner_tls(&mut self, tls: &InnerTlsServer) {
        if matches!(self.mux, Mux::Off) {
            self.wire.set_rule(HANDSHAKE_RULE);
            self.mux = Mux::Shaking(Handshake::server(tls, self.wire.stream()));
        }
    }

    /// HTTP/2 will run on bare binary messages (`"inner_tls":"off"`).
    pub fn expect_plain(&mut self) {
        if matches!(self.mux, Mux::Off) {
            self.mux = Mux::Ready(Link::Plain(self.wire.stream()));
        }
    }

    /// Both ends know how epochs end: HTTP/2 rests when the control plane says so.
    pub fn use_epochs(&mut self) {
        self.epochs = true;
        self.wire.agree_on_epochs();
    }

    /// `status ok attested` has come: requests may.
    pub fn attested(&mut self) {
        self.attested = true;
        if matches!(self.mux, Mux::Ready(_)) {
            self.wire.set_rule(BinaryRule::Open);
        }
    }

    /// Lets this tunnel poll a future, typically `responder.serve(..)`; it ends with the tunnel.
    pub fn serve(&mut self, job: Job) {
        self.served.push(job);
    }

    /// Tells the control plane to send no more requests; those that are there go on.
    pub fn drain(&mut self) {
        self.draining = true;
        if let Mux::Live(connection, _) = &mut self.mux {
            connection.graceful_shutdown();
        }
    }

    /// Requests given to [`Self::serve`] that are not done.
    #[must_use]
    pub fn inflight(&self) -> usize {
        self.served.len()
    }

    /// Sends what is queued and a close frame; `Closed` follows within two seconds.
    pub fn close(&mut self, code: u16, reason: &str) {
        self.stop_traffic();
        self.wire.close(code, reason);
    }

    /// The next event. Cancel safe.
    pub async fn next(&mut self) -> AgentEvent {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<AgentEvent> {
        self.inboxes.driver().register(cx.waker());
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

    /// Polls each part once; true when another turn would find work.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let backlog = self.wire.backlog();
        self.served.poll(cx);
        self.inboxes.release_due();
        self.poll_mux(cx);
        if let Some(text) = self.wire.poll_text(cx, self.may_sleep()) {
            self.take_text(text);
        }
        self.wire.sweep(&self.inboxes);
        match self.wire.poll_fate(cx) {
            Poll::Ready(Fate::Violation(violation)) => {
                self.stop_traffic();
                self.events.push_back(AgentEvent::Violation(violation));
            }
            Poll::Ready(Fate::Closed(closed)) => {
                self.stop_traffic();
                self.events.push_back(AgentEvent::Closed(closed));
            }
            Poll::Pending => {}
        }
        self.notice_marker(cx);
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
        match self.mux {
            Mux::Off => false,
            Mux::Ready(_) => self.attested,
            Mux::Shaking(_) | Mux::Opening(..) | Mux::Live(..) | Mux::Ending(_) => true,
        }
    }

    fn take_text(&mut self, text: String) {
        match self.sealing.open(text) {
            Ok((text, authenticated)) => {
                self.events.push_back(AgentEvent::Text {
                    text,
                    authenticated,
                });
            }
            Err(_) => self.wire.violate(Violation::ControlMacInvalid),
        }
    }

    fn poll_mux(&mut self, cx: &mut Context<'_>) {
        match &mut self.mux {
            Mux::Off => {}
            Mux::Shaking(_) => self.poll_handshake(cx),
            Mux::Ready(_) if self.attested && self.wire.has_binary() => {
                self.open_h2();
                self.poll_mux(cx);
            }
            Mux::Ready(_) => {}
            Mux::Opening(preface, _) => match Pin::new(preface).poll(cx) {
                Poll::Ready(Ok(connection)) => {
                    if let Mux::Opening(_, home) = std::mem::replace(&mut self.mux, Mux::Off) {
                        self.mux = Mux::Live(Box::new(connection), home);
                    }
                    if self.draining {
                        self.drain();
                    }
                    self.poll_mux(cx);
                }
                Poll::Ready(Err(error)) => self.h2_ended(Some(&error)),
                Poll::Pending => {}
            },
            Mux::Live(..) => self.poll_accept(cx),
            Mux::Ending(ending) => {
                if let Poll::Ready(result) = ending.poll(cx) {
                    self.epoch_ended(result);
                    self.poll_mux(cx);
                }
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) {
        let Mux::Live(connection, _) = &mut self.mux else {
            return;
        };
        let (most, backlogs) = (self.inboxes.stream_window(), self.inboxes.backlogs());
        let wanted = self.window.among(backlogs, most);
        self.window
            .follow(wanted, |bytes| connection.set_initial_window_size(bytes));
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let event = incoming(request, respond, &self.inboxes, &self.grain);
                    self.events.push_back(event);
                }
                Poll::Ready(Some(Err(error))) => return self.h2_ended(Some(&error)),
                Poll::Ready(None) => return self.h2_ended(None),
                Poll::Pending => return,
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
        self.wire.set_rule(BinaryRule::Refused);
        self.mux = Mux::Off;
        if !self.wire.is_open() {
            return;
        }
        let outcome = match result {
            Ok(established) => {
                self.sealing.arm(&established.mac_key, Sender::Agent);
                self.mux = Mux::Ready(Link::Tls(established.stream));
                InnerTls::Established(established.info)
            }
            Err(error) => InnerTls::Failed(error),
        };
        self.events.push_back(AgentEvent::InnerTls(outcome));
    }

    fn open_h2(&mut self) {
        if let Mux::Ready(link) = std::mem::replace(&mut self.mux, Mux::Off) {
            let (lent, home) = lend(link, None);
            let window = self.inboxes.stream_window();
            self.window = Window::new(window);
            let preface = h2_settings::server(window).handshake(lent);
            self.mux = Mux::Opening(Box::new(preface), home);
        }
    }

    fn h2_ended(&mut self, error: Option<&h2::Error>) {
        let ended = std::mem::replace(&mut self.mux, Mux::Off);
        if let (Mux::Live(connection, home), None, true) =
            (ended, error, self.epochs && !self.draining)
        {
            drop(connection);
            if let Some(link) = home.take() {
                let ending = Ending::new(link, self.wire.socket());
                self.mux = Mux::Ending(Box::new(ending));
                return;
            }
        }
        self.wire.set_rule(BinaryRule::Ignored);
        if let Some(error) = error {
            tracing::debug!(%error, "the tunnel's HTTP/2 session failed");
            self.wire.violate(Violation::MuxFailed);
        }
    }

    /// Dropping h2 ends every stream, dropping the jobs their work.
    fn stop_traffic(&mut self) {
        self.served.clear();
        self.mux = Mux::Off;
        self.events
            .retain(|event| !matches!(event, AgentEvent::Request(..)));
    }
}

fn incoming(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    inboxes: &Inboxes,
    grain: &Grain,
) -> AgentEvent {
    let mut request = request.map(|stream| IncomingBody::new(stream, inboxes));
    let interim = interim::is_wanted(request.headers()).then(InterimSender::default);
    if let Some(interim) = &interim {
        request.extensions_mut().insert(interim.clone());
    }
    AgentEvent::Request(request, Responder::new(respond, interim, grain.clone()))
}
