//! Assembles the control plane and runs it: as a library, so that `dev`, tests and benchmarks run
//! the very same thing in process.
//!
//! **Invariant:** the trust root is an argument. `easyenclave-server`'s `main` passes Intel's; no
//! setting can change it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use ee_attest::TrustRoot;
use ee_control::{
    attestation::{Attestor, AttestorParts},
    observation, plane,
    ports::{Clock, CollateralSource, ReleaseSource},
    resolve::Endpoints,
};
use ee_core::{eligibility::StakeRequirement, observer::Reach, policy::LivePolicy};
use ee_protocol::{
    account::ClientId, http::health::TrustRootReport, money::MicroUsd, names::Network,
    settings::Problem,
};
use ee_store::Store;

use crate::{
    auth::{self, Announce, Auth},
    automation, books,
    clock::SystemClock,
    config::Settings,
    http::{self, CursorKey},
    inherited::Inherited,
    keys::{create_data_dir, cursor_key, platform_key, tunnel_key},
    listener::Listener,
    proxy, reconcile,
    state::{AppState, Inner, TrustReport},
    tasks::{Died, Tasks},
    tls::{self, Alpn},
    tunnel::Tunnels,
    upstream::{self, AllowlistDir, AssetHosts, GithubSource, HttpClient, PccsSource},
    verifiers::Verifiers,
};

/// The name under which this process observes nodes: one process writes to the books at a time.
const REPLICA: &str = "control-plane";
/// After the drain every task ends at its next await; longer means that one hangs.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is not a setting because it decides what a verdict means, or which world it is judged in.
pub struct ServerOptions {
    /// The root of every verdict.
    pub trust_root: TrustRoot,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where GitHub may redirect a download of an asset to.
    pub asset_hosts: AssetHosts,
    /// Where a bootstrap token goes.
    pub announce: Announce,
    /// Listening sockets that outlive this process.
    pub sockets: Inherited,
}

