//! The agent's settings: one table, read once, every error reported at once (EXPERIENCE 4).

use std::{path::PathBuf, time::Duration};

use ee_protocol::{
    names::{AgentId, AppName, NameError, Network, NodeId, ReleaseTag, Repo},
    report_data::Digest,
    settings::{
        Problem, Reader, Secret, SecretRule, Setting, Sources, comma_list, integer, seconds,
    },
};
use http::Uri;

use crate::{
    backend::{BackendAddress, BackendProtocol},
    tsm,
};

/// Tunnels a control plane takes of one agent (TUNNEL 2).
pub const TUNNELS_MAX: usize = 4;

/// Every variable the agent knows.
pub const TABLE: &[Setting] = &[
    Setting::new(
        "EE_CONTROL_WS",
        "",
        "tunnel endpoint of the control plane, `ws://` or `wss://`",
    )
    .required(),
    Setting::new("EE_REPO", "", "GitHub repository of the app, `owner/name`").required(),
    Setting::new(
        "EE_RELEASE_TAG",
        "",
        "release whose allowlist names this image",
    )
    .required(),
    Setting::new("EE_APP_NAME", "", "app to serve: one lower-case DNS label").required(),
    Setting::new(
        "EE_NETWORK",
        "forge-1",
        "`forge-1` (production) or `sandbox-1` (development)",
    ),
    Setting::new(
        "EE_BACKEND_URL",
        "http://127.0.0.1:8080",
        "the app: `http://host:port`",
    ),
    Setting::new(
        "EE_BACKEND_PROTOCOL",
        "auto",
        "`auto` (HTTP/2 for gRPC, else HTTP/1.1), `h1` or `h2c`",
    ),
    Setting::new("EE_AGENT_ID", "", "id of this agent")
        .unset("a UUID, kept in `EE_DATA_DIR` if that is set"),
    Setting::new("EE_NODE_ID", "", "id of this node").unset("the agent's id"),
    Setting::new(
        "EE_NODE_TOKEN",
        "",
        "token of a registered node: proved, never sent",
    )
    .secret()
    .unset("none"),
    Setting::new(
        "EE_HEALTH_INTERVAL_SEC",
        "60",
        "seconds between probes of the backend",
    ),
    Setting::new(
        "EE_HEALTH_URL",
        "",
        "URL to probe: 2xx or 3xx within 5 s passes",
    )
    .unset("TCP connect to the backend"),
    Setting::new(
        "EE_CONTROL_KEY",
        "",
        "accepted SHA-256 hashes of the control plane's tunnel key",
    )
    .unset("any key is accepted and logged"),
    Setting::new(
        "EE_CONTROL_CA_PATH",
        "",
        "PEM file with the CA of the control plane's TLS",
    )
    .unset("public roots"),
    Setting::new("EE_DATA_DIR", "", "directory that keeps the agent's id").unset("nothing is kept"),
    Setting::new(
        "EE_MAX_INFLIGHT",
        "1024",
        "requests served at once, on all tunnels together",
    ),
    Setting::new(
        "EE_TUNNELS",
        "1",
        "tunnels kept open at once, 1 to 4: more than one for a busy app on many cores",
    ),
    Setting::new(
        "EE_AGENT_DIR_SHA256",
        "",
        "claim: SHA-256 of the agent's directory, as published",
    )
    .unset("hash of the running executable"),
    Setting::new(
        "EE_VM_IMAGE_ID",
        "",
        "claim: which VM image runs; `\\n` is a newline",
    )
    .unset("empty"),
    Setting::new(
        "EE_SEALED",
        "false",
        "claim: `true` where the image is sealed",
    ),
    Setting::new(
        "EE_TSM_PATH",
        tsm::DEFAULT_ROOT,
        "where the kernel's quote interface is mounted",
    ),
    Setting::new(
        "EE_DRAIN_SEC",
        "30",
        "seconds that requests in flight get at shutdown",
    ),
    Setting::new(
        "EE_LOG",
        "info",
        "log filter, as `info` or `ee_agent=debug,info`",
    ),
    Setting::new("EE_LOG_FORMAT", "auto", "`auto`, `pretty` or `json`"),
];

