//! What a newcomer does in the first five minutes, by the book: `easyenclave dev` on free ports.

use std::process::Output;

use crate::support::{Running, curl, easyenclave};

struct Dev {
    process: Running,
    control: String,
    app: String,
    home: tempfile::TempDir,
}

impl Dev {
    fn start(extra: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let mut command = easyenclave();
        command
            .args([
                "dev",
                "--control-port",
                "0",
                "--proxy-port",
                "0",
                "--quote-port",
                "0",
            ])
            .args(extra)
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path())
            .env("TMPDIR", home.path());
        let mut process = Running::start(command);
        let control = process.wait_for("address", |line| {
            let (_, rest) = line.split_once("control plane  ")?;
            Some(rest.split_whitespace().next()?.to_owned())
        });
        let app = process.wait_for("next command", |line| {
            line.strip_prefix("Next: curl ").map(str::to_owned)
        });
        Self {
            process,
            control,
            app,
            home,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        easyenclave()
            .args(arguments)
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .output()
            .expect("our own binary")
    }
}

#[test]
fn first_five_minutes() {
    let mut dev = Dev::start(&[]);
    let introduction = dev.process.output();
    assert!(
        introduction.contains("DEVELOPMENT NETWORK"),
        "{introduction}"
    );
    for line in [
        "ok    agent hello-1",
        "ok    agent hello-2",
        "FAIL  agent rogue",
        "$0.040/vCPU-h",
        "ok    ledger         alice $25.00; locks $0.000667 per period of 30 s",
    ] {
        assert!(introduction.contains(line), "{introduction}");
    }
    assert!(
        introduction.contains("measurement_mismatch:rtmr2"),
        "{introduction}"
    );

    let answer = curl(&[&dev.app]);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "hello from a simulated enclave\n")
    );

    let status = dev.run(&["status"]);
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && said.contains("hello"), "{said}");

    let explain = dev.run(&["app", "explain", "hello", "--agent", "rogue"]);
    assert_eq!(explain.status.code(), Some(3));
    // The rogue comes back every few seconds; what it fails at is said once.
    let said = String::from_utf8_lossy(&explain.stdout);
    assert_eq!(said.matches("FAIL").count(), 1, "{said}");

    let port = dev.control.rsplit(':').next().expect("a port");
    let killed = dev.run(&["dev", "kill", "hello-1", "--control-port", port]);
    assert!(
        killed.status.success(),
        "{}",
        String::from_utf8_lossy(&killed.stderr)
    );
    crate::support::wait_until("the other agent takes over", || {
        let answer = curl(&[&dev.app]);
        answer.status == 200 && answer.header("x-ee-node") == Some("hello-2")
    });

    dev.process.signal("INT");
    assert_eq!(dev.process.wait_for_exit(), Some(0));
    let left: Vec<_> = files_below(dev.home.path());
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn own_program_goes_behind_the_network() {
    let (_backend, url) = crate::support::start_backend();
    let dev = Dev::start(&["--app", "mine", "--backend", &url]);
    let port = dev
        .app
        .trim_end_matches('/')
        .rsplit(':')
        .next()
        .expect("a port");
    let answer = curl(&[
        "-H",
        "Host: mine.localhost",
        &format!("http://127.0.0.1:{port}/"),
    ]);
    assert_eq!(
        (answer.status, answer.header("x-ee-node")),
        (200, answer.header("x-ee-node"))
    );
    assert!(
        answer
            .header("x-ee-node")
            .is_some_and(|node| node.starts_with("mine-"))
    );
}

fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
