//! The program itself: what it says about its settings, and that a signal ends it.

use std::{
    net::TcpListener,
    process::{Command, Output, Stdio},
};

fn agent(variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_easyenclave-agent"));
    command
        .env_clear()
        .envs(variables.iter().copied())
        .args(arguments);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const SEED: [(&str, &str); 4] = [
    ("EE_CONTROL_WS", "ws://127.0.0.1:9/v1/tunnel"),
    ("EE_REPO", "owner/repo"),
    ("EE_RELEASE_TAG", "v0.1.3"),
    ("EE_APP_NAME", "myapp"),
];

#[test]
fn refused_settings_are_all_named_and_exit_with_78() {
    let output = agent(&[("EE_NETWORK", "forge-2")], &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = stderr(&output);
    for name in [
        "EE_CONTROL_WS",
        "EE_REPO",
        "EE_RELEASE_TAG",
        "EE_APP_NAME",
        "EE_NETWORK",
    ] {
        assert!(said.contains(name), "{name} in {said}");
    }
}

#[test]
fn a_misspelt_variable_fails_the_check() {
    let good = agent(&SEED, &["config", "check"]).output().unwrap();
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    let misspelt = [&SEED[..], &[("EE_BACKEND_ULR", "http://127.0.0.1:1")]].concat();
    let output = agent(&misspelt, &["config", "check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("EE_BACKEND_ULR"));
}

#[test]
fn a_signal_ends_the_agent_cleanly() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/v1/tunnel", listener.local_addr().unwrap());
    let variables = [&SEED[1..], &[("EE_CONTROL_WS", url.as_str())]].concat();
    let child = agent(&variables, &[])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _connection = listener.accept().unwrap();
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
