//! A plane under test: a clock moved by hand, links that remember their orders.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use ee_control::{
    plane::{self, PlaneHandle, TunnelLink},
    ports::Clock,
    proxy::{self, RouteRefusal},
    resolve::Endpoints,
};
use ee_core::{
    attestation::{AttestationResult, BindingStrength, Failure, Pinning, Provenance, TcbStatus},
    policy::LivePolicy,
    registry::TunnelId,
    session::{
        Admission, AttestedRegistration, Event, HealthWord, Heartbeat, Holder, NodeProof, Order,
        RefusedRegistration, Registration,
    },
};
use ee_protocol::{names::AppName, time::Timestamp, tunnel::Register};
use ee_store::Store;

#[derive(Debug, Clone, Default)]
pub struct Link(Arc<Mutex<Vec<Order>>>);

impl TunnelLink for Link {
    fn order(&self, order: Order) {
        self.0
            .lock()
            .expect("no test panics while it holds the list")
            .push(order);
    }
}

impl Link {
    pub fn orders(&self) -> Vec<Order> {
        self.0
            .lock()
            .expect("no test panics while it holds the list")
            .clone()
    }
}

pub struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A plane under test, and the clock that moves by hand.
pub struct World {
    pub plane: PlaneHandle<Link>,
    pub clock: Arc<HandClock>,
}

/// Runs a plane over `store` for as long as `test` takes.
pub async fn with_plane<F: Future<Output = ()>>(store: &Store, test: impl FnOnce(World) -> F) {
    let policy = Arc::new(LivePolicy::with_defaults([0x55; 32]));
    let (clock, port) = clock();
    let (plane, writer) = plane::open(store.clone(), policy, port)
        .await
        .expect("opens");
    tokio::select! {
        () = writer.run() => panic!("the writer ends after its handles"),
        () = test(World { plane, clock }) => {}
    }
}

/// A clock that moves by hand, and the same as a port.
pub fn clock() -> (Arc<HandClock>, Arc<dyn Clock>) {
    let clock = Arc::new(HandClock(AtomicI64::new(1_770_000_000_000_000)));
    let port: Arc<dyn Clock> = Arc::<HandClock>::clone(&clock);
    (clock, port)
}

impl World {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn wait(&self, span: Duration) {
        self.clock
            .0
            .store(self.now().after(span).unix_micros(), Ordering::SeqCst);
    }

    pub fn attested(&self, message: &Register) -> Box<AttestedRegistration> {
        let mut registration = Registration::parse(message).expect("a valid register");
        let policy = LivePolicy::with_defaults([0x55; 32]);
        registration.agree(message, &policy).expect("agreed terms");
        Box::new(AttestedRegistration {
            registration,
            result: result(self.now()),
            agent_key: Some([0x44; 32]),
            node_proof: NodeProof::NotRegistered,
            holder: Holder::NotAsked,
        })
    }

    pub async fn ask(&self, attested: Box<AttestedRegistration>) -> (TunnelId, Link, Admission) {
        let (tunnel, link) = (self.plane.new_tunnel_id(), Link::default());
        let admission = self.plane.attested(tunnel, link.clone(), attested).await;
        (tunnel, link, admission)
    }

    pub async fn join(&self, message: &Register) -> (TunnelId, Link) {
        let (tunnel, link, admission) = self.ask(self.attested(message)).await;
        assert!(
            matches!(admission, Admission::Joined { .. }),
            "{admission:?}"
        );
        (tunnel, link)
    }

    /// A stranger that calls itself `agent` is refused.
    pub async fn refuse(&self, id: &str, failure: Failure) {
        let refused = RefusedRegistration {
            registration: self.attested(&self::agent(id)).registration,
            refusal: failure.into(),
        };
        self.emit(TunnelId(9), Event::Refused(Box::new(refused)))
            .await;
    }

    /// Emits an event and waits until the plane has dealt with it.
    pub async fn emit(&self, tunnel: TunnelId, event: Event) {
        self.plane.emit(tunnel, event).await;
        self.settle().await;
    }

    /// Messages keep their order, and this one is answered in its own batch or a later one; the
    /// second round makes sure that the first batch has been published.
    pub async fn settle(&self) {
        for _ in 0..2 {
            let registration = self.attested(&register()).registration;
            self.plane.ask_challenge(&registration).await;
        }
    }

    pub fn choose(&self) -> Result<u64, RouteRefusal> {
        let lease = proxy::choose(self.plane.routes(), &app(), self.now(), 0)?;
        Ok(lease.tunnel().0)
    }
}

pub fn app() -> AppName {
    AppName::parse("myapp").expect("a name")
}

pub fn register() -> Register {
    Register {
        repo: "org/repo".into(),
        release_tag: "v0.1.3".into(),
        app_name: "myapp".into(),
        network: "forge-1".into(),
        agent_id: "uuid".into(),
        tunnel_version: Some("2".into()),
        capabilities: vec!["h2".into(), "itls".into()],
        instance: Some("boot-1".into()),
        max_inflight: Some(8),
        ..Register::default()
    }
}

pub fn agent(id: &str) -> Register {
    Register {
        agent_id: id.into(),
        ..register()
    }
}

pub fn result(at: Timestamp) -> AttestationResult {
    AttestationResult {
        at,
        trust_root: "simulated".into(),
        sealed: true,
        binding: BindingStrength::Channel,
        pinning: Pinning::Full,
        provenance: Provenance::Local,
        allowlist_digest: [1; 32],
        allowlist_entry: String::new(),
        tcb_status: TcbStatus::UpToDate,
        tcb_date: at,
        advisories: Vec::new(),
        flagged: false,
        tcb_eval_data_number: 20,
        evidence_digest: [2; 32],
        collateral_expires_at: Timestamp::from_unix_seconds(2_000_000_000),
        platform: Some([7; 32]),
    }
}

pub fn health(word: HealthWord) -> Event {
    Event::Health(Heartbeat {
        word,
        inflight: None,
        load_permille: None,
    })
}

pub fn endpoints() -> Endpoints {
    Endpoints {
        tunnel: "wss://control.example/v1/tunnel".into(),
        public_scheme: "https".into(),
        app_domain: Some("app.example".into()),
    }
}
