//! HTTP/2 on the public face, as nghttp and h2load see it (Debian's nghttp2-client).

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{rig::network, support::installed};

fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("installed");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn nghttp_gets_answers_and_sends_uploads() {
    let Some(nghttp) = installed("nghttp") else {
        return;
    };
    let network = network();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("body");
    std::fs::write(&file, vec![b'b'; 1 << 20]).expect("disk space");
    let body = file.display().to_string();
    let url = |path: &str| format!("{}{path}", network.control.proxy);
    let app = "-H:authority: hello.localhost";

    let said = run(&nghttp, &["-v", app, &url("/")]);
    for part in [
        ":status: 200",
        "x-ee-node: one",
        "hello from a simulated enclave",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    for error in ["GOAWAY", "RST_STREAM"] {
        let received = format!("recv {error}");
        assert!(!said.contains(&received), "{error} in {said}");
    }
    let said = run(&nghttp, &[app, "-d", &body, &url("/upload")]);
    assert!(said.contains("\"bytes\":1048576"), "{said}");
    // Several at once on one connection: the slow one keeps nobody.
    let said = run(
        &nghttp,
        &["-v", app, &url("/slow/300"), &url("/status/404"), &url("/")],
    );
    let at = |text: &str| {
        said.find(text)
            .unwrap_or_else(|| panic!("{text} in {said}"))
    };
    assert!(at(":status: 404") < at("slow\n"), "{said}");
}

#[test]
fn h2load_sees_no_failed_request() {
    let Some(h2load) = installed("h2load") else {
        return;
    };
    let network = network();
    for (path, requests, connections, streams) in [
        ("/bytes/100", "2000", "4", "32"),
        ("/bytes/300000", "100", "2", "16"),
        // One stream at a time, and as many as a connection may have.
        ("/bytes/100", "200", "1", "1"),
        ("/bytes/100", "1000", "1", "128"),
    ] {
        let url = format!("{}{path}", network.control.proxy);
        let arguments = ["-n", requests, "-c", connections, "-m", streams];
        let host = ["-H", ":authority: hello.localhost", "-T", "30", &url];
        let said = run(&h2load, &[&arguments[..], &host[..]].concat());
        let all = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
        let ok = format!("{requests} 2xx, 0 3xx, 0 4xx, 0 5xx");
        assert!(said.contains(&all) && said.contains(&ok), "{path}: {said}");
    }
}
