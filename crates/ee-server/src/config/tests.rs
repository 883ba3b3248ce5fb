//! Settings as an operator meets them: complete, strict, every mistake at once.

use super::*;
use ee_protocol::settings::Origin;

fn settings(pairs: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let sources = Sources::from_pairs(pairs.iter().copied());
    Settings::from_sources(&sources, SecretRule::Strong)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn with_file(text: &str) -> Result<Settings, Vec<String>> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("ee.toml");
    std::fs::write(&path, text).expect("written");
    settings(&[("EE_CONFIG", &path.display().to_string())]).map_err(|problems| {
        let prefix = format!("{}/", dir.path().display());
        problems
            .iter()
            .map(|problem| problem.replace(&prefix, ""))
            .collect()
    })
}

#[test]
fn the_seeds_defaults_hold() {
    let settings = settings(&[]).expect("defaults are valid");
    assert_eq!(settings.control_bind.to_string(), "0.0.0.0:8088");
    assert_eq!(settings.proxy_bind.to_string(), "0.0.0.0:9090");
    assert_eq!(settings.attest_interval, Duration::from_secs(3600));
    assert_eq!(settings.attest_deadline, Duration::from_secs(30));
    assert_eq!(settings.health_timeout, Duration::from_secs(120));
    assert_eq!(
        settings.registration_ttl,
        Duration::from_secs(30 * DAY_SECS)
    );
    assert_eq!(
        settings.registration_warn,
        Duration::from_secs(3 * DAY_SECS)
    );
    assert_eq!(settings.allowlist_asset, "agent-attestation-allowlist.json");
    assert_eq!(
        settings.db_path.to_str(),
        Some("control_plane/data/control-plane.db")
    );
    assert_eq!(settings.data_dir.to_str(), Some("control_plane/data"));
    assert!(settings.admin_token.is_none() && settings.tls.is_none());
}

#[test]
fn strict_settings_report_everything_at_once() {
    let problems = settings(&[
        ("EE_CONTROL_PORT", "70000"),
        ("EE_ADMIN_TOKEN", "secret"),
        ("EE_PUBLIC_URL", "localhost"),
        ("EE_TLS_CERT_PATH", "/cert.pem"),
        ("EE_REGISTRATION_WARN_DAYS", "30"),
        ("EE_PROXY_API", "sometimes"),
        ("EE_TRUSTED_PROXIES", "10.0.0.0/99"),
    ])
    .expect_err("refused");
    assert_eq!(problems.len(), 7, "{problems:#?}");
    for name in [
        "EE_CONTROL_PORT (env)",
        "EE_ADMIN_TOKEN (env)",
        "EE_PUBLIC_URL (env)",
        "EE_TLS_KEY_PATH",
        "EE_REGISTRATION_WARN_DAYS (env)",
        "EE_PROXY_API (env)",
        "EE_TRUSTED_PROXIES (env)",
    ] {
        assert!(
            problems.iter().any(|text| text.starts_with(name)),
            "{name}: {problems:#?}"
        );
    }
    assert!(
        !problems.join("").contains("'secret'"),
        "no secret in a message"
    );
}

#[test]
fn unknown_key_is_refused_with_line() {
    let problems = with_file("control_port = 8088\n\ncontrol_prot = 1\n").expect_err("refused");
    assert_eq!(
        problems,
        ["control_prot (ee.toml:3): unknown key; did you mean control_port?"]
    );
}

#[test]
fn broken_toml_is_refused_with_its_line() {
    let problems = with_file("control_port = 8088\nproxy_port = = 1\n").expect_err("refused");
    assert!(
        problems[0].starts_with("EE_CONFIG (ee.toml:2): not valid TOML"),
        "{problems:?}"
    );
}

#[test]
fn a_missing_file_is_named() {
    let problems = settings(&[("EE_CONFIG", "/nowhere/ee.toml")]).expect_err("refused");
    assert!(problems[0].starts_with("EE_CONFIG (/nowhere/ee.toml): cannot be read"));
}

#[test]
fn file_values_of_every_kind_are_read() {
    let settings = with_file(
        "control_port = 1234\nrequire_auth_configured = true\n\
         pccs_url = [\"https://a.example\", \"file:///b\"]\n",
    )
    .expect("valid");
    assert_eq!(settings.control_bind.port(), 1234);
    assert!(settings.require_auth_configured);
    assert_eq!(settings.pccs_urls, ["https://a.example", "file:///b"]);
}

