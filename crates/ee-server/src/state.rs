//! What every handler, tunnel and proxied request gets: one shared, immutable view of the server.

use std::{
    ops::Deref,
    sync::{Arc, atomic::AtomicBool},
};

use ee_control::{
    attestation::Attestor, books::BooksHandle, plane::PlaneHandle, ports::Clock, resolve::Endpoints,
};
use ee_core::policy::LivePolicy;
use ee_protocol::{http::health::TrustRootReport, time::Timestamp};
use ee_store::Store;
use ee_tunnel::keys::TunnelKey;

use crate::{
    archive::BackupStatus,
    auth::Auth,
    config::Settings,
    http::CursorKey,
    tasks::Tasks,
    tunnel::{Link, Tunnels},
    upstream::HttpClient,
};

/// Handle to the server's parts; clones are cheap.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

/// The parts.
pub struct Inner {
    /// The settings this process runs with.
    pub settings: Settings,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Starts tasks, and says when to stop.
    pub tasks: Tasks,
    /// The database.
    pub store: Store,
    /// The book half: accounts, locks, verdicts.
    pub books: BooksHandle,
    /// Set when the books did not add up: only a new start can trust them again.
    pub books_unsound: AtomicBool,
    /// How the backups do; `None` without `EE_BACKUP_DIR`.
    pub backups: Option<BackupStatus>,
    /// The live half: registry, routes.
    pub plane: PlaneHandle<Link>,
    /// The verifier's use-case.
    pub attestor: Arc<Attestor>,
    /// Rules of sessions and eligibility.
    pub policy: Arc<LivePolicy>,
    /// The key of this control plane inside tunnels.
    pub tunnel_key: TunnelKey,
    /// What tunnels share: places, slots, the inner TLS.
    pub tunnels: Tunnels,
    /// The client of GitHub and the collateral endpoints.
    pub upstream: HttpClient,
    /// Tokens.
    pub auth: Auth,
    /// Seals the cursors of lists.
    pub cursors: CursorKey,
    /// Where agents and people reach what answers describe.
    pub endpoints: Endpoints,
    /// Which root verdicts stand on, and which networks are looser than the default.
    pub trust: TrustReport,
}

/// The part of `/health` that never changes while the process runs.
#[derive(Debug, Clone)]
pub struct TrustReport {
    /// The root.
    pub root: TrustRootReport,
    /// Networks looser than the default of forge-1.
    pub loosened: Vec<String>,
}

impl AppState {
    /// Shares the parts.
    pub fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl Deref for AppState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
