//! Settings of the control plane: read once, checked completely, reported all at once.
//!
//! The table in `table.rs` says what exists; [`Settings`] is what the rest of the server gets.
//! Nothing here has a default that is not in the table.

mod command;
mod file;
mod ledger;
mod networks;
mod policy;
mod table;
mod types;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ee_protocol::settings::{
    Origin, Problem, Reader, Secret, SecretRule, Sources, boolean, comma_list, integer, present,
    seconds,
};

use ee_agent::settings::TABLE as AGENT_TABLE;

pub use self::{
    command::{ConfigCommand, reference},
    file::ConfigFile,
    ledger::LedgerSettings,
    networks::{NetworkTable, NetworkTables},
    policy::NetworkPolicies,
    table::{CLIENT_TABLE, TABLE},
    types::{LogFormat, ProxyApi, PublicUrl, TlsPaths, TrustedProxies},
};

/// A day: longest sensible attestation interval and the unit of registration times.
const DAY_SECS: u64 = 24 * 60 * 60;
/// What is no ledger, where the ledger is in PostgreSQL.
const REGISTRY_FILE: &str = "registry.db";
/// A century of days: far beyond any registration, and safe from overflow.
const DAYS_MAX: u64 = 36_500;

/// All settings of the control plane, valid and complete.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the API and the tunnel endpoint.
    pub control_bind: SocketAddr,
    /// Address of the proxy listener.
    pub proxy_bind: SocketAddr,
    /// Where the API is reached from outside.
    pub public_url: PublicUrl,
    /// Domain below which apps live, lower case; none: the first Host label names the app.
    pub app_domain: Option<String>,
    /// Peers whose `X-Forwarded-*` and `X-EE-App` count.
    pub trusted_proxies: TrustedProxies,
    /// Who may call `POST /v1/proxy/{app}`.
    pub proxy_api: ProxyApi,
    /// TLS of both listeners; none: plain HTTP.
    pub tls: Option<TlsPaths>,
    /// Token of the role admin.
    pub admin_token: Option<Secret>,
    /// Token of the role launcher.
    pub launcher_token: Option<Secret>,
    /// Token of the role uptime.
    pub uptime_token: Option<Secret>,
    /// Refuse to start without an admin credential.
    pub require_auth_configured: bool,
    /// Name of the release asset with the allowlist.
    pub allowlist_asset: String,
    /// Local allowlists in place of GitHub.
    pub allowlist_dir: Option<PathBuf>,
    /// GitHub's API.
    pub github_api_url: String,
    /// Token for GitHub's API.
    pub github_token: Option<Secret>,
    /// Collateral endpoints in order of preference.
    pub pccs_urls: Vec<String>,
    /// Time between attestations.
    pub attest_interval: Duration,
    /// Time an agent has to answer a challenge.
    pub attest_deadline: Duration,
    /// Silence that is a missed health.
    pub health_timeout: Duration,
    /// Life of a registration.
    pub registration_ttl: Duration,
    /// Length of the warning window at its end.
    pub registration_warn: Duration,
    /// SQLite database.
    pub db_path: PathBuf,
    /// Collateral, keys, bootstrap token.
    pub data_dir: PathBuf,
    /// Grace for requests in flight at shutdown.
    pub drain: Duration,
    /// Settings of the ledger.
    pub ledger: LedgerSettings,
    /// Log filter.
    pub log: String,
    /// Log format.
    pub log_format: LogFormat,
    /// Policies of the networks.
    pub networks: NetworkPolicies,
}

/// Settings with everything `config show` and the start-up warnings need.
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The reader that found them: origins, redacted values, unknown variables.
    pub reader: Reader,
}

impl Settings {
    /// Settings from `sources`; every problem at once if there are any.
    pub fn from_sources(sources: &Sources, rule: SecretRule) -> Result<Self, Vec<Problem>> {
        load(sources, rule).map(|loaded| loaded.settings)
    }
}

