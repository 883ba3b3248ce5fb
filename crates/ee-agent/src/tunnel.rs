//! One tunnel: drives the session state machine against the socket, the platform and the backend.
//!
//! Requests are served inside this task (ee-tunnel polls them beside the socket), so a request
//! costs no task and no wake-up across threads.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use ee_protocol::{
    refusal::Refusal,
    report_data::{Binding, Nonce},
    time::Timestamp,
    tunnel::{AttestRequest, ControlMessage, StatusState},
};
use ee_tunnel::{
    ConnectError, InnerTls, InnerTlsInfo, TunnelOptions,
    agent::{AgentEvent, AgentTunnel},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Sleep, sleep_until, timeout},
};

use crate::{
    agent::Shared,
    dial::Socket,
    quote::{QuoteBundle, QuoteError},
    session::{Closing, Command, InnerTlsOutcome, Session},
    supervisor::Siblings,
};

/// The WebSocket handshake is one round trip after the connection stands.
const UPGRADE_DEADLINE: Duration = Duration::from_secs(15);
/// A request that left the control plane before it read our drain still arrives within this.
const DRAIN_SETTLE: Duration = Duration::from_millis(300);
/// Longer than any timer of a session; the clock's arithmetic needs a bound.
const FAR: Duration = Duration::from_secs(365 * 86_400);
/// How often a draining tunnel looks whether its last request has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// What a tunnel tells the agent that owns it.
#[derive(Debug)]
pub(crate) enum Report {
    /// The control plane has sent a challenge.
    Challenged,
    /// Traffic may come.
    Attested {
        /// What the control plane takes another tunnel of this agent for.
        siblings: Siblings,
    },
    /// The control plane refused something.
    Refused {
        reason: String,
        detail: Vec<Refusal>,
    },
    /// Another tunnel should be brought up within this window.
    Replace { from: Duration, until: Duration },
}

/// What the agent tells a tunnel.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// Finish the requests in flight and close.
    Leave { reason: String, grace: Duration },
}

type QuoteOutcome = (Nonce, Result<QuoteBundle, QuoteError>);
type Pending<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// Connects and serves until the tunnel ends; the text says why it ended.
pub(crate) async fn run(
    shared: Arc<Shared>,
    reports: impl Fn(Report) + Send,
    mut orders: mpsc::Receiver<Order>,
    share: watch::Receiver<u32>,
) -> String {
    let tunnel = match open(&shared, &mut orders).await {
        Ok(tunnel) => tunnel,
        Err(reason) => return reason,
    };
    let started = Instant::now();
    let session = Session::new(
        Arc::clone(&shared.identity),
        Arc::clone(&shared.claims),
        shared.health_interval,
        Timestamp::EPOCH,
    );
    let mut driver = Driver {
        shared,
        reports,
        tunnel,
        session,
        started,
        timer: Box::pin(sleep_until(started + FAR)),
        quote: None,
        probe: None,
        leaving: None,
        siblings: Siblings::Replace,
        share,
    };
    driver.run(orders).await
}

async fn open(
    shared: &Shared,
    orders: &mut mpsc::Receiver<Order>,
) -> Result<AgentTunnel<Socket>, String> {
    let connect = async {
        let socket = shared
            .dialer
            .dial()
            .await
            .map_err(|error| format!("connect: {error}"))?;
        let options = TunnelOptions {
            buffered: shared.buffered.clone(),
            ..TunnelOptions::default()
        };
        let upgrade = AgentTunnel::connect(socket, shared.dialer.url(), &options);
        match timeout(UPGRADE_DEADLINE, upgrade).await {
            Ok(Ok(tunnel)) => Ok(tunnel),
            Ok(Err(ConnectError::Refused { status })) => Err(format!(
                "the control plane refused the upgrade with status {status}"
            )),
            Ok(Err(ConnectError::Failed(error))) => Err(format!("upgrade: {error}")),
            Err(_) => Err("no answer to the upgrade within 15 s".to_owned()),
        }
    };
    tokio::select! {
        opened = connect => opened,
        _ = orders.recv() => Err("told to leave".to_owned()),
    }
}

