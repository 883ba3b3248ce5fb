//! Autobahn's WebSocket cases (RFC 6455), run by the program kosoku of PyPI: as a client against
//! a server of ours, or as the server that a client of ours comes to.
//!
//! The peer under test echoes what it gets. Whether it does so as the RFC says is for Autobahn to
//! judge; a test looks at [`Verdicts::not_ok`].

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
};

use serde::Deserialize;

/// How to get the program, from the repository's root.
pub const INSTALL: &str =
    "python3 -m pip install --target target/tools --requirement .ci/tools.txt";

/// The name under which Autobahn reports on a client of ours.
pub const AGENT: &str = "easyenclave";

/// Cases that ask for permessage-deflate: what is declined is not tested.
pub const COMPRESSION: [&str; 2] = ["12.*", "13.*"];

/// Which cases to run: ids, or globs like `9.*`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection<'a> {
    /// These; all if there are none.
    pub include: &'a [&'a str],
    /// But not these.
    pub exclude: &'a [&'a str],
}

/// Where `pip install --target` put kosoku, or `None`.
pub fn tools() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    tools.join("bin/kosoku").exists().then_some(tools)
}

/// What Autobahn says about each case, by id: how messages were exchanged, and the close.
#[derive(Debug, Default)]
pub struct Verdicts(pub BTreeMap<String, (String, String)>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    behavior: String,
    behavior_close: String,
}

impl Verdicts {
    /// The cases that did not go as the RFC demands, with what Autobahn says.
    pub fn not_ok(&self) -> Vec<String> {
        let fine = |word: &str| matches!(word, "OK" | "INFORMATIONAL");
        self.0
            .iter()
            .filter(|(_, (behavior, close))| !fine(behavior) || !fine(close))
            .map(|(case, (behavior, close))| format!("{case}: {behavior}, close {close}"))
            .collect()
    }

    fn read(folder: &Path) -> io::Result<Self> {
        let text = std::fs::read(folder.join("index.json"))?;
        let agents: BTreeMap<String, BTreeMap<String, Entry>> =
            serde_json::from_slice(&text).map_err(io::Error::other)?;
        let cases = agents.into_values().flatten();
        let words = |(case, entry): (String, Entry)| (case, (entry.behavior, entry.behavior_close));
        Ok(Self(cases.map(words).collect()))
    }
}

/// Runs the cases against the server at `url`, with the reports in `folder`.
pub fn fuzz_server(
    tools: &Path,
    folder: &Path,
    url: &str,
    selection: Selection<'_>,
) -> io::Result<Verdicts> {
    let mut command = kosoku(tools, folder, selection);
    // Few at once: the cases of group 9 send many MiB each.
    let output = command.args(["--parallelism", "4", url]).output()?;
    Verdicts::read(folder).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        io::Error::other(format!("no report ({error}): {said}"))
    })
}

/// Autobahn's server; it ends when it is dropped.
pub struct FuzzingServer {
    child: Child,
    stderr: BufReader<ChildStderr>,
    folder: PathBuf,
    /// `127.0.0.1:<port>`.
    pub address: String,
}

impl FuzzingServer {
    /// Starts it on a free port.
    pub fn start(tools: &Path, folder: &Path, selection: Selection<'_>) -> io::Result<Self> {
        let mut command = kosoku(tools, folder, selection);
        command.args(["--mode", "fuzzingserver", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::null()).spawn()?;
        let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut server = Self {
            child,
            stderr: BufReader::new(stderr),
            folder: folder.to_owned(),
            address: String::new(),
        };
        let mut line = String::new();
        server.stderr.read_line(&mut line)?;
        let address = line.trim_end().rsplit_once("ws://");
        let (_, address) = address.ok_or_else(|| io::Error::other(line.clone()))?;
        server.address = address.to_owned();
        Ok(server)
    }

    /// The path that runs case `number`, counted from 1; then [`Self::REPORT`] must be asked for.
    pub fn case(number: usize) -> String {
        format!("/runCase?case={number}&agent={AGENT}")
    }

    /// The path whose only message is how many cases there are.
    pub const COUNT: &'static str = "/getCaseCount";
    /// The path that ends the run.
    pub const REPORT: &'static str = "/updateReports?agent=easyenclave";

    /// What it found; call it when the client has run every case and asked for the report.
    pub fn finish(mut self) -> io::Result<Verdicts> {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said)?;
        self.child.wait()?;
        Verdicts::read(&self.folder)
            .map_err(|error| io::Error::other(format!("no report ({error}): {said}")))
    }
}

impl Drop for FuzzingServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kosoku(tools: &Path, folder: &Path, selection: Selection<'_>) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(tools.join("bin/kosoku"))
        .env("PYTHONPATH", tools)
        .arg("--outdir")
        .arg(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    for case in selection.include {
        command.args(["--include", case]);
    }
    for case in selection.exclude {
        command.args(["--exclude", case]);
    }
    command
}