/// The agent's settings, parsed.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// Tunnel endpoint.
    pub control_ws: Uri,
    /// The app's repository.
    pub repo: Repo,
    /// The release whose allowlist applies.
    pub release_tag: ReleaseTag,
    /// The app.
    pub app_name: AppName,
    /// The network.
    pub network: Network,
    /// The app's address.
    pub backend: BackendAddress,
    /// What the app speaks.
    pub backend_protocol: BackendProtocol,
    /// The agent's id, if it is configured.
    pub agent_id: Option<AgentId>,
    /// The node's id, if it differs from the agent's.
    pub node_id: Option<NodeId>,
    /// The node's token.
    pub node_token: Option<Secret>,
    /// Time between probes.
    pub health_interval: Duration,
    /// What to probe instead of a TCP connect.
    pub health_url: Option<Uri>,
    /// Accepted keys of the control plane; empty accepts any.
    pub control_keys: Vec<Digest>,
    /// CA of the outer TLS.
    pub control_ca_path: Option<PathBuf>,
    /// Where the agent's id is kept.
    pub data_dir: Option<PathBuf>,
    /// Requests served at once, on all tunnels together.
    pub max_inflight: u32,
    /// Tunnels kept open at once.
    pub tunnels: u32,
    /// Grace for requests in flight at shutdown.
    pub drain: Duration,
    /// What the agent claims to run, where that is configured.
    pub claims: ClaimSettings,
    /// Where the kernel makes quotes.
    pub tsm_path: PathBuf,
    /// What is logged, and how.
    pub log: LogSettings,
}

/// Claims that an image's builder knows and the agent cannot find out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimSettings {
    /// SHA-256 of the agent's directory, 64 hexadecimal digits.
    pub agent_dir_sha256: Option<String>,
    /// The VM image.
    pub vm_image_id: String,
    /// Whether the image says that it is sealed.
    pub sealed: bool,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Filter.
    pub filter: String,
    /// JSON lines; otherwise text.
    pub format: LogFormat,
}

/// Spelling of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone)]
pub struct SettingsRefused(pub Vec<Problem>);

impl AgentSettings {
    /// Reads the settings from the process's environment.
    pub fn from_process(known_elsewhere: &[&str]) -> Result<Read, SettingsRefused> {
        Self::read(
            &Sources::from_process(),
            known_elsewhere,
            SecretRule::Strong,
        )
    }

    /// Reads the settings from `sources`. `known_elsewhere` are other programs' variables.
    pub fn read(
        sources: &Sources,
        known_elsewhere: &[&str],
        rule: SecretRule,
    ) -> Result<Read, SettingsRefused> {
        let mut reader = Reader::new(TABLE, sources, known_elsewhere, rule);
        let settings = read_rows(&mut reader);
        if !reader.problems().is_empty() {
            return Err(SettingsRefused(reader.problems().to_vec()));
        }
        let settings = settings.expect("a row without a value has recorded a problem");
        Ok(Read {
            settings,
            unknown: reader.unknown_variables().to_vec(),
        })
    }
}

/// Settings, and the variables that no program of ours knows.
#[derive(Debug, Clone)]
pub struct Read {
    /// The settings.
    pub settings: AgentSettings,
    /// Variables named `EE_…` that mean nothing: typing errors, probably.
    pub unknown: Vec<Problem>,
}

