//! nginx, Caddy and Traefik in front of a control plane, as `deploy/proxies` configures them.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::support::{
    Answer, ControlPlane, Running, curl, installed, start_agent, start_backend, wait_until,
};

/// Apps are one label below it.
pub const APP_DOMAIN: &str = "apps.test";
/// The public name of the control plane: one that every machine resolves.
pub const CONTROL_HOST: &str = "localhost";

/// A control plane, its agents and what they serve; all ends with this.
pub struct World {
    pub control: ControlPlane,
    /// The demo backend.
    pub backend: String,
    _processes: Vec<Running>,
    /// Agents of further apps.
    added: Vec<(String, Running)>,
    dir: tempfile::TempDir,
}

impl World {
    /// The app hello on the node one, over the demo backend.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let public_url = format!("https://{CONTROL_HOST}");
        let settings = [
            ("EE_APP_DOMAIN", APP_DOMAIN),
            ("EE_PUBLIC_URL", &public_url),
        ];
        let control = ControlPlane::start(dir.path(), &settings);
        let (process, backend) = start_backend();
        let agent = start_agent(&control, "one", &backend, &[]);
        control.wait_until_eligible("hello", 1);
        Self {
            control,
            backend,
            _processes: vec![process, agent],
            added: Vec::new(),
            dir,
        }
    }

    /// One more app over a backend of its own.
    pub fn add_app(&mut self, app: &str, backend: &str) {
        let agent = self.start_app(app, backend);
        self.added.push((app.to_owned(), agent));
    }

    /// Takes an app away that was added.
    pub fn end_app(&mut self, app: &str) {
        self.added.retain(|(name, _)| name != app);
    }

    /// An app that a test takes away: without a tunnel it is refused.
    pub fn add_app_without_tunnel(&self, app: &str) {
        drop(self.start_app(app, &self.backend));
        wait_until("the agent is gone", || {
            self.authz(app).header("x-ee-reason") == Some("no_tunnel")
        });
    }

    fn start_app(&self, app: &str, backend: &str) -> Running {
        let settings = [("EE_APP_NAME", app)];
        let agent = start_agent(&self.control, &format!("{app}-1"), backend, &settings);
        self.control.wait_until_eligible(app, 1);
        agent
    }

    /// What `/v1/authz/{app}` says.
    pub fn authz(&self, app: &str) -> Answer {
        curl(&[&format!("{}/v1/authz/{app}", self.control.api)])
    }

    /// Every proxy that is installed, in front of this control plane.
    pub fn fronts(&self) -> Vec<Front> {
        let fronts = [
            self.nginx(),
            self.nginx_with_tls(),
            self.caddy(),
            self.traefik(),
        ];
        fronts.into_iter().flatten().collect()
    }

    /// nginx, which speaks plain HTTP/1.1 here.
    pub fn nginx(&self) -> Option<Front> {
        let (folder, port) = self.folder("nginx");
        self.start_nginx("nginx", &folder, port, "", None)
    }

    /// nginx with a certificate, which speaks HTTP/2 as well.
    pub fn nginx_with_tls(&self) -> Option<Front> {
        let (folder, port) = self.folder("nginx-tls");
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        let names = vec![format!("*.{APP_DOMAIN}"), CONTROL_HOST.to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("names");
        let write = |path: &Path, label, der: &[u8]| {
            fs::write(path, pem(label, der)).expect("disk space");
        };
        write(&certificate, "CERTIFICATE", made.cert.der());
        write(&key, "PRIVATE KEY", &made.signing_key.serialize_der());
        let tls = format!(
            "ssl_certificate {};\nssl_certificate_key {};\n",
            certificate.display(),
            key.display()
        );
        fs::write(folder.join("tls.conf"), tls).expect("disk space");
        self.start_nginx("nginx-tls", &folder, port, " ssl http2", Some(certificate))
    }

    fn start_nginx(
        &self,
        name: &'static str,
        folder: &Path,
        port: u16,
        protocols: &str,
        root: Option<PathBuf>,
    ) -> Option<Front> {
        let program = installed("nginx")?;
        self.fill("nginx", "nginx.conf", folder, port, protocols);
        let mut command = Command::new(program);
        command.arg("-c").arg(folder.join("nginx.conf"));
        command.args(["-g", "daemon off; master_process off;"]);
        Some(Front::start(name, command, port, root))
    }

    /// Caddy, with its own certificate authority.
    pub fn caddy(&self) -> Option<Front> {
        let program = installed("caddy")?;
        let (folder, port) = self.folder("caddy");
        self.fill("caddy", "Caddyfile", &folder, port, "");
        let mut command = Command::new(program);
        command.args(["run", "--adapter", "caddyfile", "--config"]);
        command.arg(folder.join("Caddyfile")).env("HOME", &folder);
        let root = folder.join("pki/authorities/local/root.crt");
        Some(Front::start("caddy", command, port, Some(root)))
    }

    /// Traefik, which speaks plain HTTP here.
    pub fn traefik(&self) -> Option<Front> {
        let program = installed("traefik")?;
        let (folder, port) = self.folder("traefik");
        for file in ["routes.yaml", "traefik.yaml"] {
            self.fill("traefik", file, &folder, port, "");
        }
        let mut command = Command::new(program);
        let file = folder.join("traefik.yaml");
        command.arg(format!("--configFile={}", file.display()));
        let front = Front::start("traefik", command, port, None);
        // It listens before it has read its routes, and answers 404 until then.
        wait_until("traefik has its routes", || {
            front.curl(CONTROL_HOST, "/health", &[]).status == 200
        });
        Some(front)
    }

    fn folder(&self, name: &str) -> (PathBuf, u16) {
        let folder = self.dir.path().join(name);
        fs::create_dir_all(&folder).expect("disk space");
        (folder, free_port())
    }

    fn fill(&self, program: &str, file: &str, folder: &Path, port: u16, protocols: &str) {
        let template = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../deploy/proxies")
            .join(program)
            .join(format!("{file}.template"));
        let address = |url: &str| url.trim_start_matches("http://").to_owned();
        let filled = fs::read_to_string(template)
            .expect("part of the repository")
            .replace("@@RUN_DIR@@", &folder.display().to_string())
            .replace("@@LISTEN@@", &format!("127.0.0.1:{port}{protocols}"))
            .replace("@@BIND@@", "127.0.0.1")
            .replace("@@HTTP_PORT@@", &free_port().to_string())
            .replace("@@HTTPS_PORT@@", &port.to_string())
            .replace("@@ISSUER@@", "internal")
            .replace("@@CONTROL_HOST@@", CONTROL_HOST)
            .replace("@@APP_DOMAIN@@", APP_DOMAIN)
            .replace("@@CONTROL@@", &address(&self.control.api))
            .replace("@@PROXY@@", &address(&self.control.proxy));
        fs::write(folder.join(file), filled).expect("disk space");
    }
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").port()
}

