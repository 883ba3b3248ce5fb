//! A whole control plane over a simulated platform, with one honest app that must go on serving
//! whatever is done to the rest.

use std::{
    fs,
    net::SocketAddr,
    panic,
    path::Path,
    sync::{
        Arc, LazyLock, Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ee_attest::TrustRoot;
use ee_control::ports::Clock;
use ee_protocol::settings::{SecretRule, Sources};
use ee_server::{RunningServer, Server, ServerOptions, Settings, clock::SystemClock};
use ee_testbed::{DEFAULT_SEED, DemoImage, MockPcs, SimOptions, SimPlatform};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::peer::{Peer, Prover, Registration, Serving};

/// Longer than anything takes here, short enough for a hung test to fail soon.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for what was wrongly accepted to show, where nothing should happen.
pub const A_MOMENT: Duration = Duration::from_millis(50);
/// An admin token for tests.
pub const ADMIN: &str = "admin-token-0123456789abcdef";
/// The app that nobody attacks, and the agent that serves it.
pub const BYSTANDER: &str = "bystander";
/// The repository of a tenant who is honest by the rules and means harm: its own image is
/// allowed, so it passes the attestation for its own release.
pub const OTHER_REPO: &str = "mallory/app";

const ASSET: &str = "agent-attestation-allowlist.json";
const OTHER_IMAGE_SEED: u64 = 666;

static PLATFORM: LazyLock<SimPlatform> =
    LazyLock::new(|| SimPlatform::new(DEFAULT_SEED, SimOptions::default()));
static PANICS: AtomicUsize = AtomicUsize::new(0);
static WATCH_PANICS: Once = Once::new();

/// The platform that the control plane trusts.
pub fn platform() -> SimPlatform {
    PLATFORM.clone()
}

/// The image of the victim's release.
pub fn image() -> DemoImage {
    DemoImage::new(DEFAULT_SEED)
}

/// The image of the other tenant's release.
pub fn other_image() -> DemoImage {
    DemoImage::new(OTHER_IMAGE_SEED)
}

/// Seconds since the Unix epoch.
pub fn unix_now() -> u64 {
    SystemClock.now().unix_seconds().unsigned_abs()
}

/// A control plane, its upstreams, and the bystander.
pub struct World {
    pub server: RunningServer,
    pub pcs: MockPcs,
    pub dir: TempDir,
    bystander: Serving,
}

impl World {
    /// Starts everything; the bystander serves when this returns.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same with these settings beside the usual.
    pub async fn with(pairs: &[(&str, &str)]) -> Self {
        Self::over(platform(), pairs).await
    }

    /// The same where the collateral is that of `upstream`, a platform under the same root. The
    /// bystander runs on a machine of its own.
    pub async fn over(upstream: SimPlatform, pairs: &[(&str, &str)]) -> Self {
        Self::built(upstream, pairs, Arc::new(SystemClock)).await
    }

    /// The same by a clock of the test's.
    pub async fn built(
        upstream: SimPlatform,
        pairs: &[(&str, &str)],
        clock: Arc<dyn Clock>,
    ) -> Self {
        watch_panics();
        let dir = tempfile::tempdir().expect("temporary directory");
        for (repo, image) in [(DemoImage::REPO, image()), (OTHER_REPO, other_image())] {
            publish(dir.path(), repo, image.tag(), &image.allowlist_json());
        }
        let pcs = MockPcs::start(upstream, unix_now).await.expect("mock PCS");
        let settings = settings(dir.path(), &pcs.url(), pairs);
        let root = TrustRoot::new("simulated", platform().root_der()).expect("root");
        let mut options = ServerOptions::new(root);
        options.clock = clock;
        let server = Server::start(settings, options).await.expect("started");
        let peer = Peer::connect(server.api_addr).await;
        let registration = Registration::new(BYSTANDER, "bystander-agent");
        let prover = Prover::good().with(|prover| prover.platform = platform().sibling(1));
        let bystander = peer.join(&registration, &prover).await.serve(BYSTANDER);
        Self {
            server,
            pcs,
            dir,
            bystander,
        }
    }

    /// Puts an allowlist in the operator's directory.
    pub fn publish(&self, repo: &str, tag: &str, allowlist: &str) {
        publish(self.dir.path(), repo, tag, allowlist);
    }

    /// A new connection to the tunnel's endpoint.
    pub async fn peer(&self) -> Peer {
        Peer::connect(self.server.api_addr).await
    }

    /// Bytes as they are to the proxy listener; the whole answer.
    pub async fn ask_proxy(&self, request: &str) -> Answer {
        ask(self.server.proxy_addr, request.as_bytes()).await
    }

    /// Bytes as they are to the API; the whole answer.
    pub async fn ask_api(&self, request: &str) -> Answer {
        ask(self.server.api_addr, request.as_bytes()).await
    }

    /// A GET of an app's front page.
    pub async fn get(&self, app: &str) -> Answer {
        let head = format!("GET / HTTP/1.1\r\nHost: {app}.localhost\r\nConnection: close\r\n\r\n");
        self.ask_proxy(&head).await
    }

    /// A GET that the agent never answers.
    pub async fn get_slowly(&self, app: &str) -> Answer {
        let head =
            format!("GET /never HTTP/1.1\r\nHost: {app}.localhost\r\nConnection: close\r\n\r\n");
        self.ask_proxy(&head).await
    }

    /// A `POST /v1/proxy/{app}` with this payload.
    pub async fn post_proxy(&self, app: &str, payload: &str) -> Answer {
        let head = format!(
            "POST /v1/proxy/{app} HTTP/1.1\r\nHost: control.localhost\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{payload}",
            payload.len()
        );
        self.ask_api(&head).await
    }

    /// What the control plane says about an app to anyone.
    pub async fn resolve(&self, app: &str) -> (u16, Value) {
        let head = format!(
            "GET /v1/resolve/{app} HTTP/1.1\r\nHost: control.localhost\r\nConnection: close\r\n\r\n"
        );
        let answer = self.ask_api(&head).await;
        (answer.status, answer.json())
    }

    /// What the control plane says about an app to its admin.
    pub async fn admin(&self, path: &str) -> Value {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: control.localhost\r\nConnection: close\r\n\
             Authorization: Bearer {ADMIN}\r\n\r\n"
        );
        self.ask_api(&head).await.json()
    }

    /// What must hold after every attack: the bystander serves, newcomers are judged, no task has
    /// panicked or died.
    pub async fn stands(self) {
        let answer = self.get(BYSTANDER).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, BYSTANDER),
            "{answer:?}"
        );
        assert!(self.bystander.is_open(), "the bystander's tunnel is gone");
        let mut newcomer = self.peer().await;
        newcomer
            .challenge(&Registration::new("newcomer", "newcomer"))
            .await;
        drop(newcomer);
        assert!(
            self.server.state.tasks.died().is_none(),
            "a task of the server died"
        );
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "the server panicked");
        // Tests hold sockets that answer no close frame: nothing is gained by waiting for them.
        self.server.shutdown();
    }
}