/// All rows are read before any is missed, so that all problems are found.
fn read_rows(reader: &mut Reader) -> Option<AgentSettings> {
    let control_ws = reader.read("EE_CONTROL_WS", parse_ws_url);
    let repo = reader.read("EE_REPO", name(Repo::parse));
    let release_tag = reader.read("EE_RELEASE_TAG", name(ReleaseTag::parse));
    let app_name = reader.read("EE_APP_NAME", name(AppName::parse));
    let network = reader.read("EE_NETWORK", name(Network::parse));
    let backend = reader.read("EE_BACKEND_URL", BackendAddress::parse);
    let backend_protocol = reader.read("EE_BACKEND_PROTOCOL", parse_backend_protocol);
    let agent_id = reader.read("EE_AGENT_ID", name(AgentId::parse));
    let node_id = reader.read("EE_NODE_ID", name(NodeId::parse));
    let node_token = reader.secret("EE_NODE_TOKEN");
    let health_interval = reader.read("EE_HEALTH_INTERVAL_SEC", seconds(1..=3_600));
    let health_url = reader.read("EE_HEALTH_URL", parse_http_url);
    let control_keys = reader.read("EE_CONTROL_KEY", comma_list(parse_digest));
    let control_ca_path = reader.read("EE_CONTROL_CA_PATH", |text| Ok(PathBuf::from(text)));
    let data_dir = reader.read("EE_DATA_DIR", |text| Ok(PathBuf::from(text)));
    let max_inflight = reader.read("EE_MAX_INFLIGHT", integer(1..=1_024));
    let tunnels = reader.read("EE_TUNNELS", integer(1..=TUNNELS_MAX as u64));
    let drain = reader.read("EE_DRAIN_SEC", seconds(0..=600));
    let claims = read_claims(reader);
    let tsm_path = reader.read("EE_TSM_PATH", |text| Ok(PathBuf::from(text)));
    let log = read_log(reader);
    Some(AgentSettings {
        control_ws: control_ws?,
        repo: repo?,
        release_tag: release_tag?,
        app_name: app_name?,
        network: network?,
        backend: backend?,
        backend_protocol: backend_protocol?,
        agent_id,
        node_id,
        node_token,
        health_interval: health_interval?,
        health_url,
        control_keys: control_keys.unwrap_or_default(),
        control_ca_path,
        data_dir,
        max_inflight: u32::try_from(max_inflight?).ok()?,
        tunnels: u32::try_from(tunnels?).ok()?,
        drain: drain?,
        claims: claims?,
        tsm_path: tsm_path?,
        log: log?,
    })
}

fn read_claims(reader: &mut Reader) -> Option<ClaimSettings> {
    let agent_dir_sha256 = reader.read("EE_AGENT_DIR_SHA256", |text| {
        parse_digest(text).map(hex::encode)
    });
    let vm_image_id = reader.read("EE_VM_IMAGE_ID", |text| match text.len() {
        0..=512 => Ok(text.replace("\\n", "\n")),
        _ => Err("longer than 512 bytes".to_owned()),
    });
    let sealed = reader.read("EE_SEALED", ee_protocol::settings::boolean);
    Some(ClaimSettings {
        agent_dir_sha256,
        vm_image_id: vm_image_id.unwrap_or_default(),
        sealed: sealed?,
    })
}

/// Reads what to log, and how.
fn read_log(reader: &mut Reader) -> Option<LogSettings> {
    let filter = reader.read("EE_LOG", |text| {
        text.parse::<tracing_subscriber::EnvFilter>()
            .map(|_| text.to_owned())
            .map_err(|error| error.to_string())
    });
    let format = reader.read("EE_LOG_FORMAT", |text| match text {
        "auto" => Ok(LogFormat::Auto),
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("'{text}' is none of auto, pretty, json")),
    });
    Some(LogSettings {
        filter: filter?,
        format: format?,
    })
}

fn name<T>(parse: fn(&str) -> Result<T, NameError>) -> impl Fn(&str) -> Result<T, String> {
    move |text| parse(text).map_err(|error| error.to_string())
}

fn parse_ws_url(text: &str) -> Result<Uri, String> {
    parse_url(
        text,
        &["ws", "wss"],
        "ws://host:port/v1/tunnel or wss://host/v1/tunnel",
    )
}

