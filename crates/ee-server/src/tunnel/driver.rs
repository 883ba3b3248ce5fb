//! Drives one session: the tunnel's events in, the session's commands out.
//!
//! Commands first, then whatever is ready: drawn at random, because an agent that always has
//! another text for us must not keep verdicts, orders and timers waiting. Long work (asking the
//! plane, waiting for a slot, appraising evidence) runs beside the tunnel, so that pings and
//! requests go on.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use ee_core::attestation::Verdict;
use ee_core::session::{
    ChallengeAnswer, Channel, Command, InnerTlsOutcome, Mux, Order, Outgoing, Registration,
    Session, Stage, Violation,
};
use ee_protocol::report_data::Nonce;
use ee_protocol::time::Timestamp;
use ee_protocol::tunnel::{AgentMessage, ControlMessage, InnerTlsMode};
use ee_tunnel::control::{ControlEvent, ControlTunnel};
use ee_tunnel::{InnerTls, TunnelOptions};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::admission::Place;
use super::legacy::LegacyLine;
use super::link::{Link, Way};
use super::orders::Orders;
use super::reports::Reports;
use super::slots::Slot;
use super::text_meter::{Heard, TextMeter};
use super::upgrade::Io;
use crate::state::AppState;

/// The close code for those who break a rule (TUNNEL 2.1).
const POLICY: u16 = 1008;

/// What work beside the tunnel ends with.
enum Done {
    Challenge(ChallengeAnswer, Option<Slot>),
    Verdict(Nonce, Box<Verdict>),
}

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// Work beside the tunnel. Most of its time a session has none, and then this holds nothing.
#[derive(Default)]
struct WorkBeside(Option<FuturesUnordered<Work>>);

impl WorkBeside {
    fn push(&mut self, work: Work) {
        self.0.get_or_insert_default().push(work);
    }

    /// What ends next; pending while there is none. Cancel safe.
    async fn next(&mut self) -> Done {
        let Some(all) = &mut self.0 else {
            return std::future::pending().await;
        };
        let done = all.next().await;
        if all.is_empty() {
            self.0 = None;
        }
        done.expect("there is some until it is taken")
    }
}

/// Runs a session until its socket is gone and the plane knows.
pub(super) async fn run(state: AppState, io: Io, ip: IpAddr, place: Place) {
    // Boxed: moved from future to future it would lie in each of them, for as long as it is idle.
    let mut driver = Box::new(Driver::new(state, io, ip, place));
    driver.run().await;
}

struct Driver {
    state: AppState,
    ip: IpAddr,
    session: Session,
    tunnel: ControlTunnel<Io>,
    reports: Reports,
    orders: Orders,
    work: WorkBeside,
    /// The requests of an agent that takes them in text.
    legacy: Option<Box<LegacyLine>>,
    /// Held until the session is attested.
    place: Option<Place>,
    /// Held while the first challenge is open.
    slot: Option<Slot>,
    text_limit: usize,
    texts: TextMeter,
    shutting_down: bool,
}

impl Driver {
    fn new(state: AppState, io: Io, ip: IpAddr, place: Place) -> Self {
        let options = TunnelOptions {
            buffered: state.tunnels.governor.buffered().clone(),
            ..TunnelOptions::default()
        };
        let tunnel = ControlTunnel::accept(io, &options);
        let orders = Orders::default();
        let link = Link::new(Way::H2(tunnel.handle()), orders.clone());
        let policy = std::sync::Arc::clone(&state.policy);
        let session = Session::new(policy, crate::entropy::seed(), state.now());
        let texts = TextMeter::new(state.now());
        let reports = Reports::new(state.plane.clone(), state.plane.new_tunnel_id(), link);
        Self {
            state,
            ip,
            session,
            tunnel,
            reports,
            orders,
            work: WorkBeside::default(),
            legacy: None,
            place: Some(place),
            slot: None,
            text_limit: options.text_limit,
            texts,
            shutting_down: false,
        }
    }

    async fn run(&mut self) {
        while self.turn().await {}
        while !self.reports.are_told() {
            self.reports.tell().await;
        }
    }

