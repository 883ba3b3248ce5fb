//! A simulated platform, a release source and a collateral source behind an attestor.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ee_attest::root::TrustRoot;
use ee_control::{
    attestation::{Attestor, AttestorParts, NetworkPolicies},
    ports::{
        Clock, CollateralError, CollateralKey, CollateralSource, DigestSource, FetchedItem, Inline,
        ReleaseAsset, ReleaseError, ReleaseFetch, ReleaseKey, ReleaseSource,
    },
};
use ee_core::{
    attestation::{Provenance, Verdict},
    session::{Attested, ChallengeReason, Registration, VerificationRequest},
};
use ee_protocol::{
    names::{AgentId, Network, NodeId},
    report_data::{Binding, BindingFields, ReportData, Role, sha256},
    time::Timestamp,
    tunnel::{AttestResponse, InnerTlsMode},
};
use ee_store::Store;
use ee_testbed::{DemoImage, QuoteVersion, SimOptions, SimPlatform, Td};
use futures_util::{FutureExt, future::BoxFuture};

/// 2026-01-15, when the simulated certificates are valid.
pub const START_S: i64 = 1_768_435_200;
pub const SEED: u64 = 7;
/// Makes pseudonyms of platforms.
pub const PLATFORM_KEY: [u8; 32] = [3; 32];

#[derive(Default)]
pub struct TestClock {
    wall_s: AtomicI64,
    running_s: AtomicI64,
}

impl TestClock {
    pub fn set(&self, unix_s: i64) {
        self.wall_s.store(unix_s, Ordering::SeqCst);
    }

    pub fn pass(&self, span: Duration) {
        let seconds = i64::try_from(span.as_secs()).unwrap();
        self.wall_s.fetch_add(seconds, Ordering::SeqCst);
        self.running_s.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn unix_s(&self) -> u64 {
        u64::try_from(self.wall_s.load(Ordering::SeqCst)).unwrap()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.wall_s.load(Ordering::SeqCst))
    }

    fn running(&self) -> Option<Duration> {
        let seconds = self.running_s.load(Ordering::SeqCst);
        Some(Duration::from_secs(seconds.unsigned_abs()))
    }
}

/// Releases by repository and tag, or an error for every question.
#[derive(Default)]
pub struct FakeReleases {
    pub assets: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    pub error: Mutex<Option<ReleaseError>>,
    pub asked: Mutex<Vec<String>>,
    pub provenance: Mutex<Option<Provenance>>,
    /// The tag of a release whose source never answers.
    pub hangs: Mutex<Option<String>>,
    /// Questions that have begun.
    begun: AtomicI64,
}

impl FakeReleases {
    pub fn publish(&self, image: &DemoImage, content: impl Into<Vec<u8>>) {
        let key = (DemoImage::REPO.to_owned(), image.tag().to_owned());
        self.assets.lock().unwrap().insert(key, content.into());
    }

    pub fn fail(&self, error: Option<ReleaseError>) {
        *self.error.lock().unwrap() = error;
    }

    pub fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Questions that have begun and are not answered.
    pub fn waiting(&self) -> usize {
        usize::try_from(self.begun.load(Ordering::SeqCst)).unwrap() - self.asked()
    }

    fn answer(
        &self,
        release: &ReleaseKey,
        etag: Option<&str>,
    ) -> Result<ReleaseFetch, ReleaseError> {
        self.asked.lock().unwrap().push(release.to_string());
        if let Some(error) = self.error.lock().unwrap().clone() {
            return Err(error);
        }
        let assets = self.assets.lock().unwrap();
        let Some(content) = assets.get(&release.identity()) else {
            return Err(ReleaseError::NotFound {
                what: release.to_string(),
            });
        };
        let digest = sha256(content);
        let current = hex::encode(digest);
        if etag == Some(&current) {
            return Ok(ReleaseFetch::NotModified);
        }
        Ok(ReleaseFetch::Found(ReleaseAsset {
            content: Bytes::from(content.clone()),
            digest,
            digest_source: DigestSource::Published,
            provenance: self
                .provenance
                .lock()
                .unwrap()
                .unwrap_or(Provenance::Release),
            etag: Some(current),
        }))
    }
}

impl ReleaseSource for FakeReleases {
    fn name(&self) -> String {
        "fake github".to_owned()
    }

    fn fetch<'a>(
        &'a self,
        release: &'a ReleaseKey,
        etag: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ReleaseFetch, ReleaseError>> {
        async move {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let hangs = self.hangs.lock().unwrap().as_deref() == Some(release.tag.as_str());
            if hangs {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            self.answer(release, etag)
        }
        .boxed()
    }
}

/// What an endpoint does.
#[derive(Clone)]
pub enum Pcs {
    /// Serves fresh collateral of this platform.
    Serves(SimPlatform),
    /// Serves valid, but older collateral.
    RolledBack(SimPlatform),
    /// Answers 503.
    Down,
}

pub struct FakeEndpoints {
    pub clock: Arc<TestClock>,
    pub endpoints: Mutex<Vec<Pcs>>,
    pub asked: Mutex<Vec<String>>,
    /// The `Date` of every answer.
    pub date: Mutex<Option<Timestamp>>,
}

impl FakeEndpoints {
    pub fn set(&self, endpoints: Vec<Pcs>) {
        *self.endpoints.lock().unwrap() = endpoints;
    }

