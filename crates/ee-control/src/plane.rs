//! The live half's single writer: owns the registry, keeps it in the store, publishes routes.
//!
//! A handle and a future, and no mutex between them: sessions send what happened, the future
//! decides (ee-core), persists, publishes, answers, in this order. **Invariants:** nothing is
//! published or acknowledged before it is durable; a closing gate acts at once; a failed or
//! unfinished registration changes nothing that another session holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ee_core::{
    attestation::{AttestationCode, Failure},
    books::funding::StakeStanding,
    facts::Dependency,
    observer::DependencyState,
    policy::LivePolicy,
    registry::{Registry, TunnelId},
    routing::Offer,
    session::{Admission, AttestedRegistration, ChallengeAnswer, Event, Order, Registration},
};
use ee_protocol::{
    names::{AppName, NodeId, ReleaseTag, Repo},
    report_data::Digest,
};
use ee_store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::{ports::Clock, routes::Routes};

mod events;
mod gates;
mod publish;
mod rows;
mod sightings;
mod writer;

pub use writer::Plane;

/// Messages that wait for the writer: one for each un-attested session that may exist. Beyond it
/// senders wait, which slows the storm instead of growing memory.
const QUEUE_MAX: usize = 16_384;

/// The way to one tunnel: carries its requests, and the plane's orders to its session.
pub trait TunnelLink: Clone + Send + Sync + 'static {
    /// Hands an order to the session. Never blocks; an order to a dead session is dropped.
    fn order(&self, order: Order);
}

/// What the books say of apps and nodes, as far as routing goes by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gates {
    /// Apps with a payer that no lock pays for now.
    pub unfunded: BTreeSet<AppName>,
    /// How nodes' stakes compare with what is demanded.
    pub stakes: BTreeMap<NodeId, StakeStanding>,
    /// Nodes that are banned.
    pub banned: BTreeSet<NodeId>,
    /// What nodes offer; absent: no price was posted, or nothing was attested.
    pub offers: BTreeMap<NodeId, Offer>,
}

/// What is asked of the plane.
pub(crate) enum Message<L> {
    AskChallenge(Box<Registration>, oneshot::Sender<ChallengeAnswer>),
    Attested(Join<L>),
    Event(TunnelId, Event),
    NodeKeys(NodeId, Vec<Digest>),
    Reattest(Repo, ReleaseTag),
    ReattestNode(NodeId),
    OrderAll(Order),
    Beat(Vec<(Dependency, DependencyState)>),
    Gates(Gates),
    StopObserving(oneshot::Sender<()>),
}

/// An attested session that wants to join.
pub(crate) struct Join<L> {
    pub(crate) tunnel: TunnelId,
    pub(crate) link: L,
    pub(crate) attested: Box<AttestedRegistration>,
    pub(crate) reply: oneshot::Sender<Admission>,
}

/// Handle to the plane.
pub struct PlaneHandle<L> {
    sender: mpsc::Sender<Message<L>>,
    routes: Arc<Routes<L>>,
    next_tunnel: Arc<AtomicU64>,
}

impl<L> Clone for PlaneHandle<L> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            routes: Arc::clone(&self.routes),
            next_tunnel: Arc::clone(&self.next_tunnel),
        }
    }
}

/// Reads apps and nodes from the store and publishes them; no tunnel is open yet. The caller runs
/// [`Plane::run`].
///
/// # Errors
/// When the store cannot be read.
pub async fn open<L: TunnelLink>(
    store: Store,
    policy: Arc<LivePolicy>,
    clock: Arc<dyn Clock>,
) -> Result<(PlaneHandle<L>, Plane<L>), StoreError> {
    let live = store.load_live().await?;
    let registry = Registry::restore(
        live.apps.into_iter().map(rows::app),
        live.nodes.into_iter().map(rows::node),
    );
    let routes = Arc::new(Routes::new(Arc::clone(&policy)));
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let plane = Plane::new(
        registry,
        store,
        policy,
        clock,
        Arc::clone(&routes),
        receiver,
    );
    let handle = PlaneHandle {
        sender,
        routes,
        next_tunnel: Arc::new(AtomicU64::new(1)),
    };
    Ok((handle, plane))
}

impl<L: TunnelLink> PlaneHandle<L> {
    /// An id for a tunnel that was just accepted.
    pub fn new_tunnel_id(&self) -> TunnelId {
        TunnelId(self.next_tunnel.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether this registration may be challenged, as far as is known before any evidence.
    pub async fn ask_challenge(&self, registration: &Registration) -> ChallengeAnswer {
        let (reply, answer) = oneshot::channel();
        self.tell(Message::AskChallenge(Box::new(registration.clone()), reply))
            .await;
        answer
            .await
            .unwrap_or_else(|_| ChallengeAnswer::Refused(gone().into()))
    }

    /// Lets an attested session join, or says why not. Answered after the commit.
    pub async fn attested(
        &self,
        tunnel: TunnelId,
        link: L,
        attested: Box<AttestedRegistration>,
    ) -> Admission {
        let (reply, answer) = oneshot::channel();
        self.tell(Message::Attested(Join {
            tunnel,
            link,
            attested,
            reply,
        }))
        .await;
        answer.await.unwrap_or_else(|_| Admission::Deferred(gone()))
    }

    /// Reports any other event of a session.
    pub async fn emit(&self, tunnel: TunnelId, event: Event) {
        self.tell(Message::Event(tunnel, event)).await;
    }

    /// Asks every agent to reconnect elsewhere: the control plane is about to stop.
    pub async fn drain(&self) {
        self.tell(Message::OrderAll(Order::Drain)).await;
    }

    /// Closes every tunnel: the drain is over.
    pub async fn shut_down(&self) {
        self.tell(Message::OrderAll(Order::Shutdown)).await;
    }

    /// Challenges every node of a release again: its reference values changed.
    pub async fn reattest(&self, repo: Repo, tag: ReleaseTag) {
        self.tell(Message::Reattest(repo, tag)).await;
    }

    /// Challenges a node again: its evidence would now be judged otherwise.
    pub async fn reattest_node(&self, node: NodeId) {
        self.tell(Message::ReattestNode(node)).await;
    }

    /// Replaces the live tokens (SHA-256) of a node: from then on its id needs a proof.
    pub async fn set_node_keys(&self, node: NodeId, keys: Vec<Digest>) {
        self.tell(Message::NodeKeys(node, keys)).await;
    }

    /// Applies what the books say of apps and nodes.
    pub async fn gate(&self, gates: Gates) {
        self.tell(Message::Gates(gates)).await;
    }

    /// Everything that happened so far is noted for the books, and which dependencies answer.
    pub async fn beat(&self, dependencies: Vec<(Dependency, DependencyState)>) {
        self.tell(Message::Beat(dependencies)).await;
    }

    /// Ends the observation of nodes on purpose; returns when the books know, or cannot.
    pub async fn stop_observing(&self) {
        let (reply, answer) = oneshot::channel();
        self.tell(Message::StopObserving(reply)).await;
        let _nobody_observed = answer.await.is_err();
    }

    /// What readers see; no lock, no wait.
    pub fn routes(&self) -> &Routes<L> {
        &self.routes
    }

    /// The plane ends only with the process; a message to it then is of no consequence.
    async fn tell(&self, message: Message<L>) {
        let _ended = self.sender.send(message).await.is_err();
    }
}

/// What an agent hears while the plane or its store does not answer: not its fault, try again.
fn gone() -> Failure {
    Failure::new(AttestationCode::LogUnavailable)
}
