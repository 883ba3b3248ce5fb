//! `cargo xtask fuzz`: the targets of `ee-fuzz` under libFuzzer, each for a while.
//!
//! The toolchain is the stable one: the coverage that libFuzzer follows is a pass of LLVM, which
//! any compiler has. No sanitizer runs, because our code holds no `unsafe`; overflow checks and
//! debug assertions do. What was learnt stays in `target/fuzz/corpus` for the next run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::steps::{Outcome, cargo_with, works};

/// What to try, and for how long.
#[derive(clap::Args)]
pub struct FuzzOptions {
    /// Only these targets; an unknown one names them all.
    #[arg(long)]
    target: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Edges, a counter for each, and what comparisons compare: as cargo-fuzz asks for them.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing";

/// Longest time for one input. The slowest honest one takes milliseconds.
const INPUT_MAX_S: u32 = 10;
/// Most memory: an input of some KiB that needs more is an attack.
const MEMORY_MAX_MIB: u32 = 1024;
/// From this time on a target must reach its floor of coverage.
const FLOOR_FROM_S: u64 = 60;

/// A line of the program's list.
struct Target {
    name: String,
    longest: String,
    /// Edges that a minute reaches with room to spare: below it the target lost its way in.
    floor: u64,
}

/// What a run came to.
struct Run {
    inputs: u64,
    edges: u64,
    corpus: String,
    found: Option<String>,
}

/// True when nothing was found and every target got as far as it must.
pub fn run(root: &Path, options: &FuzzOptions) -> Result<bool> {
    ensure!(
        has_compiler(),
        "libFuzzer is C++, and there is no compiler: apt-get install g++"
    );
    let program = build(root)?;
    let targets = list(&program)?;
    let names: Vec<&str> = targets.iter().map(|target| &*target.name).collect();
    if let Some(unknown) = options
        .target
        .iter()
        .find(|name| !names.contains(&&***name))
    {
        bail!("no target {unknown}; there are {}", names.join(", "));
    }
    let mut good = true;
    println!(
        "{:<18} {:>10} {:>9} {:>7} {:>7}",
        "TARGET", "INPUTS", "PER S", "EDGES", "CORPUS"
    );
    for target in targets {
        if options.target.is_empty() || options.target.contains(&target.name) {
            good &= report(
                &target,
                options.seconds,
                &fuzz(root, &program, &target, options)?,
            );
        }
    }
    Ok(good)
}

/// Whether libFuzzer's C++ can be compiled.
pub fn has_compiler() -> bool {
    works(Command::new("c++").arg("--version"))
}

/// Builds in a folder of its own, because the flags differ from those of every other build.
fn build(root: &Path) -> Result<PathBuf> {
    let host = host()?;
    let folder = root.join("target/fuzz");
    // Flags for a named target do not reach build scripts, which would not link with them.
    let arguments = [
        "build",
        "--quiet",
        "--locked",
        "--package",
        "ee-fuzz",
        "--features",
        "libfuzzer",
        "--profile",
        "fuzz",
        "--target",
        &host,
    ];
    let folder_text = folder
        .to_str()
        .context("the path of the repository is no Unicode")?;
    let environment = [("RUSTFLAGS", COVERAGE), ("CARGO_TARGET_DIR", folder_text)];
    match cargo_with(root, &arguments, &environment)? {
        Outcome::Passed => Ok(folder.join(host).join("fuzz/ee-fuzz")),
        Outcome::Skipped(why) | Outcome::Failed(why) => bail!("the targets do not build: {why}"),
    }
}

fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc")?;
    let text = String::from_utf8(output.stdout).context("rustc -vV")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn list(program: &Path) -> Result<Vec<Target>> {
    let output = Command::new(program)
        .arg("--list")
        .output()
        .context("ee-fuzz --list")?;
    let text = String::from_utf8(output.stdout).context("ee-fuzz --list")?;
    text.lines().map(listed).collect()
}

fn listed(line: &str) -> Result<Target> {
    let words: Vec<&str> = line.split(' ').collect();
    let [name, longest, floor] = words[..] else {
        bail!("ee-fuzz --list said {line:?}");
    };
    Ok(Target {
        name: name.to_owned(),
        longest: longest.to_owned(),
        floor: floor.parse().with_context(|| line.to_owned())?,
    })
}

fn fuzz(root: &Path, program: &Path, target: &Target, options: &FuzzOptions) -> Result<Run> {
    let name = &target.name;
    let corpus = root.join("target/fuzz/corpus").join(name);
    let findings = root.join("target/fuzz/findings").join(name);
    let known = root.join("crates/ee-fuzz/regressions").join(name);
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let log = findings.join("log");
    let mut command = Command::new(program);
    command
        .arg(format!("--target={name}"))
        .arg(format!("--seeds={}", corpus.display()))
        .arg(format!("-max_total_time={}", options.seconds))
        .arg(format!("-max_len={}", target.longest))
        .arg(format!("-timeout={INPUT_MAX_S}"))
        .arg(format!("-rss_limit_mb={MEMORY_MAX_MIB}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .arg("-print_final_stats=1")
        .arg(&corpus)
        .args(known.is_dir().then_some(&known))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).context("the log")?);
    let status = command.status().context("ee-fuzz")?;
    let text = String::from_utf8_lossy(&fs::read(&log).context("the log")?).into_owned();
    let found = (!status.success()).then(|| explain(&text, &log));
    let (edges, corpus) = progress(&text);
    Ok(Run {
        inputs: number_after(&text, "stat::number_of_executed_units:"),
        edges,
        corpus,
        found,
    })
}

/// Edges and size of the corpus of the last line that tells them.
fn progress(log: &str) -> (u64, String) {
    let last = log.lines().rev().find(|line| line.contains(" cov: "));
    let words: Vec<&str> = last.unwrap_or_default().split_whitespace().collect();
    let after = |name: &str| {
        let at = words.iter().position(|word| *word == name);
        at.and_then(|at| words.get(at + 1)).copied().unwrap_or("0")
    };
    let corpus = after("corp:").split('/').next().unwrap_or("0").to_owned();
    (after("cov:").parse().unwrap_or(0), corpus)
}

fn number_after(log: &str, label: &str) -> u64 {
    let line = log.lines().find_map(|line| line.strip_prefix(label));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
}

/// What a panic said, and which input caused it.
fn explain(log: &str, file: &Path) -> String {
    let mut lines = log.lines().skip_while(|line| !line.contains("panicked at"));
    let panic: Vec<&str> = lines.by_ref().take(4).collect();
    let written = log
        .lines()
        .find(|line| line.contains("Test unit written to"));
    format!(
        "{}\n  {}\n  all of it: {}",
        panic.join("\n  "),
        written.unwrap_or("no input"),
        file.display()
    )
}

fn report(target: &Target, seconds: u64, run: &Run) -> bool {
    let Run {
        inputs,
        edges,
        corpus,
        found,
    } = run;
    let per_second = inputs / seconds.max(1);
    println!(
        "{:<18} {inputs:>10} {per_second:>9} {edges:>7} {corpus:>7}",
        target.name
    );
    if let Some(found) = found {
        println!(
            "  FOUND {found}\n  again: cargo run -p ee-fuzz -- {} FILE",
            target.name
        );
        return false;
    }
    if seconds >= FLOOR_FROM_S && *edges < target.floor {
        println!("  TOO LITTLE: {edges} edges, at least {}", target.floor);
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: seed corpus: files: 3\n\
        #4\tINITED cov: 81 ft: 82 corp: 2/28b exec/s: 0 rss: 44Mb\n\
        #1024\tpulse  cov: 120 ft: 300 corp: 17/900b lim: 64 exec/s: 512 rss: 45Mb\n\
        stat::number_of_executed_units: 52341\n";

    #[test]
    fn the_last_word_of_a_log_counts() {
        assert_eq!(progress(LOG), (120, "17".to_owned()));
        assert_eq!(number_after(LOG, "stat::number_of_executed_units:"), 52_341);
        assert_eq!(progress(""), (0, "0".to_owned()));
    }

    #[test]
    fn a_list_has_three_words_a_line() {
        let target = listed("money 64 120").expect("a line");
        assert_eq!(
            (&*target.name, &*target.longest, target.floor),
            ("money", "64", 120)
        );
        assert!(listed("money").is_err());
    }

    #[test]
    fn a_target_without_coverage_fails_after_a_minute() {
        let target = listed("money 64 120").expect("a line");
        let run = |edges, found| Run {
            inputs: 1,
            edges,
            corpus: "1".into(),
            found,
        };
        assert!(report(&target, 60, &run(120, None)));
        assert!(!report(&target, 60, &run(119, None)));
        assert!(report(&target, 5, &run(119, None)), "too early to say");
        assert!(!report(&target, 5, &run(500, Some("a panic".into()))));
    }
}