    pub fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn answer(&self, endpoint: usize, key: &CollateralKey) -> Result<FetchedItem, CollateralError> {
        self.asked.lock().unwrap().push(format!("{endpoint}:{key}"));
        let now = self.clock.unix_s();
        let endpoints = self.endpoints.lock().unwrap().clone();
        let (platform, collateral) = match &endpoints[endpoint] {
            Pcs::Serves(platform) => (platform, platform.collateral(now)),
            Pcs::RolledBack(platform) => (platform, platform.rolled_back_collateral(now)),
            Pcs::Down => {
                return Err(CollateralError::Outage {
                    detail: "status 503".to_owned(),
                });
            }
        };
        let items = collateral.pcs_items();
        let (item, chain) = match key {
            CollateralKey::TcbInfo { fmspc } if *fmspc != platform.collateral_fmspc() => {
                return Err(CollateralError::NotFound);
            }
            CollateralKey::TcbInfo { .. } => {
                (items.tcb_info, Some(collateral.tcb_info_issuer_chain))
            }
            CollateralKey::QeIdentity => {
                (items.qe_identity, Some(collateral.qe_identity_issuer_chain))
            }
            CollateralKey::PckCrl { .. } => (items.pck_crl, Some(collateral.pck_crl_issuer_chain)),
            CollateralKey::RootCrl => (items.root_crl, None),
        };
        Ok(FetchedItem {
            body: Bytes::from(item.body),
            issuer_chain_pem: chain,
            date: *self.date.lock().unwrap(),
        })
    }
}

impl CollateralSource for FakeEndpoints {
    fn endpoints(&self) -> Vec<String> {
        (0..self.endpoints.lock().unwrap().len())
            .map(|n| format!("pccs-{n}"))
            .collect()
    }

    fn fetch<'a>(
        &'a self,
        endpoint: usize,
        key: &'a CollateralKey,
    ) -> BoxFuture<'a, Result<FetchedItem, CollateralError>> {
        async move {
            tokio::task::yield_now().await;
            self.answer(endpoint, key)
        }
        .boxed()
    }
}

/// Everything around one attestor.
/// Where every answer comes from.
pub const STRANGER: std::net::IpAddr =
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));

pub struct World {
    pub attestor: Arc<Attestor>,
    pub clock: Arc<TestClock>,
    pub releases: Arc<FakeReleases>,
    pub endpoints: Arc<FakeEndpoints>,
    pub store: Store,
    pub platform: SimPlatform,
    pub image: DemoImage,
    pub policies: NetworkPolicies,
    pub directory: Option<PathBuf>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(SimOptions::default()).await
    }

    pub async fn with(options: SimOptions) -> Self {
        Self::build(options, NetworkPolicies::default(), None).await
    }

    pub async fn build(
        options: SimOptions,
        policies: NetworkPolicies,
        directory: Option<PathBuf>,
    ) -> Self {
        let platform = SimPlatform::new(SEED, options);
        let clock = Arc::new(TestClock::default());
        clock.set(START_S);
        let releases = Arc::new(FakeReleases::default());
        let image = DemoImage::new(SEED);
        releases.publish(&image, image.allowlist_json());
        let endpoints = Arc::new(FakeEndpoints {
            clock: Arc::clone(&clock),
            endpoints: Mutex::new(vec![Pcs::Serves(platform.clone())]),
            asked: Mutex::default(),
            date: Mutex::default(),
        });
        let store = Store::in_memory().unwrap();
        let mut world = Self {
            attestor: open(
                &clock, &releases, &endpoints, &store, &platform, &policies, &directory,
            )
            .await,
            clock,
            releases,
            endpoints,
            store,
            platform,
            image,
            policies,
            directory,
        };
        world.restart().await;
        world
    }

    /// A new process over the same store and directory.
    pub async fn restart(&mut self) {
        let Self {
            clock,
            releases,
            endpoints,
            store,
            platform,
            policies,
            directory,
            ..
        } = self;
        self.attestor = open(
            clock, releases, endpoints, store, platform, policies, directory,
        )
        .await;
    }

    /// What a good agent on forge-1 answers to a challenge.
    pub fn good(&self) -> Answer {
        Answer {
            registration: registration(Network::Forge1),
            image: self.image.clone(),
            td: self.image.td(),
            platform: self.platform.clone(),
            version: QuoteVersion::V4,
            nonce: [7; 32],
            binding: channel(1),
            reason: ChallengeReason::Register,
            attested_before: Attested::No,
            node_keys: Vec::new(),
            event_log: false,
            collateral: None,
        }
    }

    pub async fn verdict(&self, answer: Answer) -> Verdict {
        self.attestor
            .verify(Box::new(answer.request(self.clock.now())), STRANGER)
            .await
    }

    pub async fn reason(&self, answer: Answer) -> String {
        reason(&self.verdict(answer).await)
    }
}