/// Finds, parses and checks every setting, reading the file `EE_CONFIG` names.
pub fn load(sources: &Sources, rule: SecretRule) -> Result<Loaded, Vec<Problem>> {
    let mut sources = sources.clone();
    let config_path = [&sources.flags, &sources.env]
        .into_iter()
        .find_map(|layer| layer.get("EE_CONFIG").filter(|path| !path.is_empty()));
    let mut problems = Vec::new();
    let file = match config_path {
        Some(path) => file::read(path.as_ref()).unwrap_or_else(|mut found| {
            problems.append(&mut found);
            ConfigFile::default()
        }),
        None => ConfigFile::default(),
    };
    if config_path.is_some() {
        sources.file = Some(file.layer);
    }
    let networks = NetworkPolicies::from_tables(&file.networks).unwrap_or_else(|mut found| {
        problems.append(&mut found);
        NetworkPolicies::default()
    });
    let mut reader = Reader::new(TABLE, &sources, &known_elsewhere(), rule);
    let settings = read_settings(&mut reader, &sources, networks);
    problems.extend_from_slice(reader.problems());
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { settings, reader }),
        Some(_) | None => {
            // Alone they only warn; beside an error the slip of the pen may be its cause.
            problems.extend_from_slice(reader.unknown_variables());
            Err(problems)
        }
    }
}

/// Names that are not ours but belong to the agent or the command-line client.
fn known_elsewhere() -> Vec<&'static str> {
    let others = AGENT_TABLE.iter().chain(CLIENT_TABLE);
    others.map(|row| row.name).collect()
}

fn read_settings(
    reader: &mut Reader,
    sources: &Sources,
    networks: NetworkPolicies,
) -> Option<Settings> {
    let control_bind = bind(reader, "EE_CONTROL_BIND", "EE_CONTROL_PORT");
    let proxy_bind = bind(reader, "EE_PROXY_BIND", "EE_PROXY_PORT");
    let days = integer(1..=DAYS_MAX);
    let registration_ttl = reader
        .read("EE_REGISTRATION_TTL_DAYS", &days)
        .map(from_days);
    let registration_warn = reader
        .read("EE_REGISTRATION_WARN_DAYS", integer(0..=DAYS_MAX))
        .map(from_days);
    if registration_warn >= registration_ttl && registration_ttl.is_some() {
        reader.refuse(
            "EE_REGISTRATION_WARN_DAYS",
            "must be less than EE_REGISTRATION_TTL_DAYS",
        );
    }
    let db_path = database_path(reader, sources);
    let data_dir = reader.read("EE_DATA_DIR", present).map(PathBuf::from);
    let data_dir = data_dir.unwrap_or_else(|| directory_of(&db_path));
    let ledger = ledger::read(reader);
    let public_url = reader.read("EE_PUBLIC_URL", PublicUrl::parse);
    let trusted = reader.read(
        "EE_TRUSTED_PROXIES",
        comma_list(TrustedProxies::parse_network),
    );
    let proxy_api = reader.read("EE_PROXY_API", ProxyApi::parse);
    let require_auth_configured = reader.read("EE_REQUIRE_AUTH_CONFIGURED", boolean);
    let allowlist_asset = reader.read("EE_ALLOWLIST_ASSET", asset_name);
    let github_api_url = reader.read("EE_GITHUB_API_URL", upstream_url);
    let pccs_urls = reader.read("EE_PCCS_URL", comma_list(collateral_url));
    let attest_interval = reader.read("EE_ATTEST_INTERVAL_SEC", seconds(1..=7 * DAY_SECS));
    let attest_deadline = reader.read("EE_ATTEST_DEADLINE_SEC", seconds(1..=600));
    let health_timeout = reader.read("EE_HEALTH_TIMEOUT_SEC", seconds(1..=DAY_SECS));
    let drain = reader.read("EE_DRAIN_SEC", seconds(0..=3600));
    let log = reader.read("EE_LOG", log_filter);
    let log_format = reader.read("EE_LOG_FORMAT", LogFormat::parse);
    Some(Settings {
        app_domain: reader.read("EE_APP_DOMAIN", app_domain),
        tls: tls_paths(reader),
        admin_token: reader.secret("EE_ADMIN_TOKEN"),
        launcher_token: reader.secret("EE_LAUNCHER_TOKEN"),
        uptime_token: reader.secret("EE_UPTIME_TOKEN"),
        allowlist_dir: reader.read("EE_ALLOWLIST_DIR", present).map(PathBuf::from),
        github_token: reader.secret("EE_GITHUB_TOKEN"),
        db_path: if reader.origin("EE_DATABASE_URL") == Origin::Unset {
            db_path
        } else {
            data_dir.join(REGISTRY_FILE)
        },
        data_dir,
        control_bind: control_bind?,
        proxy_bind: proxy_bind?,
        public_url: public_url?,
        trusted_proxies: TrustedProxies::new(trusted?),
        proxy_api: proxy_api?,
        require_auth_configured: require_auth_configured?,
        allowlist_asset: allowlist_asset?,
        github_api_url: github_api_url?,
        pccs_urls: pccs_urls?,
        attest_interval: attest_interval?,
        attest_deadline: attest_deadline?,
        health_timeout: health_timeout?,
        registration_ttl: registration_ttl?,
        registration_warn: registration_warn?,
        drain: drain?,
        ledger: ledger?,
        log: log?,
        log_format: log_format?,
        networks,
    })
}

