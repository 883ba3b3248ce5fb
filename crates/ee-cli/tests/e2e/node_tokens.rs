//! A registered node id belongs to whoever holds its token: real agents, a real restart.

use serde_json::Value;

use crate::support::{ADMIN_TOKEN, ControlPlane, easyenclave, start_agent, start_backend};

/// Runs a command as the admin; what it prints as JSON.
fn admin(control: &ControlPlane, arguments: &[&str]) -> Value {
    let output = easyenclave()
        .args(arguments)
        .args(["-o", "json"])
        .env("EE_URL", &control.api)
        .env("EE_TOKEN", ADMIN_TOKEN)
        .output()
        .expect("our own binary");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("one JSON value")
}

fn register(control: &ControlPlane, node: &str) -> String {
    let done = admin(control, &["node", "register", node, "--price", "0.04"]);
    done["node_token"].as_str().expect("a token").to_owned()
}

/// An agent under the id `victim` that is refused with this code.
fn refused(control: &ControlPlane, backend: &str, token: Option<&str>, code: &str) {
    let settings: Vec<(&str, &str)> = token.map(|t| ("EE_NODE_TOKEN", t)).into_iter().collect();
    let mut agent = start_agent(control, "victim", backend, &settings);
    agent.wait_for(code, |line| line.contains(code).then_some(()));
}

#[test]
fn hostile_agent_under_a_victims_node_id_is_refused_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_backend, backend) = start_backend();
    let control = ControlPlane::start(dir.path(), &[]);
    let victims = register(&control, "victim");
    let others = register(&control, "other");
    refused(&control, &backend, None, "node_token_required");
    refused(&control, &backend, Some(&others), "node_token_invalid");
    let own = [("EE_NODE_TOKEN", victims.as_str())];
    let agent = start_agent(&control, "victim", &backend, &own);
    control.wait_until_eligible("hello", 1);
    drop(agent);
    drop(control);

    let control = ControlPlane::start(dir.path(), &[]);
    refused(&control, &backend, None, "node_token_required");
    let agent = start_agent(&control, "victim", &backend, &own);
    control.wait_until_eligible("hello", 1);
    drop(agent);

    let tokens = admin(&control, &["token", "ls"]);
    let tokens = tokens["tokens"].as_array().expect("a list");
    let of_victim = |token: &&Value| token["resources"][0] == "node=victim";
    let id = tokens.iter().find(of_victim).expect("listed")["id"].clone();
    admin(&control, &["token", "revoke", id.as_str().expect("text")]);
    // With all its tokens dead the id is closed, not open to the first who comes.
    refused(&control, &backend, Some(&victims), "node_token_invalid");
    refused(&control, &backend, None, "node_token_required");
}