struct Driver<R> {
    shared: Arc<Shared>,
    reports: R,
    tunnel: AgentTunnel<Socket>,
    session: Session,
    started: Instant,
    timer: Pin<Box<Sleep>>,
    quote: Pending<QuoteOutcome>,
    probe: Pending<bool>,
    /// Since when requests are only finished, not taken.
    leaving: Option<Leaving>,
    siblings: Siblings,
    /// Requests that this tunnel may have at once.
    share: watch::Receiver<u32>,
}

#[derive(Debug)]
struct Leaving {
    since: Instant,
    reason: String,
    grace: Duration,
    closed: bool,
}

impl<R: Fn(Report) + Send> Driver<R> {
    /// Order of one round: commands, then whatever is ready first of input, quote, probe, timers
    /// and orders. Only cancel-safe futures stand in the `select!`: the quote and the probe are
    /// kept outside and polled by reference.
    async fn run(&mut self, mut orders: mpsc::Receiver<Order>) -> String {
        let mut abandoned = false;
        loop {
            self.perform_commands();
            self.close_if_finished();
            self.set_timer();
            tokio::select! {
                biased;
                event = self.tunnel.next() => {
                    if let Some(ended) = self.handle_event(event) {
                        return ended;
                    }
                }
                (nonce, outcome) = finished(&mut self.quote) => {
                    self.session.handle_quote(self.now(), &nonce, outcome);
                }
                passed = finished(&mut self.probe) => {
                    let inflight = u32::try_from(self.tunnel.inflight()).unwrap_or(u32::MAX);
                    self.session.handle_probe(self.now(), passed, inflight);
                }
                () = self.timer.as_mut() => self.session.handle_timeout(self.now()),
                Ok(()) = self.share.changed() => {
                    let share = *self.share.borrow_and_update();
                    self.session.handle_credits(share);
                }
                order = orders.recv(), if !abandoned => match order {
                    Some(Order::Leave { reason, grace }) => self.leave(reason, grace),
                    None => {
                        abandoned = true;
                        self.leave("shutdown".to_owned(), Duration::ZERO);
                    }
                },
            }
        }
    }

