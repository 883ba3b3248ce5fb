//! gRPC as its own library speaks it, server and client (PyPI's grpcio): straight to the public
//! face, and by way of each proxy of `deploy/proxies`.

use std::{path::Path, process::Command};

use crate::{
    fronts::World,
    support::{Running, installed, wait_until},
};

const HOST: &str = "rpc.apps.test";

/// `grpc_peer.py`, where Python and the library are installed.
fn peer(arguments: &[&str]) -> Option<Command> {
    let python = installed("python3")?;
    let library = installed("grpc")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/grpc_peer.py");
    let mut command = Command::new(python);
    command.arg(script).args(arguments);
    command.env("PYTHONPATH", library.parent()?);
    Some(command)
}

/// Makes calls; what went wrong, if anything did. Caddy and Traefik may blur the status of a call
/// that is refused before its request was read.
fn call(name: &str, address: &str, root: Option<&Path>) -> Result<(), String> {
    let mut command = peer(&["call", address, HOST, name]).expect("installed");
    let output = command.args(root).output().expect("Python");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or(said)
}

#[test]
fn calls_of_every_kind_pass_and_are_refused_by_status() {
    let Some(server) = peer(&["serve"]) else {
        return;
    };
    let mut server = Running::start(server);
    let port: u16 = server.wait_for("port", |line| line.parse().ok());
    let mut world = World::start();
    world.add_app("rpc", &format!("http://127.0.0.1:{port}"));
    let proxy = world.control.proxy.replacen("http://", "", 1);
    let proxy = proxy.as_str();
    let fronts = [world.nginx_with_tls(), world.caddy(), world.traefik()];
    let each = |check: &dyn Fn(&str, &str, Option<&Path>)| {
        check("straight", proxy, None);
        for front in fronts.iter().flatten() {
            check(front.name, &front.address(), front.root());
        }
    };
    each(&|name, address, root| assert_eq!(call(name, address, root), Ok(()), "{name}"));
    // Without its app a call fails with the status that the library makes of ours.
    world.end_app("rpc");
    wait_until("the app has no tunnel", || {
        world.authz("rpc").header("x-ee-reason") == Some("no_tunnel")
    });
    each(&|name, address, root| {
        let status = match name {
            "straight" => "StatusCode.UNAVAILABLE",
            _ => "StatusCode.PERMISSION_DENIED",
        };
        let said = call(name, address, root).expect_err(name);
        assert!(said.contains(status), "{name}: {said}");
    });
}