async fn open(
    clock: &Arc<TestClock>,
    releases: &Arc<FakeReleases>,
    endpoints: &Arc<FakeEndpoints>,
    store: &Store,
    platform: &SimPlatform,
    policies: &NetworkPolicies,
    directory: &Option<PathBuf>,
) -> Arc<Attestor> {
    Attestor::open(AttestorParts {
        store: store.clone(),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        offload: Arc::new(Inline),
        releases: Arc::clone(releases) as Arc<dyn ReleaseSource>,
        collateral: Arc::clone(endpoints) as Arc<dyn CollateralSource>,
        root: TrustRoot::new("simulated", platform.root_der()).unwrap(),
        policies: policies.clone(),
        collateral_dir: directory.clone(),
        seed: [1; 32],
        platform_key: PLATFORM_KEY,
    })
    .await
    .unwrap()
}

/// An agent's answer, before it is a message.
#[derive(Clone)]
pub struct Answer {
    pub registration: Registration,
    pub image: DemoImage,
    pub td: Td,
    pub platform: SimPlatform,
    pub version: QuoteVersion,
    pub nonce: [u8; 32],
    pub binding: Binding,
    pub reason: ChallengeReason,
    pub attested_before: Attested,
    pub node_keys: Vec<[u8; 32]>,
    pub event_log: bool,
    pub collateral: Option<serde_json::Value>,
}

impl Answer {
    /// The report data that binds the quote to this challenge.
    pub fn report_data(&self) -> ReportData {
        let registration = &self.registration;
        let fields = BindingFields {
            role: Role::Agent,
            nonce: &self.nonce,
            reason: self.reason.as_str(),
            network: registration.network.as_str(),
            repo: registration.repo.as_str(),
            release_tag: registration.release_tag.as_str(),
            app_name: registration.app_name.as_str(),
            agent_id: registration.agent_id.as_str(),
            node_id: registration.node_id.as_str(),
            binding: &self.binding,
        };
        ReportData::new(&self.image.claims().digest(), &fields.digest())
    }

    pub fn request(self, now: Timestamp) -> VerificationRequest {
        let report_data = self.report_data();
        self.request_with(now, report_data)
    }

    /// The message, over any report data.
    pub fn response(&self, report_data: &ReportData) -> AttestResponse {
        let quote = self.platform.quote(&self.td, self.version, &report_data.0);
        AttestResponse {
            nonce: hex::encode(self.nonce),
            quote: Some(STANDARD.encode(quote)),
            report_data: Some(hex::encode(report_data.0)),
            measurements: Some(serde_json::to_value(self.image.claims()).unwrap()),
            event_log: self.event_log.then(|| self.image.event_log()),
            collateral: self.collateral.clone(),
            ..AttestResponse::default()
        }
    }

    /// The same with other report data: a quote made for another challenge.
    pub fn request_with(self, now: Timestamp, report_data: ReportData) -> VerificationRequest {
        let response = self.response(&report_data);
        VerificationRequest {
            registration: self.registration,
            nonce: self.nonce,
            reason: self.reason,
            binding: self.binding,
            node_keys: self.node_keys,
            response,
            received_at: now,
            attested_before: self.attested_before,
        }
    }
}

pub fn registration(network: Network) -> Registration {
    Registration {
        repo: DemoImage::REPO.parse().unwrap(),
        release_tag: DemoImage::TAG.parse().unwrap(),
        app_name: "hello".parse().unwrap(),
        network,
        agent_id: AgentId::parse("agent-1").unwrap(),
        node_id: NodeId::parse("node-1").unwrap(),
        instance: None,
        max_inflight: None,
        vcpus: None,
        inner_tls: InnerTlsMode::Required,
        mux: ee_core::session::Mux::H2,
        epochs: false,
    }
}

/// A TLS session, told from others by its number.
pub fn channel(number: u8) -> Binding {
    Binding::TlsExporter {
        exporter: [number; 32],
        agent_spki: [number + 100; 32],
        control_spki: [200; 32],
    }
}

/// `pass`, or the reason; `~` marks what could not be judged.
pub fn reason(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass(_) => "pass".to_owned(),
        Verdict::Fail(failure) => {
            assert!(
                !failure.refusals.is_empty(),
                "{} is not explained",
                failure.reason()
            );
            failure.reason()
        }
        Verdict::Indeterminate(failure) => {
            assert!(
                !failure.refusals.is_empty(),
                "{} is not explained",
                failure.reason()
            );
            format!("~{}", failure.reason())
        }
    }
}