/// A byte stream to a proxy, TLS or not.
pub trait Stream: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin> Stream for T {}

/// A running proxy.
pub struct Front {
    pub name: &'static str,
    _process: Running,
    port: u16,
    /// The certificate authority, if it speaks TLS.
    root: Option<PathBuf>,
}

impl Front {
    fn start(name: &'static str, command: Command, port: u16, root: Option<PathBuf>) -> Self {
        let process = Running::start(command);
        wait_until(&format!("{name} listens"), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self {
            name,
            _process: process,
            port,
            root,
        }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        match self.root {
            Some(_) => "https",
            None => "http",
        }
    }

    /// Arguments that bring curl to `path` of `host` by way of this proxy.
    pub fn arguments(&self, host: &str, path: &str) -> Vec<String> {
        let mut arguments = vec!["--connect-to".to_owned(), "::127.0.0.1:".to_owned()];
        if let Some(root) = &self.root {
            arguments.extend(["--cacert".to_owned(), root.display().to_string()]);
        }
        arguments.push(self.url(host, path));
        arguments
    }

    /// The address of `path` of `host` at this proxy.
    pub fn url(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme(), self.port)
    }

    /// What curl may be told to speak: HTTP/2 takes TLS.
    pub fn versions(&self) -> &'static [&'static str] {
        match self.root {
            Some(_) => &["--http1.1", "--http2"],
            None => &["--http1.1"],
        }
    }

    /// One request by curl.
    pub fn curl(&self, host: &str, path: &str, more: &[&str]) -> Answer {
        let arguments = self.arguments(host, path);
        let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
        all.extend(more);
        curl(&all)
    }

    /// What an agent must be told to come by way of this proxy.
    pub fn agents_way(&self) -> Vec<(&'static str, String)> {
        let url = self.url(CONTROL_HOST, "/v1/tunnel");
        let way = ("EE_CONTROL_WS", url.replacen("http", "ws", 1));
        let root = self.root.iter();
        let trust = root.map(|root| ("EE_CONTROL_CA_PATH", root.display().to_string()));
        [way].into_iter().chain(trust).collect()
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Whose certificates are to be trusted, if it speaks TLS.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// A connection for requests to `host`.
    pub async fn connect(&self, host: &str) -> Box<dyn Stream> {
        self.dial(host, &[]).await
    }

    /// One that speaks HTTP/2: agreed upon in TLS, else known before.
    pub async fn connect_by_http2(&self, host: &str) -> Box<dyn Stream> {
        self.dial(host, &[b"h2"]).await
    }

    async fn dial(&self, host: &str, protocols: &[&[u8]]) -> Box<dyn Stream> {
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", self.port));
        let socket = socket.await.expect("the proxy listens");
        let Some(root) = &self.root else {
            return Box::new(socket);
        };
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let mut config = tls(root);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        Box::new(
            connector
                .connect(name, socket)
                .await
                .expect("a certificate"),
        )
    }
}

fn tls(root: &Path) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(root).expect("Caddy made it");
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring's versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
