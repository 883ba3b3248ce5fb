//! The main job, end to end: real processes, curl on the outside, the demo backend inside.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::support::{
    ADMIN_TOKEN, Answer, ControlPlane, curl, easyenclave, start_agent, start_backend, wait_until,
};

struct Network {
    control: ControlPlane,
    agents: Vec<crate::support::Running>,
    backend: String,
    _backend: crate::support::Running,
    dir: tempfile::TempDir,
}

fn network(agents: &[&str]) -> Network {
    network_with(agents, &[])
}

fn network_with(agents: &[&str], settings: &[(&str, &str)]) -> Network {
    let dir = tempfile::tempdir().expect("a folder");
    let control = ControlPlane::start(dir.path(), settings);
    let (backend_process, backend) = start_backend();
    let agents: Vec<_> = agents
        .iter()
        .map(|id| start_agent(&control, id, &backend, &[]))
        .collect();
    control.wait_until_eligible("hello", agents.len() as u64);
    Network {
        control,
        agents,
        backend,
        _backend: backend_process,
        dir,
    }
}

fn get(network: &Network, path: &str) -> Answer {
    curl(&[&network.control.app_url("hello", path)])
}

#[test]
fn private_agent_answers_curl() {
    let network = network(&["one"]);
    let answer = get(&network, "/");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body, "hello from a simulated enclave\n");
    assert_eq!(answer.header("x-ee-node"), Some("one"));
    assert_eq!(answer.header("x-ee-origin"), Some("app"));
    assert!(
        answer
            .header("x-request-id")
            .is_some_and(|id| !id.is_empty())
    );

    let missing = get(&network, "/status/404");
    assert_eq!(
        (missing.status, missing.header("x-ee-origin")),
        (404, Some("app"))
    );

    let head = curl(&["-I", &network.control.app_url("hello", "/bytes/1000")]);
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("1000"))
    );
    assert_eq!(head.body, "");
}

#[test]
fn large_bodies_stream_through_unchanged() {
    let network = network(&["one"]);
    let file = network.dir.path().join("upload");
    let content: Vec<u8> = (0..8_000_000_u32).map(|i| (i * 31 % 251) as u8).collect();
    fs::write(&file, &content).expect("disk space");
    let back = network.dir.path().join("download");
    let status = Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "60",
            "--connect-to",
            "hello.localhost::127.0.0.1:",
        ])
        .arg("--data-binary")
        .arg(format!("@{}", file.display()))
        .arg("-o")
        .arg(&back)
        .arg(network.control.app_url("hello", "/echo"))
        .status()
        .expect("curl is installed");
    assert!(status.success());
    assert!(
        fs::read(&back).expect("downloaded") == content,
        "the echo differs"
    );
}

#[test]
fn unknown_names_and_hosts_are_refused_by_name() {
    let network = network(&["one"]);
    let port = network.control.proxy_port();
    let unknown = curl(&["-H", "Host: nobody.localhost", &network.control.proxy]);
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.body.contains("\"code\":\"unknown_app\""),
        "{}",
        unknown.body
    );
    let missing = curl(&[
        "-H",
        &format!("Host: 127.0.0.1:{port}"),
        &network.control.proxy,
    ]);
    assert_eq!(missing.status, 400);
    assert!(
        missing.body.contains("\"error\":\"missing_app\""),
        "{}",
        missing.body
    );
    let foreign = curl(&["-H", "Host: hello.example.com", &network.control.proxy]);
    assert_eq!(foreign.status, 421);
    assert!(
        foreign.body.contains("\"code\":\"host_unknown\""),
        "{}",
        foreign.body
    );
}

