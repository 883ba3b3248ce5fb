//! The agent as a library: keeps its tunnels up until it is told to stop.
//!
//! All tunnels of one process share the key of this boot and the `instance`, so the control plane
//! knows them as one node. They share its capacity, too: who may take a request is counted here.

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
use ee_tunnel::{
    Buffered,
    keys::{InnerTlsServer, TunnelKey},
};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    backend::Backend,
    dial::{Dialer, DialerError},
    identity::Identity,
    probe::Probe,
    quote::QuoteProvider,
    quoting::Quoting,
    settings::AgentSettings,
    supervisor::Supervisor,
};

/// What every tunnel of the process shares.
pub(crate) struct Shared {
    pub(crate) identity: Arc<Identity>,
    pub(crate) claims: Arc<WorkloadClaims>,
    pub(crate) health_interval: Duration,
    /// Places for tunnels that serve at once.
    pub(crate) lanes: u32,
    /// Requests served at once, on all tunnels together.
    pub(crate) max_inflight: u32,
    /// A permit for each of them.
    pub(crate) capacity: Arc<Semaphore>,
    /// Bytes of requests that wait for the backend.
    pub(crate) buffered: Buffered,
    pub(crate) dialer: Dialer,
    pub(crate) inner_tls: InnerTlsServer,
    pub(crate) quoting: Quoting,
    pub(crate) probe: Probe,
    pub(crate) backend: Backend<ee_tunnel::IncomingBody>,
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
        // A tunnel that may have no request at all is of no use.
        let lanes = settings.tunnels.min(settings.max_inflight);
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
            max_inflight: settings.max_inflight / lanes,
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
            lanes,
            max_inflight: settings.max_inflight,
            buffered: Buffered::of_this_machine(),
            capacity: Arc::new(Semaphore::new(settings.max_inflight as usize)),
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

    /// Keeps the tunnels up until `shutdown`, then finishes the requests in flight and returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let supervisor = Supervisor::new(self.shared, self.state);
        supervisor.run(shutdown, self.drain).await;
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