    /// Time of the session: how long this tunnel has been up.
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH.after(self.started.elapsed())
    }

    /// The timer is moved only when its deadline has changed: a request must not touch it.
    fn set_timer(&mut self) {
        let session = self.session.poll_timeout().since(Timestamp::EPOCH);
        let mut deadline = self.started + session.min(FAR);
        if let Some(Leaving { closed: false, .. }) = self.leaving {
            deadline = deadline.min(Instant::now() + DRAIN_LOOK);
        }
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
    }

    fn perform_commands(&mut self) {
        while let Some(command) = self.session.poll_command() {
            self.perform(command);
        }
    }

    fn perform(&mut self, command: Command) {
        match command {
            Command::Send(message) => self.tunnel.send_text(message.to_json()),
            Command::ExpectInnerTls => self.tunnel.expect_inner_tls(&self.shared.inner_tls),
            Command::ExpectPlain => self.tunnel.expect_plain(),
            Command::UseEpochs => self.tunnel.use_epochs(),
            Command::Quote {
                nonce,
                report_data,
                budget,
            } => {
                let quoting = self.shared.quoting.clone();
                self.quote = Some(Box::pin(async move {
                    (nonce, quoting.quote(report_data, budget).await)
                }));
            }
            Command::OpenTraffic => {
                self.tunnel.attested();
                self.grant_share();
                let siblings = self.siblings;
                (self.reports)(Report::Attested { siblings });
            }
            Command::Probe => {
                let probe = self.shared.probe.clone();
                self.probe = Some(Box::pin(async move { probe.passes().await }));
            }
            Command::Replace { from, until } => (self.reports)(Report::Replace { from, until }),
            Command::FinishRequests => self.tunnel.drain(),
            Command::Close(Closing { code, reason }) => self.tunnel.close(code, &reason),
        }
    }

    /// Something came from the control plane; a text means that the tunnel has ended.
    fn handle_event(&mut self, event: AgentEvent) -> Option<String> {
        match event {
            AgentEvent::Text {
                text,
                authenticated,
            } => self.handle_text(&text, authenticated),
            AgentEvent::InnerTls(outcome) => self.handle_inner_tls(outcome),
            AgentEvent::Request(request, responder) => {
                let capacity = Arc::clone(&self.shared.capacity);
                // Another node may have room, and the control plane may ask it.
                let permit = match self.shared.buffered.admits() {
                    true => capacity.try_acquire_owned().ok(),
                    false => None,
                };
                let Some(permit) = permit else {
                    responder.refuse();
                    return None;
                };
                let shared = Arc::clone(&self.shared);
                // Boxed: each layer around it would copy its KiB with every request.
                let answer = Box::pin(async move { shared.backend.serve(request).await });
                self.tunnel.serve(Box::pin(async move {
                    responder.serve(answer).await;
                    drop(permit);
                }));
            }
            AgentEvent::Violation(violation) => {
                tracing::warn!(event = "tunnel_violation", reason = violation.reason());
                self.tunnel
                    .close(violation.close_code(), violation.reason());
            }
            AgentEvent::Closed(closed) => {
                let code = closed
                    .code
                    .map_or_else(String::new, |code| format!("{code} "));
                return Some(format!("{code}{} ({:?})", closed.reason, closed.by));
            }
        }
        None
    }

    fn handle_text(&mut self, text: &str, authenticated: bool) {
        let message = ControlMessage::parse(text);
        match &message {
            Ok(ControlMessage::AttestRequest(AttestRequest { reason, .. })) => {
                tracing::debug!(event = "challenged", reason);
                if !self.session.is_active() {
                    (self.reports)(Report::Challenged);
                }
            }
            Ok(ControlMessage::Status(status)) => match status.state {
                StatusState::Ok => tracing::info!(event = "status_ok", reason = status.reason),
                StatusState::Pending => {
                    tracing::info!(event = "status_pending", reason = status.reason);
                }
                StatusState::Invalid => (self.reports)(Report::Refused {
                    reason: status.reason.clone(),
                    detail: status.detail.clone(),
                }),
            },
            Ok(ControlMessage::Drain(drain)) => {
                tracing::info!(event = "asked_to_drain", reason = drain.reason);
            }
            Err(error) => tracing::debug!(event = "text_not_understood", %error),
        }
        self.session
            .handle_message(self.now(), message, authenticated);
    }

    fn handle_inner_tls(&mut self, outcome: InnerTls) {
        let outcome = match outcome {
            InnerTls::Established(info) => {
                let InnerTlsInfo {
                    exporter,
                    agent_spki_sha256,
                    control_spki_sha256,
                } = info;
                if self.shared.identity.control_keys.is_empty() {
                    let key = hex::encode(control_spki_sha256);
                    tracing::info!(event = "control_key_not_pinned", EE_CONTROL_KEY = key);
                }
                self.siblings = Siblings::Belong;
                InnerTlsOutcome::Established(Binding::TlsExporter {
                    exporter,
                    agent_spki: agent_spki_sha256,
                    control_spki: control_spki_sha256,
                })
            }
            InnerTls::Failed(error) => {
                tracing::warn!(event = "inner_tls_failed", error);
                InnerTlsOutcome::Failed(error)
            }
        };
        self.session.handle_inner_tls(self.now(), outcome);
    }

    /// `register` named the share of a tunnel among all; there may be fewer now.
    fn grant_share(&mut self) {
        let share = *self.share.borrow_and_update();
        if share != self.shared.identity.max_inflight {
            self.session.handle_credits(share);
        }
    }

    /// A second order can only shorten the first one's grace.
    fn leave(&mut self, reason: String, grace: Duration) {
        if let Some(leaving) = &mut self.leaving {
            leaving.grace = leaving.grace.min(leaving.since.elapsed() + grace);
            return;
        }
        self.session.handle_leave(&reason);
        self.leaving = Some(Leaving {
            since: Instant::now(),
            reason,
            grace,
            closed: false,
        });
    }

    fn close_if_finished(&mut self) {
        let Some(Leaving {
            since,
            reason,
            grace,
            closed: closed @ false,
        }) = &mut self.leaving
        else {
            return;
        };
        let waited = since.elapsed();
        let finished = self.tunnel.inflight() == 0 && waited >= DRAIN_SETTLE;
        if finished || waited >= *grace {
            *closed = true;
            self.tunnel.close(1001, reason);
        }
    }
}

/// Waits for a future kept in an option; empties it when done. Without one, waits forever.
async fn finished<T>(slot: &mut Pending<T>) -> T {
    let Some(future) = slot else {
        return std::future::pending().await;
    };
    let value = future.as_mut().await;
    *slot = None;
    value
}
