//! `examples/minimal-agent`: an agent of another language, from the document alone.

use std::{path::Path, process::Command};

use crate::support::{
    ADMIN_TOKEN, ControlPlane, Running, curl, easyenclave, installed, start_backend, wait_until,
};

/// The control plane with quoting for agents in any language; the URL of the quotes.
fn start_with_quotes(dir: &Path) -> (ControlPlane, String) {
    let mut command = easyenclave();
    command
        .args(["dev", "server", "--quote-port", "0"])
        .env("EE_CONTROL_PORT", "0")
        .env("EE_PROXY_PORT", "0")
        .env("EE_DB_PATH", dir.join("control-plane.db"))
        .env("EE_ADMIN_TOKEN", ADMIN_TOKEN);
    let mut process = Running::start(command);
    let ready: serde_json::Value =
        process.wait_for("line of addresses", |line| serde_json::from_str(line).ok());
    let text = |name: &str| ready[name].as_str().expect("an address").to_owned();
    let control = ControlPlane {
        process,
        api: text("control"),
        proxy: text("proxy"),
    };
    (control, text("quote"))
}

/// `python3 agent.py` for the app hello on `network`.
fn start_python(
    control: &ControlPlane,
    quotes: &str,
    backend: &str,
    network: &str,
) -> Option<Running> {
    let python = installed("python3")?;
    let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/minimal-agent/agent.py");
    let tunnel = control.api.replacen("http", "ws", 1);
    let mut command = Command::new(python);
    command
        .arg(agent)
        .env("EE_CONTROL_WS", format!("{tunnel}/v1/tunnel"))
        .env("QUOTE_URL", quotes)
        .env("EE_BACKEND_URL", backend)
        .env("EE_APP_NAME", "hello")
        .env("EE_AGENT_ID", "python-1")
        .env("EE_NETWORK", network);
    Some(Running::start(command))
}

#[test]
fn hundred_lines_of_python_serve_on_the_sandbox() {
    let dir = tempfile::tempdir().expect("a folder");
    let (control, quotes) = start_with_quotes(dir.path());
    let (running_backend, backend) = start_backend();
    let Some(mut agent) = start_python(&control, &quotes, &backend, "sandbox-1") else {
        return;
    };
    agent.wait_for("status", |line| {
        (line.trim_end() == "ok attested").then_some(())
    });
    control.wait_until_eligible("hello", 1);

    let answer = curl(&[&control.app_url("hello", "/")]);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "hello from a simulated enclave\n")
    );
    assert_eq!(answer.header("x-ee-node"), Some("python-1"));
    assert_eq!(answer.header("x-ee-origin"), Some("app"));

    let posted = curl(&[
        "--data-binary",
        "a body of bytes",
        &control.app_url("hello", "/echo"),
    ]);
    assert_eq!(
        (posted.status, posted.body.as_str()),
        (200, "a body of bytes")
    );

    let apps = control.admin("/v1/apps");
    assert_eq!(apps["apps"][0]["binding"], "nonce", "{apps}");

    // The app goes away: its answers fail, the tunnel stays.
    drop(running_backend);
    let down = curl(&[&control.app_url("hello", "/")]);
    assert_eq!(
        (down.status, down.header("x-ee-node")),
        (502, Some("python-1"))
    );

    agent.signal("KILL");
    wait_until("the dead agent is noticed", || {
        [403, 502, 503].contains(&curl(&[&control.app_url("hello", "/")]).status)
    });
}

#[test]
fn production_refuses_the_same_agent() {
    let dir = tempfile::tempdir().expect("a folder");
    let (control, quotes) = start_with_quotes(dir.path());
    let Some(mut agent) = start_python(&control, &quotes, "http://127.0.0.1:9", "forge-1") else {
        return;
    };
    agent.wait_for("refusal", |line| {
        line.starts_with("invalid binding_required").then_some(())
    });
}
