//! The binary itself: exit statuses, signals, health check.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
};

const BINARY: &str = env!("CARGO_BIN_EXE_easyenclave-server");
const ADMIN: &str = "admin-token-0123456789abcdef";

fn run(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command
        .env_clear()
        .args(arguments)
        .envs(env.iter().copied());
    command.output().expect("started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server process that does not outlive its test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server on free ports, and the port of its API.
fn serve(dir: &std::path::Path) -> (Served, u16) {
    let child = Command::new(BINARY)
        .env_clear()
        .envs([
            ("EE_CONTROL_BIND", "127.0.0.1"),
            ("EE_CONTROL_PORT", "0"),
            ("EE_PROXY_BIND", "127.0.0.1"),
            ("EE_PROXY_PORT", "0"),
            ("EE_ADMIN_TOKEN", ADMIN),
            ("EE_LOG_FORMAT", "json"),
            ("EE_DRAIN_SEC", "1"),
        ])
        .env("EE_DB_PATH", dir.join("control-plane.db"))
        .env("EE_ALLOWLIST_DIR", dir)
        .env("EE_PCCS_URL", format!("file://{}", dir.display()))
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut served = Served(child);
    let log = BufReader::new(served.0.stderr.take().expect("piped"));
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        if line["event"] == "serving" {
            let api: std::net::SocketAddr = line["api"]
                .as_str()
                .and_then(|text| text.parse().ok())
                .expect("address");
            return (served, api.port());
        }
    }
    panic!("the server ended before it served");
}

#[test]
fn bad_settings_exit_78_with_every_problem() {
    let done = run(
        &[],
        &[("EE_CONTROL_PORT", "x"), ("EE_ADMIN_TOKEN", "secret")],
    );
    assert_eq!(done.status.code(), Some(78));
    let complaint = text(&done.stderr);
    assert!(complaint.contains("EE_CONTROL_PORT (env)"), "{complaint}");
    assert!(complaint.contains("EE_ADMIN_TOKEN (env)"), "{complaint}");
}

#[test]
fn config_check_refuses_unknown_variables() {
    let done = run(&["config", "check"], &[("EE_CONTROL_PROT", "1")]);
    assert_eq!(done.status.code(), Some(78));
    assert!(text(&done.stderr).contains("did you mean EE_CONTROL_PORT?"));
    assert!(run(&["config", "check"], &[]).status.success());
}

#[test]
fn flags_beat_the_environment() {
    let env = [("EE_CONTROL_PORT", "1")];
    let done = run(&["--control-port", "2", "config", "show"], &env);
    assert!(
        text(&done.stdout).contains("EE_CONTROL_PORT=2  # flag"),
        "{}",
        text(&done.stdout)
    );
    let help = text(&run(&["--help"], &[]).stdout);
    assert!(!help.contains("admin-token"), "a secret is never a flag");
}

#[cfg(unix)]
#[test]
fn sigterm_ends_the_process_cleanly_and_the_health_check_sees_both() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (mut served, port) = serve(dir.path());
    let port = port.to_string();
    let env = [
        ("EE_CONTROL_BIND", "127.0.0.1"),
        ("EE_CONTROL_PORT", port.as_str()),
    ];
    assert!(run(&["healthcheck"], &env).status.success());
    let pid = served.0.id().to_string();
    let sent = Command::new("kill")
        .args(["-s", "TERM", &pid])
        .status()
        .expect("kill runs");
    assert!(sent.success());
    assert!(served.0.wait().expect("ended").success());
    assert_eq!(run(&["healthcheck"], &env).status.code(), Some(1));
}