#[test]
fn app_cannot_write_the_headers_that_people_trust() {
    let network = network(&["one"]);
    let answer = curl(&[
        "-H",
        "X-EE-Node: forged",
        "-H",
        "EE-App: other",
        "-H",
        "Connection: X-Nominee",
        "-H",
        "X-Nominee: gone",
        &network.control.app_url("hello", "/headers"),
    ]);
    assert_eq!(answer.header("x-ee-node"), Some("one"));
    let seen = answer.body.to_ascii_lowercase();
    for absent in ["forged", "x-nominee", "\"other\""] {
        assert!(
            !seen.contains(absent),
            "{absent} reached the app: {}",
            answer.body
        );
    }
    for present in [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-request-id",
        "traceparent",
    ] {
        assert!(
            seen.contains(present),
            "{present} is missing: {}",
            answer.body
        );
    }
}

#[test]
fn resolve_tells_proxies_where_an_app_is() {
    let network = network(&["one"]);
    let found = curl(&[&format!("{}/v1/resolve/hello", network.control.api)]);
    assert_eq!(found.status, 200);
    let status: serde_json::Value = serde_json::from_str(&found.body).expect("JSON");
    for (name, value) in [
        ("app_name", "hello"),
        ("status", "active"),
        ("binding", "channel"),
    ] {
        assert_eq!(status[name], value, "{name}");
    }
    assert_eq!(status["sealed"], true);
    assert!(
        status["endpoint"]
            .as_str()
            .is_some_and(|url| url.ends_with("/v1/tunnel"))
    );
    let unknown = curl(&[&format!("{}/v1/resolve/nobody", network.control.api)]);
    assert_eq!(unknown.status, 404);
    let body: serde_json::Value = serde_json::from_str(&unknown.body).expect("JSON");
    assert_eq!(
        (&body["allowed"], &body["reason"]),
        (&false.into(), &"unknown_app".into())
    );
}

/// `POST /v1/proxy` answers with the app's HTML on the origin of the dashboard.
#[test]
fn proxied_html_cannot_act_as_the_control_origin() {
    let network = network(&["one"]);
    let payload = r#"{"method":"GET","path":"/"}"#;
    let answer = curl(&[
        "-d",
        payload,
        &format!("{}/v1/proxy/hello", network.control.api),
    ]);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "hello from a simulated enclave\n")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let policies: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "content-security-policy")
        .map(|(_, value)| value.as_str())
        .collect();
    assert!(policies.contains(&"sandbox"), "{policies:?}");
    assert_eq!(answer.header("set-cookie"), None);

    let bad = curl(&[
        "-d",
        "[1]",
        &format!("{}/v1/proxy/hello", network.control.api),
    ]);
    assert_eq!(bad.status, 400);
    assert!(
        bad.body.contains("\"error\":\"invalid_proxy_payload\""),
        "{}",
        bad.body
    );
    let absolute = r#"{"path":"http://169.254.169.254/latest"}"#;
    let defused = curl(&[
        "-d",
        absolute,
        &format!("{}/v1/proxy/hello", network.control.api),
    ]);
    assert_eq!(defused.status, 400, "{}", defused.body);
}

#[test]
fn a_killed_agent_leaves_the_other_serving() {
    let network = network(&["one", "two"]);
    network.agents[0].signal("KILL");
    wait_until("only the other answers", || {
        let answer = get(&network, "/");
        answer.status == 200 && answer.header("x-ee-node") == Some("two")
    });
    for _ in 0..20 {
        assert_eq!(get(&network, "/").status, 200);
    }
}

#[test]
fn after_a_crash_of_the_server_the_apps_come_back() {
    let Network {
        mut control,
        agents,
        backend,
        _backend,
        dir,
    } = network(&["one"]);
    let port = |url: &str| url.rsplit(':').next().expect("a port").to_owned();
    let (api, proxy) = (port(&control.api), port(&control.proxy));
    control.process.signal("KILL");
    control.process.wait_for_exit();
    let again = [
        ("EE_CONTROL_PORT", api.as_str()),
        ("EE_PROXY_PORT", proxy.as_str()),
    ];
    let control = ControlPlane::start(dir.path(), &again);

    let list = control.admin("/v1/apps");
    assert_eq!(
        list["apps"][0]["app_name"], "hello",
        "known before any agent is back: {list}"
    );
    control.wait_until_eligible("hello", 1);
    let first = curl(&[&control.app_url("hello", "/")]);
    assert_eq!(
        first.status, 200,
        "the first request after re-attestation: {first:?}"
    );
    drop((agents, backend));
}