fn settings(dir: &Path, pcs_url: &str, pairs: &[(&str, &str)]) -> Settings {
    let path = |name: &str| dir.join(name).display().to_string();
    let (database, allowlists) = (path("control-plane.db"), path("allowlists"));
    let fixed = [
        ("EE_CONTROL_BIND", "127.0.0.1"),
        ("EE_CONTROL_PORT", "0"),
        ("EE_PROXY_BIND", "127.0.0.1"),
        ("EE_PROXY_PORT", "0"),
        ("EE_APP_DOMAIN", "localhost"),
        ("EE_DRAIN_SEC", "0"),
        // Production demands stake; these tests are about evidence.
        ("EE_STAKE_MIN_USD", "0"),
        ("EE_ADMIN_TOKEN", ADMIN),
        ("EE_ALLOWLIST_ASSET", ASSET),
        ("EE_PCCS_URL", pcs_url),
        ("EE_DB_PATH", &database),
        ("EE_ALLOWLIST_DIR", &allowlists),
    ];
    let all = fixed.iter().chain(pairs).copied();
    Settings::from_sources(&Sources::from_pairs(all), SecretRule::Strong).expect("settings")
}

fn publish(dir: &Path, repo: &str, tag: &str, allowlist: &str) {
    let folder = dir.join("allowlists").join(repo).join(tag);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(ASSET), allowlist).expect("written");
}

/// Counts panics outside the tests themselves: a panic in a task would otherwise pass unseen.
fn watch_panics() {
    WATCH_PANICS.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let in_test = info
                .location()
                .is_some_and(|at| at.file().contains("tests"));
            if !in_test {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            usual(info);
        }));
    });
}

/// An answer as it came, head and body apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// Every value of a field, in order.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let of_name = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.trim()).collect()
    }
}

/// Sends bytes to a listener and reads until it closes.
pub async fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(request).await.expect("sent");
    let mut bytes = Vec::new();
    // A listener that refuses may reset the connection while we still send.
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    read.expect("answered and closed in time").ok();
    parsed(&String::from_utf8_lossy(&bytes))
}

/// The answers of one connection, in order; none of them may hold a status line in its body.
pub fn split_answers(text: &str) -> Vec<Answer> {
    let status = |at: usize| text[at + 9..].starts_with(|digit: char| digit.is_ascii_digit());
    let starts = text.match_indices("HTTP/1.1 ").map(|(at, _)| at);
    let starts = starts.filter(|at| status(*at));
    let ends = starts.clone().skip(1).chain([text.len()]);
    starts
        .zip(ends)
        .map(|(from, to)| parsed(&text[from..to]))
        .collect()
}

fn parsed(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        joined_chunks(body)
    } else {
        body.to_owned()
    };
    Answer {
        status,
        head: head.to_owned(),
        body,
    }
}

fn joined_chunks(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || after.len() < size {
            break;
        }
        body.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    body
}
