//! A server on loopback with throw-away data, and a client for it.

use std::sync::Arc;

use ee_attest::TrustRoot;
use ee_control::ports::Clock;
use ee_protocol::settings::{SecretRule, Sources};
use ee_server::{
    RunningServer, Server, ServerOptions, Settings, StartError, auth::Announce, clock::SystemClock,
    upstream,
};
use ee_testbed::{DEFAULT_SEED, SimOptions, SimPlatform};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;

/// An admin token for tests.
pub const ADMIN: &str = "admin-token-0123456789abcdef";
/// A launcher token for tests.
pub const LAUNCHER: &str = "launcher-token-0123456789abcdef";
/// An uptime token for tests.
pub const UPTIME: &str = "uptime-token-0123456789abcdef";

/// A running server and its folder.
pub struct Running {
    pub server: RunningServer,
    pub dir: Arc<TempDir>,
    client: upstream::HttpClient,
}

impl Running {
    /// Starts a server with these settings beside the ones that keep it on loopback.
    pub async fn start(pairs: &[(&str, &str)]) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("temporary directory"));
        Self::start_in(&dir, pairs).await.expect("started")
    }

    /// Starts a server over the data of an earlier one.
    pub async fn start_in(dir: &Arc<TempDir>, pairs: &[(&str, &str)]) -> Result<Self, StartError> {
        Self::start_at(dir, pairs, Arc::new(SystemClock)).await
    }

    /// Starts a server that goes by this clock.
    pub async fn start_at(
        dir: &Arc<TempDir>,
        pairs: &[(&str, &str)],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let path = |name: &str| dir.path().join(name).display().to_string();
        let nowhere = format!("file://{}", path("collateral-source"));
        let fixed = [
            ("EE_CONTROL_BIND", "127.0.0.1"),
            ("EE_CONTROL_PORT", "0"),
            ("EE_PROXY_BIND", "127.0.0.1"),
            ("EE_PROXY_PORT", "0"),
            ("EE_APP_DOMAIN", "app.example.com"),
            ("EE_PUBLIC_URL", "https://control.example.com"),
            ("EE_DRAIN_SEC", "2"),
        ];
        let mut sources = Sources::from_pairs(fixed);
        sources
            .env
            .insert("EE_DB_PATH".into(), path("control-plane.db"));
        sources
            .env
            .insert("EE_ALLOWLIST_DIR".into(), path("allowlists"));
        sources.env.insert("EE_PCCS_URL".into(), nowhere);
        sources.env.extend(
            pairs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string())),
        );
        let settings = Settings::from_sources(&sources, SecretRule::Strong).expect("settings");
        let platform = SimPlatform::new(DEFAULT_SEED, SimOptions::default());
        let root = TrustRoot::new("simulated", platform.root_der()).expect("root");
        let mut options = ServerOptions::new(root);
        options.announce = Announce::File;
        options.clock = clock;
        let server = Server::start(settings, options).await?;
        let client = upstream::client().expect("client");
        Ok(Self {
            server,
            dir: Arc::clone(dir),
            client,
        })
    }

    /// A request to a path of the API.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.server.api_addr))
    }

    /// A GET without credentials.
    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path)
            .send()
            .await
            .expect("answered")
    }

    /// A GET with a bearer token: status and JSON body.
    pub async fn get_as(&self, token: &str, path: &str) -> (u16, Value) {
        answer(
            self.request(Method::GET, path)
                .bearer_auth(token)
                .send()
                .await
                .expect("answered"),
        )
        .await
    }

    /// The bootstrap token, from its file.
    pub fn bootstrap_token(&self) -> String {
        let path = self.dir.path().join("bootstrap-token");
        std::fs::read_to_string(path)
            .expect("written at start")
            .trim()
            .to_owned()
    }

    /// Stops the server and waits for it; its folder stays.
    pub async fn stop(self) -> Arc<TempDir> {
        self.server.shutdown();
        self.server.join().await.expect("nothing died");
        self.dir
    }
}

/// Status and JSON body of an answer; null if the body is no JSON.
pub async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap_or_default();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