#[test]
fn an_empty_list_of_proxies_trusts_nobody() {
    let loopback = "127.0.0.1".parse().expect("address");
    assert!(
        settings(&[])
            .expect("valid")
            .trusted_proxies
            .contains(loopback)
    );
    let nobody = settings(&[("EE_TRUSTED_PROXIES", "")]).expect("valid");
    assert!(!nobody.trusted_proxies.contains(loopback));
}

#[test]
fn systemd_gives_the_database_its_place_unless_it_was_set() {
    let given = settings(&[("STATE_DIRECTORY", "/var/lib/ee")]).expect("valid");
    assert_eq!(given.db_path.to_str(), Some("/var/lib/ee/control-plane.db"));
    let set = settings(&[
        ("STATE_DIRECTORY", "/var/lib/ee"),
        ("EE_DB_PATH", "/x/y.db"),
    ]);
    assert_eq!(set.expect("valid").db_path.to_str(), Some("/x/y.db"));
}

#[test]
fn empty_secret_file_names_its_path() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("admin").display().to_string();
    std::fs::write(&path, "").expect("written");
    let problems = settings(&[("EE_ADMIN_TOKEN_FILE", &path)]).expect_err("refused");
    assert_eq!(
        problems,
        [format!("EE_ADMIN_TOKEN ({path}): the file is empty")]
    );
}

#[test]
fn unknown_variables_warn_at_start_and_fail_the_check() {
    let sources = Sources::from_pairs([("EE_CONTROL_PROT", "1"), ("EE_REPO", "a/b")]);
    let loaded = load(&sources, SecretRule::Strong).expect("starts");
    let unknown: Vec<&str> = loaded
        .reader
        .unknown_variables()
        .iter()
        .map(|p| p.name.as_str())
        .collect();
    assert_eq!(
        unknown,
        ["EE_CONTROL_PROT"],
        "the agent's EE_REPO is no stranger"
    );
    assert!(ConfigCommand::Check.run(&sources).is_err());
}

#[test]
fn unknown_variables_are_named_beside_other_mistakes() {
    let pairs = [("EE_CONTROL_PROT", "1"), ("EE_PROXY_PORT", "x")];
    let problems = settings(&pairs).expect_err("refused");
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(problems[0].starts_with("EE_PROXY_PORT (env): 'x' is not a port"));
    assert!(problems[1].starts_with("EE_CONTROL_PROT (env): unknown variable"));
}

#[test]
fn config_show_prints_origin_and_hides_secrets() {
    let token = "0123456789abcdef0123456789abcdef";
    let sources = Sources::from_pairs([("EE_ADMIN_TOKEN", token), ("EE_CONTROL_PORT", "1")]);
    let shown = ConfigCommand::Show.run(&sources).expect("valid");
    assert!(shown.contains("EE_CONTROL_PORT=1  # env"), "{shown}");
    assert!(shown.contains("EE_PROXY_PORT=9090  # default"), "{shown}");
    assert!(
        shown.contains("EE_ADMIN_TOKEN=[redacted]  # env"),
        "{shown}"
    );
    assert!(!shown.contains(token));
    let debug = format!(
        "{:?}",
        settings(&[("EE_ADMIN_TOKEN", token)]).expect("valid")
    );
    assert!(!debug.contains(token));
}

#[test]
fn the_example_file_is_valid_once_uncommented() {
    let example = ConfigCommand::Example
        .run(&Sources::default())
        .expect("printed");
    let settings_lines = example.lines().filter_map(|line| {
        let line = line.strip_prefix("# ")?;
        (line.contains(" = ") && !line.starts_with("config =")).then_some(line)
    });
    let file: Vec<&str> = settings_lines.collect();
    assert_eq!(file.len(), TABLE.len() - 1);
    with_file(&file.join("\n")).expect("valid");
}

#[test]
fn defaults_have_their_origin() {
    let loaded = load(&Sources::default(), SecretRule::Strong).expect("valid");
    assert_eq!(loaded.reader.origin("EE_PROXY_PORT"), Origin::Default);
    assert_eq!(loaded.reader.origin("EE_ADMIN_TOKEN"), Origin::Unset);
}