#[test]
fn sigterm_drains_without_a_failed_request() {
    let mut network = network(&["one"]);
    let url = network.control.app_url("hello", "/slow/1500");
    let requests: Vec<_> = (0..4)
        .map(|_| {
            Command::new("curl")
                .args([
                    "-sS",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    "--max-time",
                    "20",
                ])
                .args(["--connect-to", "hello.localhost::127.0.0.1:", &url])
                .stdout(Stdio::piped())
                .spawn()
                .expect("curl is installed")
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(500));
    network.control.process.signal("TERM");
    for request in requests {
        let output = request.wait_with_output().expect("our own child");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "200");
    }
    assert_eq!(network.control.process.wait_for_exit(), Some(0));
}

#[test]
fn backend_down_is_the_agents_answer_and_the_tunnel_lives() {
    let dir = tempfile::tempdir().expect("a folder");
    let control = ControlPlane::start(dir.path(), &[]);
    let _agent = start_agent(&control, "one", "http://127.0.0.1:1", &[]);
    control.wait_until_eligible("hello", 1);
    for _ in 0..2 {
        let answer = curl(&[&control.app_url("hello", "/")]);
        assert_eq!(
            (answer.status, answer.header("x-ee-origin")),
            (502, Some("agent"))
        );
        assert!(
            answer.body.contains("backend_unavailable"),
            "{}",
            answer.body
        );
    }
}

#[test]
fn rogue_agent_is_refused_and_told_why() {
    let dir = tempfile::tempdir().expect("a folder");
    let control = ControlPlane::start(dir.path(), &[]);
    let mut command = easyenclave();
    command
        .args(["dev", "agent", "--image", "rogue"])
        .env(
            "EE_CONTROL_WS",
            format!("{}/v1/tunnel", control.api.replacen("http", "ws", 1)),
        )
        .env("EE_APP_NAME", "hello")
        .env("EE_AGENT_ID", "rogue");
    let mut rogue = crate::support::Running::start(command);
    rogue.wait_for("reason on the agent's own log", |line| {
        line.contains("measurement_mismatch:rtmr2").then_some(())
    });
    assert_eq!(
        curl(&[&format!("{}/v1/resolve/hello", control.api)]).status,
        404
    );
    let explain = control.admin("/v1/apps/hello/explain?agent=rogue");
    let refused = &explain["refused"][0];
    assert_eq!(refused["reason"], "measurement_mismatch:rtmr2", "{explain}");
    assert!(
        refused["refusals"][0]["hint"]
            .as_str()
            .is_some_and(|hint| !hint.is_empty())
    );

    let command_line = easyenclave()
        .args([
            "--url",
            &control.api,
            "app",
            "explain",
            "hello",
            "--agent",
            "rogue",
        ])
        .env("EE_TOKEN", ADMIN_TOKEN)
        .output()
        .expect("our own binary");
    assert_eq!(command_line.status.code(), Some(3), "the check says no");
    let said = String::from_utf8_lossy(&command_line.stdout);
    assert!(said.contains("rtmr2") && said.contains("next:"), "{said}");
}

#[test]
fn secrets_never_reach_the_log() {
    let mut network = network_with(&["one"], &[("EE_LOG", "debug")]);
    let secret = "a-body-that-nobody-may-log";
    let url = network.control.app_url("hello", "/echo");
    curl(&[
        "-H",
        "Authorization: Bearer app-secret-token",
        "-d",
        secret,
        &url,
    ]);
    network.control.admin("/v1/apps");
    let log = network.control.process.output() + &network.agents[0].output();
    for forbidden in [ADMIN_TOKEN, secret, "app-secret-token"] {
        assert!(!log.contains(forbidden), "{forbidden} is in the log");
    }
}
