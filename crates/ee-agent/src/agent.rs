//! The agent as a library: keeps a tunnel up until it is told to stop.
//!
//! Make before break: a control plane that wants this agent to reconnect keeps the old tunnel
//! until the new one is attested. All tunnels of one process share the key of this boot and the
//! `instance`, so the control plane knows them as one node.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ee_protocol::{
    names::{AgentId, NodeId},
    refusal::Refusal,
    report_data::WorkloadClaims,
};
use ee_tunnel::keys::{InnerTlsServer, TunnelKey};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backend::Backend,
    backoff::Backoff,
    clock,
    dial::{Dialer, DialerError},
    identity::Identity,
    probe::Probe,
    quote::QuoteProvider,
    quoting::Quoting,
    settings::AgentSettings,
    tasks,
    tunnel::{self, Order, Report, RequestBody},
};

/// Reports waiting for the agent: a tunnel sends a handful in its life.
const REPORTS: usize = 64;
/// Orders waiting for a tunnel: it gets at most two.
const ORDERS: usize = 2;
/// After the grace for requests, closing handshakes get this long.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);
/// A replaced tunnel's requests get as long as at shutdown by default.
const REPLACED_GRACE: Duration = Duration::from_secs(30);

/// What every tunnel of the process shares.
pub(crate) struct Shared {
    pub(crate) identity: Arc<Identity>,
    pub(crate) claims: Arc<WorkloadClaims>,
    pub(crate) health_interval: Duration,
    pub(crate) max_inflight: usize,
    pub(crate) dialer: Dialer,
    pub(crate) inner_tls: InnerTlsServer,
    pub(crate) quoting: Quoting,
    pub(crate) probe: Probe,
    pub(crate) backend: Backend<RequestBody>,
}

/// Where the agent stands, for whoever runs it in process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentState {
    /// No tunnel yet; `attempt` counts from 1.
    Connecting {
        /// Number of this attempt since the last attestation.
        attempt: u32,
    },
    /// The control plane asked for a proof.
    Attesting,
    /// The control plane let this agent serve.
    Active,
    /// The control plane refused this agent; it goes on trying.
    Refused {
        /// The status reason.
        reason: String,
        /// What failed, expected and seen.
        detail: Vec<Refusal>,
    },
    /// Shut down.
    Stopped,
}

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting names something unusable.
    #[error(transparent)]
    Dialer(#[from] DialerError),
    /// The agent's id cannot be kept.
    #[error("EE_DATA_DIR: {}: {error}", path.display())]
    DataDir {
        /// The file.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
}

/// An agent that is ready to connect.
pub struct Agent {
    shared: Arc<Shared>,
    drain: Duration,
    state: watch::Sender<AgentState>,
}

impl Agent {
    /// Prepares an agent: reads files, opens no connection.
    pub fn new(
        settings: AgentSettings,
        provider: Arc<dyn QuoteProvider>,
    ) -> Result<Self, StartError> {
        let agent_id = match settings.agent_id {
            Some(id) => id,
            None => kept_agent_id(settings.data_dir.as_deref())?,
        };
        let identity = Identity {
            repo: settings.repo,
            release_tag: settings.release_tag,
            app_name: settings.app_name.clone(),
            network: settings.network,
            node_id: settings
                .node_id
                .unwrap_or_else(|| NodeId::from(agent_id.clone())),
            agent_id,
            node_token: settings.node_token,
            instance: uuid::Uuid::new_v4().simple().to_string(),
            max_inflight: settings.max_inflight,
            control_keys: settings.control_keys,
        };
        let probe = match settings.health_url {
            Some(url) => Probe::Get(url),
            None => Probe::Connect(settings.backend.clone()),
        };
        let shared = Shared {
            identity: Arc::new(identity),
            claims: Arc::new(provider.claims().clone()),
            health_interval: settings.health_interval,
            max_inflight: usize::try_from(settings.max_inflight).unwrap_or(usize::MAX),
            dialer: Dialer::new(settings.control_ws, settings.control_ca_path.as_deref())?,
            inner_tls: InnerTlsServer::new(&TunnelKey::generate()),
            quoting: Quoting::new(provider),
            probe,
            backend: Backend::new(
                settings.app_name,
                settings.backend,
                settings.backend_protocol,
            ),
        };
        let (state, _) = watch::channel(AgentState::Connecting { attempt: 1 });
        Ok(Self {
            shared: Arc::new(shared),
            drain: settings.drain,
            state,
        })
    }

    /// Who this agent says it is.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// Where the agent stands, as it changes.
    pub fn states(&self) -> watch::Receiver<AgentState> {
        self.state.subscribe()
    }

    /// Keeps a tunnel up until `shutdown`, then finishes the requests in flight and returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let (reports, inbox) = mpsc::channel(REPORTS);
        let supervisor = Supervisor {
            shared: self.shared,
            state: self.state,
            reports,
            tunnels: Vec::new(),
            next_id: 0,
            attempt: 0,
            backoff: Backoff::new(clock::entropy()),
            dial_at: Some(Instant::now()),
            replacing: false,
        };
        supervisor.run(inbox, shutdown, self.drain).await;
    }
}