impl ServerOptions {
    /// Options for a root, with the machine's clock and GitHub's own content hosts.
    pub fn new(trust_root: TrustRoot) -> Self {
        Self {
            trust_root,
            clock: Arc::new(SystemClock),
            asset_hosts: AssetHosts::GithubUserContent,
            announce: Announce::Terminal,
            sockets: Inherited::default(),
        }
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings that only the start could judge: exit status 78.
    #[error("{0}")]
    Config(Problem),
    /// Anything else: a taken port, a locked database.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

/// The control plane.
pub struct Server;

/// A control plane that serves.
pub struct RunningServer {
    /// Bound address of the API and the tunnel endpoint.
    pub api_addr: SocketAddr,
    /// Bound address of the proxy listener.
    pub proxy_addr: SocketAddr,
    /// The running parts, for programs that run the server in process.
    pub state: AppState,
}

impl Server {
    /// Opens the store, binds both listeners and starts every task. Returns once it serves.
    pub async fn start(
        settings: Settings,
        options: ServerOptions,
    ) -> Result<RunningServer, StartError> {
        create_data_dir(&settings.data_dir)?;
        let store = Store::open(&settings.db_path).context("EE_DB_PATH")?;
        let acceptor = |alpn| {
            settings
                .tls
                .as_ref()
                .map(|p| tls::acceptor(p, alpn))
                .transpose()
        };
        let api = bind(
            &options.sockets,
            settings.control_bind,
            acceptor(Alpn::Http1)?,
            "EE_CONTROL_PORT",
        )?;
        let proxy = bind(
            &options.sockets,
            settings.proxy_bind,
            acceptor(Alpn::Http2AndHttp1)?,
            "EE_PROXY_PORT",
        )?;
        refuse_unknown(&options.sockets)?;
        let (api_addr, proxy_addr) = (api.address(), proxy.address());
        let auth = open_auth(&settings, &store, &options).await?;
        let tasks = Tasks::default();
        let state = Box::pin(assemble(settings, options, store, auth, &tasks)).await?;
        let router = http::router(&state);
        let trusted = state.settings.trusted_proxies.clone();
        tasks.spawn(
            "api_listener",
            http::serve(api, router, trusted, tasks.clone()),
        );
        tasks.spawn("proxy_listener", proxy::run_listener(state.clone(), proxy));
        tracing::info!(event = "serving", api = %api_addr, proxy = %proxy_addr);
        Ok(RunningServer {
            api_addr,
            proxy_addr,
            state,
        })
    }
}

impl RunningServer {
    /// Begins the drain: nothing new is accepted, requests in flight finish.
    pub fn shutdown(&self) {
        self.state.tasks.stopping().cancel();
    }

    /// Waits until the server has stopped, asked or not; the drain takes `EE_DRAIN_SEC` at most.
    pub async fn join(self) -> Result<(), Died> {
        let tasks = &self.state.tasks;
        tasks.stopping().cancelled().await;
        tracing::info!(
            event = "draining",
            seconds = self.state.settings.drain.as_secs()
        );
        let drained = tokio::time::timeout(self.state.settings.drain, async {
            self.state.plane.drain().await;
            tasks.clients_finished().await;
        });
        if drained.await.is_err() {
            tracing::warn!(event = "drain_cut_short");
        }
        automation::stop(&self.state).await;
        tasks.closing().cancel();
        if tokio::time::timeout(CLOSE_TIMEOUT, tasks.finished())
            .await
            .is_err()
        {
            tracing::warn!(event = "tasks_hang_at_shutdown");
        }
        // What was queued is committed and the lock is free before this returns.
        self.state.store.close().await;
        tracing::info!(event = "stopped");
        tasks.died().map_or(Ok(()), Err)
    }
}

async fn assemble(
    settings: Settings,
    options: ServerOptions,
    store: Store,
    auth: Auth,
    tasks: &Tasks,
) -> Result<AppState, StartError> {
    let tunnel_key = tunnel_key(&settings.data_dir)?;
    let policy = Arc::new(live_policy(&settings, tunnel_key.spki_sha256()));
    let clock = Arc::clone(&options.clock);
    let started = clock.now();
    let opened = plane::open(store.clone(), Arc::clone(&policy), Arc::clone(&clock)).await;
    let (handle, plane) = opened.context("reading apps and nodes from the store")?;
    let trust = TrustReport {
        root: TrustRootReport {
            name: options.trust_root.name().to_owned(),
            sha256: hex::encode(options.trust_root.digest()),
        },
        loosened: settings.networks.loosened(),
    };
    let cursors = CursorKey::new(&cursor_key(&settings.data_dir)?);
    let (books, backups) = books::open(&settings, &store, Arc::clone(&clock), tasks).await?;
    let upstream = upstream::client()?;
    let attestor = attestor(&settings, options, &store, upstream.clone()).await?;
    let state = AppState::new(Inner {
        endpoints: endpoints(&settings),
        settings,
        clock,
        tasks: tasks.clone(),
        store,
        books,
        books_unsound: Default::default(),
        backups,
        plane: handle,
        attestor,
        policy,
        tunnels: Tunnels::new(&tunnel_key, started, tasks),
        tunnel_key,
        upstream,
        auth,
        cursors,
        trust,
    });
    let reach = Reach::of(&state.policy);
    let replica = ClientId::parse(REPLICA).expect("a short word");
    let (watched, observer) = observation::open(
        state.books.clone(),
        Arc::clone(&state.clock),
        replica,
        reach,
    );
    reconcile::start(&state, plane.observed_by(watched));
    automation::start(&state, observer);
    // Before anybody can connect: a node's id needs its proof from the first moment on.
    auth::tell_plane_of_all(&state).await;
    Ok(state)
}

fn bind(
    sockets: &Inherited,
    address: SocketAddr,
    tls: Option<tokio_rustls::TlsAcceptor>,
    name: &str,
) -> anyhow::Result<Listener> {
    let listener = match sockets.take(address) {
        Some(socket) => Listener::inherit(socket, tls),
        None => Listener::bind(address, tls),
    };
    listener.with_context(|| format!("{name}: cannot listen on {address}"))
}

/// A socket of the service manager that nobody accepts from would let its clients hang.
fn refuse_unknown(sockets: &Inherited) -> Result<(), StartError> {
    let left = sockets.left();
    let Some(first) = left.first() else {
        return Ok(());
    };
    Err(StartError::Config(Problem {
        name: "LISTEN_FDS".to_owned(),
        origin: String::new(),
        message: format!(
            "the service manager hands over {first}, which is neither EE_CONTROL_PORT nor \
             EE_PROXY_PORT: make its socket unit listen on the port that is set"
        ),
    }))
}

/// The credentials; without any admin credential, the bootstrap door or a refusal to start.
async fn open_auth(
    settings: &Settings,
    store: &Store,
    options: &ServerOptions,
) -> Result<Auth, StartError> {
    let stored = store
        .auth()
        .await
        .context("reading credentials from the store")?;
    let managed = store
        .tokens()
        .await
        .context("reading tokens from the store")?;
    let now = options.clock.now();
    let auth = Auth::new(settings, stored.admin_hash, managed);
    if auth.is_configured(auth::Role::Admin, now) {
        return Ok(auth);
    }
    if settings.require_auth_configured {
        return Err(StartError::Config(Problem {
            name: "EE_ADMIN_TOKEN".to_owned(),
            origin: String::new(),
            message: "needed, because EE_REQUIRE_AUTH_CONFIGURED is true".to_owned(),
        }));
    }
    let token = auth.open_bootstrap(store, now).await?;
    let public_url = settings.public_url.to_string();
    auth::announce(&token, options.announce, &settings.data_dir, &public_url)?;
    Ok(auth)
}

fn live_policy(settings: &Settings, control_key: [u8; 32]) -> LivePolicy {
    let deadline_s = u32::try_from(settings.attest_deadline.as_secs());
    LivePolicy {
        attest_interval: settings.attest_interval,
        attest_deadline_s: deadline_s.expect("the setting's range ends at 600"),
        health_timeout: settings.health_timeout,
        registration_ttl: settings.registration_ttl,
        registration_warn: settings.registration_warn,
        forge1: settings.networks.rules(Network::Forge1),
        sandbox1: settings.networks.rules(Network::Sandbox1),
        forge1_stake: stake_requirement(settings),
        control_key,
    }
}

/// An operator who sets every minimum to nothing asks for no stake.
fn stake_requirement(settings: &Settings) -> StakeRequirement {
    let demanded = |least: &MicroUsd| *least > MicroUsd::ZERO;
    match settings.ledger.stake_min.iter().any(demanded) {
        true => StakeRequirement::Required,
        false => StakeRequirement::None,
    }
}

fn endpoints(settings: &Settings) -> Endpoints {
    Endpoints {
        tunnel: settings.public_url.tunnel_endpoint(),
        public_scheme: settings.public_url.scheme().to_owned(),
        app_domain: settings.app_domain.clone(),
    }
}

async fn attestor(
    settings: &Settings,
    options: ServerOptions,
    store: &Store,
    client: HttpClient,
) -> anyhow::Result<Arc<Attestor>> {
    let asset = settings.allowlist_asset.clone();
    let releases: Arc<dyn ReleaseSource> = match &settings.allowlist_dir {
        Some(root) => Arc::new(AllowlistDir::new(root.clone(), asset)),
        None => Arc::new(GithubSource::new(
            client.clone(),
            settings.github_api_url.clone(),
            settings.github_token.clone(),
            asset,
            options.asset_hosts,
            Arc::clone(&options.clock),
        )),
    };
    let collateral: Arc<dyn CollateralSource> =
        Arc::new(PccsSource::new(client, &settings.pccs_urls));
    let parts = AttestorParts {
        store: store.clone(),
        clock: options.clock,
        offload: Arc::new(Verifiers::start().context("starting the verifiers")?),
        releases,
        collateral,
        root: options.trust_root,
        policies: settings.networks.attestation(),
        collateral_dir: Some(settings.data_dir.join("collateral")),
        seed: crate::entropy::seed(),
        platform_key: platform_key(&settings.data_dir)?,
    };
    Attestor::open(parts)
        .await
        .context("reading pins and collateral marks from the store")
}
