//! Real processes for the end-to-end tests: the control plane, agents, curl.
//!
//! Everything listens on loopback, on ports the kernel chose. What a test starts it also ends:
//! a child is killed when its handle is dropped.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "these tests wait for real processes and show what a failed one said"
)]

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The admin token of every control plane under test.
pub const ADMIN_TOKEN: &str = "end-to-end-admin-token-0123456789";

/// How long anything may take before a test gives up; generous, for machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The `easyenclave` binary that cargo built for these tests.
pub fn easyenclave() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_easyenclave"));
    // Settings of the person who runs the tests must not reach the programs under test.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("EE_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// A child process that ends with its handle; what it prints is collected line by line.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
    /// Its temporary folder: what is killed does not tidy up.
    _temporary: TempDir,
}

impl Running {
    /// Starts `command` with its output piped here.
    pub fn start(mut command: Command) -> Self {
        let temporary = tempfile::tempdir().expect("a folder");
        let mut child = command
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary exists");
        let (sender, lines) = mpsc::channel();
        forward(child.stdout.take().expect("piped"), sender.clone());
        forward(child.stderr.take().expect("piped"), sender);
        Self {
            child,
            lines,
            seen: Vec::new(),
            _temporary: temporary,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that `wanted` maps to something.
    pub fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let found = wanted(&line);
                    self.seen.push(line);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(_) => panic!("no {what} in:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Sends a signal by name, as `kill -s` takes it.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .expect("kill is part of every system");
        assert!(status.success());
    }

    /// Waits until the process has ended by itself; its exit code.
    pub fn wait_for_exit(&mut self) -> Option<i32> {
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("still running; it said:\n{}", self.output());
    }

    /// Everything it has said so far.
    pub fn output(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- process {} said:\n{}", self.child.id(), self.output());
        }
    }
}

fn forward(stream: impl Read + Send + 'static, sender: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
}

/// `easyenclave dev server`: the control plane over a simulated platform.
pub struct ControlPlane {
    pub process: Running,
    /// `http://127.0.0.1:<port>` of the API.
    pub api: String,
    /// `http://127.0.0.1:<port>` of the proxy listener.
    pub proxy: String,
}

impl ControlPlane {
    /// Starts it with its state in `dir`; `settings` come on top.
    pub fn start(dir: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = easyenclave();
        command
            .args(["dev", "server"])
            .env("EE_CONTROL_PORT", "0")
            .env("EE_PROXY_PORT", "0")
            .env("EE_DB_PATH", dir.join("control-plane.db"))
            .env("EE_ADMIN_TOKEN", ADMIN_TOKEN)
            .envs(settings.iter().copied());
        let mut process = Running::start(command);
        let ready: serde_json::Value =
            process.wait_for("line of addresses", |line| serde_json::from_str(line).ok());
        let text = |name: &str| ready[name].as_str().expect("an address").to_owned();
        Self {
            process,
            api: text("control"),
            proxy: text("proxy"),
        }
    }

    /// The port that people's requests go to.
    pub fn proxy_port(&self) -> &str {
        self.proxy.rsplit(':').next().expect("a port")
    }

    /// A URL of an app behind the proxy listener.
    pub fn app_url(&self, app: &str, path: &str) -> String {
        format!("http://{app}.localhost:{}{path}", self.proxy_port())
    }

    /// `GET` on the API with the admin token.
    pub fn admin(&self, path: &str) -> serde_json::Value {
        let bearer = format!("Authorization: Bearer {ADMIN_TOKEN}");
        let answer = curl(&["-H", &bearer, &format!("{}{path}", self.api)]);
        serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{path}: {}", answer.body))
    }

    /// Waits until `nodes` nodes of `app` pass every gate and are connected.
    pub fn wait_until_eligible(&self, app: &str, nodes: u64) {
        wait_until(&format!("{nodes} eligible nodes of {app}"), || {
            let list = self.admin("/v1/apps");
            list["apps"].as_array().is_some_and(|apps| {
                apps.iter().any(|status| {
                    status["app_name"] == app
                        && status["allowed"] == true
                        && status["nodes"]["eligible"] == nodes
                })
            })
        });
    }
}

/// `easyenclave dev agent`: one private agent on the simulated platform.
pub fn start_agent(
    control: &ControlPlane,
    id: &str,
    backend: &str,
    settings: &[(&str, &str)],
) -> Running {
    let mut command = easyenclave();
    command
        .args(["dev", "agent"])
        .env(
            "EE_CONTROL_WS",
            format!("{}/v1/tunnel", control.api.replacen("http", "ws", 1)),
        )
        .env("EE_APP_NAME", "hello")
        .env("EE_AGENT_ID", id)
        .env("EE_BACKEND_URL", backend)
        .envs(settings.iter().copied());
    Running::start(command)
}

/// `easyenclave dev backend`: a program that the agents serve.
pub fn start_backend() -> (Running, String) {
    let mut command = easyenclave();
    command.args(["dev", "backend"]);
    let mut process = Running::start(command);
    let ready: serde_json::Value =
        process.wait_for("line of addresses", |line| serde_json::from_str(line).ok());
    let url = ready["backend"].as_str().expect("an address").to_owned();
    (process, url)
}

/// What curl saw.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The first value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Runs curl and parses the last response. `*.localhost` is loopback by RFC 6761, which not every
/// resolver knows, so the address is given.
pub fn curl(arguments: &[&str]) -> Answer {
    let output = curl_output(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    parse_answer(&text).unwrap_or_else(|| {
        panic!(
            "curl {arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn curl_output(arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["-sS", "-i", "--max-time", "30", "--http1.1", "--path-as-is"])
        .args(["--connect-to", "hello.localhost::127.0.0.1:"])
        .args(arguments)
        .output()
        .expect("curl is installed")
}

fn parse_answer(text: &str) -> Option<Answer> {
    let mut rest = text;
    loop {
        let (head, body) = rest.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        if (100..200).contains(&status) {
            rest = body;
            continue;
        }
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        return Some(Answer {
            status,
            headers,
            body: body.to_owned(),
        });
    }
}

/// Polls `condition` until it holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "never came true: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// How the programs of PyPI come below `target/tools`, from the repository's root.
const TOOLS_INSTALL: &str =
    "python3 -m pip install --target target/tools --requirement .ci/tools.txt";

/// Where an outside program is, or `None` with a word about it: Debian's packages, then what
/// `.ci/tools.txt` names.
pub fn installed(program: &str) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let found = places
        .into_iter()
        .chain([tools.join("bin"), tools])
        .map(|dir| dir.join(program))
        .find(|path| path.exists());
    let install = match program {
        "caddy" | "traefik" | "kosoku" | "grpc" => TOOLS_INSTALL.to_owned(),
        "nghttp" | "h2load" => "apt-get install nghttp2-client".to_owned(),
        _ => format!("apt-get install {program}"),
    };
    if found.is_none() {
        let missing = format!("{program} is missing: {install}");
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        eprintln!("skipped: {missing}");
    }
    found
}