/// The id kept in `data_dir`, or a new one (kept there from now on).
fn kept_agent_id(data_dir: Option<&Path>) -> Result<AgentId, StartError> {
    let fresh =
        || AgentId::parse(&uuid::Uuid::new_v4().to_string()).expect("a UUID is an agent id");
    let Some(dir) = data_dir else {
        return Ok(fresh());
    };
    let path = dir.join("agent-id");
    let refuse = |error| StartError::DataDir {
        path: path.clone(),
        error,
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => AgentId::parse(text.trim())
            .map_err(|error| refuse(io::Error::new(io::ErrorKind::InvalidData, error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = fresh();
            std::fs::create_dir_all(dir).map_err(refuse)?;
            std::fs::write(&path, id.as_str()).map_err(refuse)?;
            Ok(id)
        }
        Err(error) => Err(refuse(error)),
    }
}

type TunnelId = u64;

enum Event {
    Report(Report),
    Ended(String),
}

/// Owns the tunnels: one in normal times, two while one replaces the other.
struct Supervisor {
    shared: Arc<Shared>,
    state: watch::Sender<AgentState>,
    reports: mpsc::Sender<(TunnelId, Event)>,
    tunnels: Vec<Live>,
    next_id: TunnelId,
    /// Attempts since the last attestation.
    attempt: u32,
    backoff: Backoff,
    /// When the next tunnel is to be opened.
    dial_at: Option<Instant>,
    /// The control plane wants a new tunnel while the old one goes on.
    replacing: bool,
}

struct Live {
    id: TunnelId,
    orders: mpsc::Sender<Order>,
}

impl Supervisor {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<(TunnelId, Event)>,
        shutdown: CancellationToken,
        drain: Duration,
    ) {
        loop {
            let dial_at = self.dial_at;
            tokio::select! {
                Some((id, event)) = inbox.recv() => self.handle_event(id, event),
                () = sleep_until_some(dial_at) => self.open_tunnel(),
                () = shutdown.cancelled() => break,
            }
        }
        self.dial_at = None;
        self.leave_all(drain);
        let everything_ended = async {
            while !self.tunnels.is_empty() {
                match inbox.recv().await {
                    Some((id, Event::Ended(_))) => self.tunnels.retain(|live| live.id != id),
                    Some((_, Event::Report(_))) => {}
                    None => return,
                }
            }
        };
        if tokio::time::timeout(drain + CLOSE_DEADLINE, everything_ended)
            .await
            .is_err()
        {
            tracing::warn!(event = "tunnels_left_open");
        }
        self.state.send_replace(AgentState::Stopped);
    }

    fn open_tunnel(&mut self) {
        self.dial_at = None;
        self.attempt = self.attempt.saturating_add(1);
        if self.tunnels.is_empty() && !matches!(*self.state.borrow(), AgentState::Refused { .. }) {
            self.state.send_replace(AgentState::Connecting {
                attempt: self.attempt,
            });
        }
        let id = self.next_id;
        self.next_id += 1;
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (shared, sender) = (Arc::clone(&self.shared), self.reports.clone());
        // A tunnel reports a handful of times; if the queue is full all the same, the report is
        // lost rather than the tunnel held up.
        let report = {
            let sender = sender.clone();
            move |report| drop(sender.try_send((id, Event::Report(report))))
        };
        // The task ends by itself: its orders come from `Live`, and their end tells it to leave.
        drop(tasks::spawn("tunnel", async move {
            let ended = tunnel::run(shared, report, inbox).await;
            drop(sender.send((id, Event::Ended(ended))).await);
        }));
        self.tunnels.push(Live { id, orders });
    }

    fn handle_event(&mut self, id: TunnelId, event: Event) {
        match event {
            Event::Report(Report::Challenged) => {
                self.state.send_replace(AgentState::Attesting);
            }
            Event::Report(Report::Attested) => self.handle_attested(id),
            Event::Report(Report::Refused { reason, detail }) => {
                log_refusal(&reason, &detail);
                self.state
                    .send_replace(AgentState::Refused { reason, detail });
            }
            Event::Report(Report::Replace { from, until }) => {
                self.replacing = true;
                if self.dial_at.is_none() && self.is_youngest(id) {
                    self.dial_at = Some(Instant::now() + self.backoff.wait_within(from, until));
                }
            }
            Event::Ended(reason) => self.handle_ended(id, &reason),
        }
    }

    fn handle_attested(&mut self, id: TunnelId) {
        self.backoff.reset();
        self.attempt = 0;
        self.replacing = false;
        let identity = &self.shared.identity;
        tracing::info!(event = "attested", agent = %identity.agent_id, app = %identity.app_name);
        self.state.send_replace(AgentState::Active);
        for live in self.tunnels.iter().filter(|live| live.id < id) {
            leave(live, "replaced", REPLACED_GRACE);
        }
    }

    fn handle_ended(&mut self, id: TunnelId, reason: &str) {
        let was_youngest = self.is_youngest(id);
        self.tunnels.retain(|live| live.id != id);
        tracing::info!(event = "tunnel_ended", reason);
        if self.tunnels.is_empty() && *self.state.borrow() == AgentState::Active {
            self.state
                .send_replace(AgentState::Connecting { attempt: 1 });
        }
        let wanted = self.tunnels.is_empty() || (self.replacing && was_youngest);
        if wanted && self.dial_at.is_none() {
            let wait = self.backoff.next_wait();
            tracing::info!(event = "reconnecting", in_ms = wait.as_millis());
            self.dial_at = Some(Instant::now() + wait);
        }
    }

    fn is_youngest(&self, id: TunnelId) -> bool {
        self.tunnels.iter().all(|live| live.id <= id)
    }

    fn leave_all(&self, grace: Duration) {
        for live in &self.tunnels {
            leave(live, "shutdown", grace);
        }
    }
}

/// A tunnel whose queue of orders is full is leaving already.
fn leave(live: &Live, reason: &str, grace: Duration) {
    drop(live.orders.try_send(Order::Leave {
        reason: reason.to_owned(),
        grace,
    }));
}

fn log_refusal(reason: &str, detail: &[Refusal]) {
    tracing::warn!(event = "refused", reason);
    for Refusal {
        code,
        check,
        expected,
        actual,
        hint,
    } in detail
    {
        tracing::warn!(event = "refusal", code, check, expected, actual, hint);
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
