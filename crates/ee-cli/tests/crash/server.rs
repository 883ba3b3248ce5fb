//! The control plane as a process that may be killed.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::http::ADMIN_TOKEN;

/// Machines are shared, and the first start builds collateral.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the books lie.
#[derive(Debug, Clone)]
pub enum Books {
    Sqlite,
    Postgres(String),
}

/// Everything a control plane keeps, in one folder.
pub struct Home {
    pub folder: PathBuf,
    pub books: Books,
    /// Further variables of its environment.
    pub environment: Vec<(&'static str, String)>,
}

impl Home {
    pub fn new(folder: &Path, books: Books) -> Self {
        for part in ["data", "tmp"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        Self {
            folder: folder.to_owned(),
            books,
            environment: Vec::new(),
        }
    }

    /// Where SQLite's files lie, and nothing else does.
    pub fn database_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What an audit is told to read.
    pub fn database(&self) -> String {
        match &self.books {
            Books::Sqlite => self
                .database_folder()
                .join("control-plane.db")
                .display()
                .to_string(),
            Books::Postgres(url) => url.clone(),
        }
    }

    /// What the last server said on standard error.
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }

    /// Starts the control plane here; returns once it serves.
    pub fn start(&self) -> Server {
        self.launch().serves(self)
    }

    /// Starts a control plane that has to end by itself: its exit code, and what it said.
    pub fn fails_to_start(&self) -> (Option<i32>, String) {
        let code = self.launch().server.wait();
        (code, self.said())
    }

    /// Starts the control plane here and does not wait for it.
    pub fn launch(&self) -> Launched {
        let mut command = easyenclave();
        command
            .args(["dev", "server"])
            .env("EE_CONTROL_PORT", "0")
            .env("EE_PROXY_PORT", "0")
            .env("EE_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("EE_LOG", "warn")
            // Account rows follow often enough that many a kill comes in the middle of a round.
            .env("EE_REDO_TRANSFERS", "100")
            // What a killed process could not remove goes with the folder of the test.
            .env("TMPDIR", self.folder.join("tmp"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(self.folder.join("stderr")).unwrap());
        match &self.books {
            Books::Sqlite => command.env("EE_DB_PATH", self.database()),
            Books::Postgres(url) => command
                .env("EE_DATABASE_URL", url)
                .env("EE_DATA_DIR", self.database_folder()),
        };
        let mut child = command.spawn().unwrap();
        let lines = lines(&mut child);
        let server = Server {
            child,
            api: String::new(),
        };
        Launched { server, lines }
    }

    /// Runs `easyenclave audit verify` on the books; panics unless everything holds.
    pub fn audit(&self) {
        audit(&self.database(), &self.said());
    }
}

/// Verifies the books at a path or URL.
pub fn audit(database: &str, context: &str) {
    let mut command = easyenclave();
    command.args(["audit", "verify", "all"]);
    if database.starts_with("postgres") {
        command.env("EE_DATABASE_URL", database);
    } else {
        command.args(["--db", database]);
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "audit of {database}: {}\n{}{}\nthe server said:\n{context}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// The command line tool, without the settings of the person who runs the tests.
pub fn easyenclave() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_easyenclave"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EE_") {
            command.env_remove(name);
        }
    }
    command
}

/// A control plane that does not serve yet.
pub struct Launched {
    server: Server,
    lines: mpsc::Receiver<String>,
}

impl Launched {
    /// Waits until it serves.
    pub fn serves(self, home: &Home) -> Server {
        let Self { mut server, lines } = self;
        let Ok(ready) = lines.recv_timeout(PATIENCE) else {
            let status = server.wait();
            panic!("the server did not start ({status:?}):\n{}", home.said());
        };
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let control = ready["control"].as_str().unwrap();
        control
            .trim_start_matches("http://")
            .clone_into(&mut server.api);
        server
    }
}

fn lines(child: &mut Child) -> mpsc::Receiver<String> {
    let stdout = child.stdout.take().unwrap();
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        // Read to the end, so that the server never writes into a closed pipe.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// A running control plane; it is killed when this is dropped.
pub struct Server {
    child: Child,
    /// `127.0.0.1:port` of its API.
    pub api: String,
}

impl Server {
    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for it to end.
    pub fn stop(mut self) {
        self.signal("TERM");
        assert!(self.wait().is_some(), "it goes on after SIGTERM");
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let told = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(told.unwrap().success());
    }

    /// Whether it has ended by itself, and how.
    pub fn ended(&mut self) -> Option<i32> {
        self.child
            .try_wait()
            .unwrap()
            .map(|status| status.code().unwrap_or(-1))
    }

    /// Waits for it to end by itself; its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        for _ in 0..600 {
            if let Some(code) = self.ended() {
                return Some(code);
            }
            thread::sleep(Duration::from_millis(50));
        }
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