    /// One event; false when the socket is gone.
    async fn turn(&mut self) -> bool {
        self.obey();
        let closing = self.state.tasks.closing().clone();
        let now = self.state.now();
        let wait = self.timeout().map(|at| at.since(now));
        tokio::select! {
            event = self.tunnel.next() => return self.take(event),
            order = self.orders.next() => {
                self.session.handle_order(self.state.now(), order);
            }
            done = self.work.next() => self.finish(done),
            () = take_in(&mut self.legacy, &self.state) => {}
            answer = self.reports.tell() => {
                if let Some(admission) = answer {
                    self.session.handle_admission(self.state.now(), admission);
                }
            }
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                self.session.handle_timeout(self.state.now());
            }
            () = closing.cancelled(), if !self.shutting_down => {
                self.shutting_down = true;
                self.session.handle_order(self.state.now(), Order::Shutdown);
            }
        }
        true
    }

    /// Carries out what the session wants.
    fn obey(&mut self) {
        while let Some(command) = self.session.poll_command() {
            self.command(command);
        }
        self.serve_legacy();
        if self.session.stage() >= Stage::Active {
            self.place = None;
            self.slot = None;
        }
        let limit = self.session.text_max_bytes();
        if limit != self.text_limit {
            self.text_limit = limit;
            self.tunnel.set_text_limit(limit);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::AskChallenge(registration) => {
                self.agree(&registration);
                let (state, ip) = (self.state.clone(), self.ip);
                self.work.push(Box::pin(async move {
                    let answer = state.plane.ask_challenge(&registration).await;
                    let slot = match answer {
                        ChallengeAnswer::Granted { .. } => Some(slot(&state, ip).await),
                        ChallengeAnswer::Refused(_) => None,
                    };
                    Done::Challenge(answer, slot)
                }));
            }
            Command::Challenge(challenge) => {
                self.tunnel.send_text(challenge.message.to_json());
                self.session.handle_challenge_sent(self.state.now());
            }
            Command::StartInnerTls => {
                self.tunnel.start_inner_tls(&self.state.tunnels.inner_tls);
            }
            // The queue takes requests already; the tunnel carries no h2.
            Command::OpenTraffic { .. } if self.legacy.is_some() => {}
            Command::OpenTraffic { credits } => {
                if self.session.inner_tls() == Some(InnerTlsMode::Off) {
                    self.tunnel.offer_plain();
                }
                self.tunnel.attested(credits);
            }
            Command::SetCredits(credits) => self.tunnel.set_credits(credits),
            Command::Send(outgoing) => self.send(&outgoing),
            Command::Verify(request) => {
                let (state, from) = (self.state.clone(), self.ip);
                self.work.push(Box::pin(async move {
                    let nonce = request.nonce;
                    let verdict = state.attestor.verify(request, from).await;
                    if let Verdict::Indeterminate(_) = verdict {
                        // The wait is excused by an outage that is known when it begins.
                        state.plane.beat(state.attestor.dependencies()).await;
                    }
                    Done::Verdict(nonce, Box::new(verdict))
                }));
            }
            Command::Emit(event) => self.reports.push(event),
            Command::Ping => self.tunnel.ping(),
            Command::Close(close) => {
                // Who waits for an answer is told now, not when the socket is gone.
                self.legacy = None;
                self.tunnel.close(close.code, &close.reason);
            }
        }
    }

    /// How requests will reach the agent. Nothing is in flight before it is attested.
    fn agree(&mut self, registration: &Registration) {
        match registration.mux {
            Mux::H2 if registration.epochs => self.tunnel.use_epochs(),
            Mux::H2 => {}
            Mux::Legacy => {
                let (handle, line) = LegacyLine::new();
                self.reports.use_legacy(handle);
                self.legacy = Some(Box::new(line));
            }
        }
    }

    /// An agent that knows no `drain` is left when it has nothing to do.
    fn send(&mut self, outgoing: &Outgoing) {
        match (&mut self.legacy, &outgoing.message) {
            (Some(line), ControlMessage::Drain(_)) => line.leave_when_idle(),
            (
                _,
                ControlMessage::Drain(_)
                | ControlMessage::Status(_)
                | ControlMessage::AttestRequest(_),
            ) => self.tunnel.send_text(outgoing.message.to_json()),
        }
    }

    /// Sends the next request that waits, or leaves when it was told to and none does.
    fn serve_legacy(&mut self) {
        let now = self.state.now();
        let Some(line) = &mut self.legacy else {
            return;
        };
        while let Some(text) = line.next_text(now) {
            self.tunnel.send_text(text);
        }
        if line.may_leave() {
            self.session.handle_order(now, Order::Shutdown);
            while let Some(command) = self.session.poll_command() {
                self.command(command);
            }
        }
    }

    /// When something is due of itself.
    fn timeout(&self) -> Option<Timestamp> {
        let queue = self.legacy.as_ref().and_then(|line| line.poll_timeout());
        self.session.poll_timeout().into_iter().chain(queue).min()
    }

    fn finish(&mut self, done: Done) {
        let now = self.state.now();
        match done {
            Done::Challenge(answer, slot) => {
                self.slot = slot;
                self.session.handle_challenge_answer(now, answer);
            }
            Done::Verdict(nonce, verdict) => {
                self.slot = None;
                self.session.handle_verdict(now, nonce, *verdict);
            }
        }
    }

    /// False when the socket is gone.
    fn take(&mut self, event: ControlEvent) -> bool {
        let now = self.state.now();
        match event {
            ControlEvent::Text(text) => {
                let text = match &mut self.legacy {
                    Some(line) => line.answer(text),
                    None => Some(text),
                };
                if let Some(text) = text {
                    self.hear(now, &text);
                }
            }
            ControlEvent::InnerTls(outcome) => {
                self.session.handle_inner_tls(now, outcome_of(outcome));
            }
            ControlEvent::Pong => self.session.handle_pong(now),
            ControlEvent::Drained => {}
            ControlEvent::Violation(violation) => self.violated(violation),
            ControlEvent::Closed(closed) => {
                tracing::debug!(event = "tunnel_closed", ip = %self.ip, ?closed);
                self.legacy = None;
                self.session.handle_disconnect(now);
                self.obey();
                return false;
            }
        }
        true
    }

    fn hear(&mut self, now: Timestamp, text: &str) {
        match self.texts.hear(now) {
            Heard::Taken => self.session.handle_message(now, AgentMessage::parse(text)),
            Heard::Flood => {
                tracing::info!(event = "text_flood", ip = %self.ip);
                self.tunnel.close(POLICY, "text_flood");
            }
            Heard::TooLate => {}
        }
    }

    /// A fault of the transport alone needs no word of the session: the tunnel closes by itself.
    fn violated(&mut self, violation: ee_tunnel::Violation) {
        let told = match violation {
            ee_tunnel::Violation::BinaryNotAllowed => Violation::BinaryNotAllowed,
            ee_tunnel::Violation::ControlMacInvalid => Violation::ControlMacInvalid,
            ee_tunnel::Violation::PingFlood
            | ee_tunnel::Violation::FrameFlood
            | ee_tunnel::Violation::MuxFailed => return,
        };
        self.session.handle_violation(self.state.now(), told);
    }
}

/// Queues the next request of an agent that takes them in text; pending for every other.
async fn take_in(line: &mut Option<Box<LegacyLine>>, state: &AppState) {
    match line {
        Some(line) => line.take_in(|| state.now()).await,
        None => std::future::pending().await,
    }
}

async fn slot(state: &AppState, ip: IpAddr) -> Slot {
    let many = ip.is_loopback() || state.settings.trusted_proxies.contains(ip);
    let slot = state.tunnels.slots.acquire((!many).then_some(ip)).await;
    state.tunnels.pace.turn().await;
    slot
}

fn outcome_of(outcome: InnerTls) -> InnerTlsOutcome {
    match outcome {
        InnerTls::Established(info) => InnerTlsOutcome::Established(Channel {
            exporter: info.exporter,
            agent_spki: info.agent_spki_sha256,
            control_spki: info.control_spki_sha256,
        }),
        InnerTls::Failed(error) => {
            tracing::debug!(event = "inner_tls_failed", error);
            InnerTlsOutcome::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        // Part of the 16 KiB that an idle tunnel may cost (TUNNEL 11); the WebSocket's read
        // buffer of 8 KiB stands beside it.
        let size = size_of::<Driver>();
        assert!(size <= 1024, "{size} bytes");
    }
}