fn bind(reader: &mut Reader, address: &str, port: &str) -> Option<SocketAddr> {
    let address = reader.read(address, |text| {
        text.parse::<std::net::IpAddr>()
            .map_err(|_| format!("'{text}' is not an IP address"))
    });
    let port = reader.read(port, |text| {
        text.parse::<u16>()
            .map_err(|_| format!("'{text}' is not a port from 0 to 65535"))
    });
    Some(SocketAddr::new(address?, port?))
}

fn from_days(days: u64) -> Duration {
    Duration::from_secs(days * DAY_SECS)
}

/// `EE_DB_PATH`; unset under systemd, the database lies in the service's state directory.
fn database_path(reader: &mut Reader, sources: &Sources) -> PathBuf {
    let given = reader
        .read("EE_DB_PATH", present)
        .map(PathBuf::from)
        .unwrap_or_default();
    let is_default = reader.origin("EE_DB_PATH") == ee_protocol::settings::Origin::Default;
    match sources
        .env
        .get("STATE_DIRECTORY")
        .filter(|directory| !directory.is_empty())
    {
        Some(directory) if is_default => PathBuf::from(directory).join("control-plane.db"),
        Some(_) | None => given,
    }
}

fn directory_of(db_path: &std::path::Path) -> PathBuf {
    match db_path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn tls_paths(reader: &mut Reader) -> Option<TlsPaths> {
    let certificate = reader.read("EE_TLS_CERT_PATH", present);
    let key = reader.read("EE_TLS_KEY_PATH", present);
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsPaths {
            certificate: certificate.into(),
            key: key.into(),
        }),
        (Some(_), None) => {
            reader.refuse("EE_TLS_KEY_PATH", "needed, because EE_TLS_CERT_PATH is set");
            None
        }
        (None, Some(_)) => {
            reader.refuse("EE_TLS_CERT_PATH", "needed, because EE_TLS_KEY_PATH is set");
            None
        }
        (None, None) => None,
    }
}

fn app_domain(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let label = |label: &str| ee_protocol::names::AppName::parse(label).is_ok();
    if lower.split('.').all(label) {
        Ok(lower)
    } else {
        Err(format!("'{text}' is not a domain such as app.example.com"))
    }
}

fn asset_name(text: &str) -> Result<String, String> {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if plain && text != "." && text != ".." {
        Ok(text.to_owned())
    } else {
        Err(format!("'{text}' is not a file name of [A-Za-z0-9._-]"))
    }
}

fn upstream_url(text: &str) -> Result<String, String> {
    let uri: Option<http::Uri> = text.parse().ok();
    let usable = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.query().is_none()
            && uri
                .authority()
                .is_some_and(|authority| !authority.as_str().contains('@'))
    });
    if usable {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(format!("'{text}' is not a URL such as https://host"))
    }
}

fn collateral_url(text: &str) -> Result<String, String> {
    match text.strip_prefix("file://") {
        Some(path) if path.starts_with('/') => Ok(text.trim_end_matches('/').to_owned()),
        Some(_) => Err(format!("'{text}' is not file:// and an absolute path")),
        None => upstream_url(text),
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("'{text}' is not a log filter: {error}"))
}

#[cfg(test)]
mod tests;
