//! Behind programs of others: nginx with `auth_request`, wrk as an independent client.
//!
//! The nginx configuration is the one under `deploy/proxies/nginx`, filled in for free ports.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{ControlPlane, Running, curl, installed, start_agent, start_backend};

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").port()
}

fn start_nginx(program: &Path, dir: &Path, control: &ControlPlane) -> (Running, u16) {
    let port = free_port();
    let template = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/proxies/nginx/nginx.conf.template");
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    let configuration = fs::read_to_string(template)
        .expect("part of the repository")
        .replace("@@RUN_DIR@@", &dir.display().to_string())
        .replace("@@LISTEN@@", &format!("127.0.0.1:{port}"))
        .replace("@@CONTROL_HOST@@", "control.localhost")
        .replace("@@APP_DOMAIN@@", "localhost")
        .replace("@@CONTROL@@", &address(&control.api))
        .replace("@@PROXY@@", &address(&control.proxy));
    let file = dir.join("nginx.conf");
    fs::write(&file, configuration).expect("disk space");
    let test = Command::new(program)
        .arg("-t")
        .arg("-c")
        .arg(&file)
        .output()
        .expect("installed");
    assert!(
        test.status.success(),
        "{}",
        String::from_utf8_lossy(&test.stderr)
    );
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).args(["-g", "daemon off;"]);
    let running = Running::start(command);
    crate::support::wait_until("nginx listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    (running, port)
}

#[test]
fn nginx_asks_before_it_forwards() {
    let Some(nginx) = installed("nginx") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let control = ControlPlane::start(dir.path(), &[]);
    let (_backend, backend) = start_backend();
    let _agent = start_agent(&control, "one", &backend, &[]);
    control.wait_until_eligible("hello", 1);
    let (nginx, port) = start_nginx(&nginx, dir.path(), &control);
    let url = format!("http://127.0.0.1:{port}/");

    let served = curl(&["-H", "Host: hello.localhost", &url]);
    assert_eq!(
        (served.status, served.header("x-ee-node")),
        (200, Some("one")),
        "{served:?}"
    );
    assert_eq!(served.body, "hello from a simulated enclave\n");

    let posted = curl(&[
        "-H",
        "Host: hello.localhost",
        "-d",
        "ping",
        &format!("{url}echo"),
    ]);
    assert_eq!((posted.status, posted.body.as_str()), (200, "ping"));

    let spoofed = curl(&[
        "-H",
        "Host: nobody.localhost",
        "-H",
        "X-EE-App: hello",
        "-H",
        "X-EE-Node: one",
        &format!("{url}?app=hello"),
    ]);
    assert_eq!(
        spoofed.status, 403,
        "nginx's auth_request sees 403, not 500: {spoofed:?}"
    );
    assert_eq!(spoofed.header("x-ee-reason"), Some("unknown_app"));
    nginx.signal("QUIT");
}

#[test]
fn wrk_sees_no_failed_request() {
    let Some(wrk) = installed("wrk") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let control = ControlPlane::start(dir.path(), &[]);
    let (_backend, backend) = start_backend();
    let _agents = ["one", "two"].map(|id| start_agent(&control, id, &backend, &[]));
    control.wait_until_eligible("hello", 2);
    let output = Command::new(wrk)
        .args([
            "-t",
            "1",
            "-c",
            "16",
            "-d",
            "2s",
            "-H",
            "Host: hello.localhost",
        ])
        .arg(format!("{}/bytes/100", control.proxy))
        .stdin(Stdio::null())
        .output()
        .expect("installed");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    assert!(report.contains("requests in"), "{report}");
    for failure in ["Non-2xx", "Socket errors"] {
        assert!(!report.contains(failure), "{report}");
    }
}