fn parse_http_url(text: &str) -> Result<Uri, String> {
    parse_url(text, &["http"], "http://host:port/path")
}

fn parse_url(text: &str, schemes: &[&str], wanted: &str) -> Result<Uri, String> {
    let refuse = || format!("'{text}' is not {wanted}");
    let uri: Uri = text.parse().map_err(|_| refuse())?;
    let scheme_fits = uri
        .scheme_str()
        .is_some_and(|scheme| schemes.contains(&scheme));
    if scheme_fits && uri.host().is_some_and(|host| !host.is_empty()) {
        Ok(uri)
    } else {
        Err(refuse())
    }
}

fn parse_backend_protocol(text: &str) -> Result<BackendProtocol, String> {
    match text {
        "auto" => Ok(BackendProtocol::Auto),
        "h1" => Ok(BackendProtocol::H1),
        "h2c" => Ok(BackendProtocol::H2c),
        _ => Err(format!("'{text}' is none of auto, h1, h2c")),
    }
}

fn parse_digest(text: &str) -> Result<Digest, String> {
    hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("'{text}' is not 64 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [(&str, &str); 6] = [
        ("EE_CONTROL_WS", "wss://control.easyenclave.com/v1/tunnel"),
        ("EE_REPO", "owner/repo"),
        ("EE_RELEASE_TAG", "v0.1.3"),
        ("EE_APP_NAME", "myapp"),
        ("EE_NETWORK", "forge-1"),
        ("EE_BACKEND_URL", "http://127.0.0.1:8080"),
    ];

    fn read(pairs: &[(&str, &str)]) -> Result<Read, SettingsRefused> {
        AgentSettings::read(
            &Sources::from_pairs(pairs.to_vec()),
            &[],
            SecretRule::Strong,
        )
    }

    #[test]
    fn the_seeds_environment_is_enough() {
        let settings = read(&SEED).unwrap().settings;
        assert_eq!(settings.app_name.as_str(), "myapp");
        assert_eq!(settings.health_interval, Duration::from_secs(60));
        assert_eq!(settings.backend.port, 8080);
        assert!(settings.control_keys.is_empty());
    }

    #[test]
    fn every_problem_is_reported_at_once_and_named() {
        let wrong = [
            ("EE_CONTROL_WS", "http://control"),
            ("EE_REPO", "no-slash"),
            ("EE_APP_NAME", "My.App"),
            ("EE_NETWORK", "forge-2"),
            ("EE_BACKEND_URL", "ftp://x"),
            ("EE_HEALTH_INTERVAL_SEC", "soon"),
            ("EE_CONTROL_KEY", "abc"),
            ("EE_SEALED", "perhaps"),
            ("EE_NODE_TOKEN", "short"),
            ("EE_LOG_FORMAT", "xml"),
            ("EE_TUNNELS", "5"),
        ];
        let SettingsRefused(problems) = read(&wrong).unwrap_err();
        for (name, _) in wrong.iter().chain(&[("EE_RELEASE_TAG", "")]) {
            assert!(
                problems.iter().any(|p| p.name == *name),
                "{name} is not among {problems:?}"
            );
        }
    }

    #[test]
    fn pinned_keys_are_a_list_of_hashes() {
        let keys = format!("{},{}", "11".repeat(32), "22".repeat(32));
        let pairs: Vec<_> = SEED
            .into_iter()
            .chain([("EE_CONTROL_KEY", keys.as_str())])
            .collect();
        assert_eq!(
            read(&pairs).unwrap().settings.control_keys,
            [[0x11; 32], [0x22; 32]]
        );
    }

    #[test]
    fn a_typing_error_in_a_name_is_noticed() {
        let pairs: Vec<_> = SEED.into_iter().chain([("EE_BACKEND_ULR", "x")]).collect();
        assert_eq!(read(&pairs).unwrap().unknown.len(), 1);
    }
}
