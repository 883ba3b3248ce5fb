//! The steps of `cargo xtask test`, in the order of their cost.
//!
//! Every step runs even if an earlier one failed: one run shows everything that is wrong.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::postgres::{INSTALL, PostgresCluster, TEST_URL};
use crate::tidy;
use crate::tree::Tree;
use crate::{dependencies, deploy, dist, fuzz, programs};

/// What a run of the tests may do.
pub struct TestOptions {
    pub require_all: bool,
    pub only: Vec<Step>,
    /// Where property tests begin.
    pub seed: u64,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Step {
    Fmt,
    Tidy,
    Programs,
    Dependencies,
    Clippy,
    Tests,
    DocTests,
    Documents,
    Deploy,
    Dist,
}

const STEPS: &[Step] = &[
    Step::Fmt,
    Step::Tidy,
    Step::Programs,
    Step::Dependencies,
    Step::Clippy,
    Step::Tests,
    Step::DocTests,
    Step::Documents,
    Step::Deploy,
    Step::Dist,
];

/// How a step ended.
pub enum Outcome {
    Passed,
    /// An outside program is missing; the text says how to install it.
    Skipped(String),
    Failed(String),
}

/// Runs the steps and prints one line for each; true when nothing failed.
pub fn test(root: &Path, options: &TestOptions) -> bool {
    let wanted = |step: &&Step| options.only.is_empty() || options.only.contains(step);
    let mut lines = Vec::new();
    let mut failed = 0;
    for &step in STEPS.iter().filter(wanted) {
        println!("==> {step:?}");
        let outcome = run(step, root, options.seed);
        let outcome = outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        let line = match outcome {
            Outcome::Passed => format!("ok       {step:?}"),
            Outcome::Skipped(why) if !options.require_all => format!("skipped  {step:?}  {why}"),
            Outcome::Skipped(why) | Outcome::Failed(why) => {
                failed += 1;
                format!("FAILED   {step:?}  {why}")
            }
        };
        lines.push(line);
    }
    println!("\n{}", lines.join("\n"));
    failed == 0
}

fn run(step: Step, root: &Path, seed: u64) -> Result<Outcome> {
    match step {
        Step::Fmt => cargo(root, &["fmt", "--all", "--check"]),
        Step::Tidy => tidy_step(root),
        Step::Programs => Ok(programs::check(root)),
        Step::Dependencies => dependencies::check(root),
        Step::Clippy => clippy(root),
        Step::Tests => tests(root, seed),
        Step::DocTests => doc_tests(root),
        Step::Documents => documents(root),
        Step::Deploy => deploy::check(root),
        Step::Dist => dist::check(root),
    }
}

/// With the fuzzer where its C++ can be compiled, so that its few lines are checked too.
fn clippy(root: &Path) -> Result<Outcome> {
    let features: &[&str] = match fuzz::has_compiler() {
        true => &["--features", "ee-fuzz/libfuzzer"],
        false => &[],
    };
    let everything = ["clippy", "--workspace", "--all-targets", "--locked"];
    let arguments = [&everything[..], features, &["--", "-Dwarnings"]].concat();
    cargo(root, &arguments)
}

fn tidy_step(root: &Path) -> Result<Outcome> {
    let findings = tidy::check(&Tree::of_repository(root)?)?;
    for finding in &findings {
        println!("{finding}");
    }
    Ok(match findings.len() {
        0 => Outcome::Passed,
        count => Outcome::Failed(format!("{count} findings")),
    })
}

/// nextest where it is installed, for its time-outs; the built-in runner elsewhere. A throw-away
/// PostgreSQL runs meanwhile; without it the tests that need one do nothing.
fn tests(root: &Path, seed: u64) -> Result<Outcome> {
    let seed = seed.to_string();
    let seed = ("PROPTEST_RNG_SEED", seed.as_str());
    let nextest = works(Command::new("cargo").args(["nextest", "--version"]));
    let runner: &[&str] = if nextest {
        &["nextest", "run"]
    } else {
        &["test", "--lib", "--bins", "--tests"]
    };
    let everything = ["--workspace", "--locked", "--no-fail-fast"];
    let arguments = [runner, &everything[..]].concat();
    if PostgresCluster::programs().is_none() {
        return Ok(match cargo_with(root, &arguments, &[seed])? {
            Outcome::Passed => Outcome::Skipped(format!("PostgreSQL is missing: {INSTALL}")),
            failed @ (Outcome::Skipped(_) | Outcome::Failed(_)) => failed,
        });
    }
    let cluster = PostgresCluster::start().context("the throw-away PostgreSQL")?;
    let url = cluster.url();
    cargo_with(root, &arguments, &[(TEST_URL, &url), seed])
}

/// Examples in doc comments. Compiling the harness costs a minute, so only where there are some.
fn doc_tests(root: &Path) -> Result<Outcome> {
    let tree = Tree::of_repository(root)?;
    let examples = |text: &str| {
        text.lines()
            .any(|line| line.trim_start().starts_with("/// ```"))
    };
    if !tree
        .texts()
        .any(|(path, text)| path.ends_with(".rs") && examples(text))
    {
        return Ok(Outcome::Passed);
    }
    cargo(root, &["test", "--workspace", "--locked", "--doc"])
}

/// A generated document: its path, and the server's arguments that print it.
const GENERATED: &[(&str, &[&str])] = &[
    ("docs/config.md", &["config", "reference"]),
    ("openapi.json", &["openapi"]),
];

/// Generated documents equal what the code prints.
fn documents(root: &Path) -> Result<Outcome> {
    for (path, arguments) in GENERATED {
        let committed = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        if committed != server_prints(root, arguments)? {
            return Ok(Outcome::Failed(format!(
                "{path} is stale: run cargo xtask generate"
            )));
        }
    }
    Ok(Outcome::Passed)
}

/// Writes the generated documents.
pub fn generate(root: &Path) -> Result<()> {
    for (path, arguments) in GENERATED {
        std::fs::write(root.join(path), server_prints(root, arguments)?).context(*path)?;
        println!("wrote {path}");
    }
    Ok(())
}

fn server_prints(root: &Path, arguments: &[&str]) -> Result<String> {
    let server = debug_binary(root, "easyenclave-server")?;
    let output = Command::new(&server)
        .args(arguments)
        .output()
        .context("easyenclave-server")?;
    if !output.status.success() {
        bail!(
            "easyenclave-server {}: {}",
            arguments.join(" "),
            output.status
        );
    }
    String::from_utf8(output.stdout).context("the server printed no UTF-8")
}

/// A workspace binary beside xtask's own.
///
/// During a run of the tests it is there already and is not rebuilt: other tests start it.
/// `--workspace --bins` has the same set of features as the test build, so little is compiled.
pub fn debug_binary(root: &Path, name: &str) -> Result<PathBuf> {
    if !cfg!(test) || beside_us(name).is_none() {
        let built = cargo(
            root,
            &["build", "--quiet", "--workspace", "--bins", "--locked"],
        )?;
        if let Outcome::Failed(why) = built {
            bail!("the binaries do not build: {why}");
        }
    }
    beside_us(name).with_context(|| format!("{name} was not built"))
}

fn beside_us(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let folders = own.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Runs cargo with its output shown.
pub fn cargo(root: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Outcome> {
    cargo_with(root, arguments, &[])
}

/// Runs cargo with its output shown and more in its environment.
pub fn cargo_with(
    root: &Path,
    arguments: &[impl AsRef<OsStr>],
    environment: &[(&str, &str)],
) -> Result<Outcome> {
    let mut command = Command::new("cargo");
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root)
        .stdin(Stdio::null());
    let status = command.status().context("cargo")?;
    Ok(if status.success() {
        Outcome::Passed
    } else {
        Outcome::Failed(status.to_string())
    })
}

/// Whether a command runs and succeeds, its output hidden.
pub fn works(command: &mut Command) -> bool {
    let silent = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}
