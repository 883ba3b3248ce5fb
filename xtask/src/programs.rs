//! Programs of others that tests run: where they are, and how to get them.
//!
//! Tests that need a missing one pass over it, so the list is a step of its own: what was not
//! tested is said, and is a failure where everything is required.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::Outcome;

/// Where programs of PyPI are installed, and how.
const TOOLS: &str = "target/tools";
const PIP: &str = "python3 -m pip install --target target/tools --requirement .ci/tools.txt";

/// Program, and how to install it. PostgreSQL is looked for where its cluster is started.
const PROGRAMS: [(&str, &str); 11] = [
    ("c++", "apt-get install g++"),
    ("curl", "apt-get install curl"),
    ("python3", "apt-get install python3"),
    ("wrk", "apt-get install wrk"),
    ("nghttp", "apt-get install nghttp2-client"),
    ("h2load", "apt-get install nghttp2-client"),
    ("nginx", "apt-get install nginx"),
    ("caddy", PIP),
    ("traefik", PIP),
    ("kosoku", PIP),
    ("grpc", PIP),
];

pub fn check(root: &Path) -> Outcome {
    let missing = PROGRAMS
        .iter()
        .filter(|(name, _)| find(root, name).is_none());
    let missing: Vec<String> = missing
        .map(|(name, how)| format!("{name}: {how}"))
        .collect();
    match missing.is_empty() {
        true => Outcome::Passed,
        false => Outcome::Skipped(format!("missing: {}", missing.join("; "))),
    }
}

/// Debian keeps nginx in `sbin`, which is not on everybody's path; programs of PyPI are below
/// `target`, where nothing else on the machine sees them.
pub fn find(root: &Path, name: &str) -> Option<PathBuf> {
    let places = [
        root.join(TOOLS).join("bin").join(name),
        // A library of Python's.
        root.join(TOOLS).join(name).join("__init__.py"),
        Path::new("/usr/sbin").join(name),
    ];
    places
        .into_iter()
        .find(|program| program.is_file())
        .or_else(|| on_the_path(name))
}

fn on_the_path(name: &str) -> Option<PathBuf> {
    let mut shell = Command::new("sh");
    let output = shell
        .args(["-c", "command -v \"$0\"", name])
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    let path = PathBuf::from(path.trim_end());
    (output.status.success() && path.is_file()).then_some(path)
}

/// How to install a program of the list.
pub fn install(name: &str) -> &'static str {
    let known = PROGRAMS.iter().find(|(program, _)| *program == name);
    known.map_or("", |(_, how)| how)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_is_named_with_its_install_line() {
        let nowhere = Path::new("/nonexistent");
        assert!(find(nowhere, "sh").is_some(), "the path counts");
        assert!(find(nowhere, "no-such-program").is_none());
        assert_eq!(install("h2load"), "apt-get install nghttp2-client");
        assert!(install("caddy").contains(".ci/tools.txt"));
    }

    /// What `.ci/run` must install is what the list names.
    #[test]
    fn every_program_is_installed_by_the_ci() {
        let read = |name: &str| std::fs::read_to_string(crate::root().join(name)).expect(name);
        let (run, tools) = (read(".ci/run"), read(".ci/tools.txt"));
        for (name, how) in PROGRAMS {
            let told = match how.strip_prefix("apt-get install ") {
                Some(package) => run.contains(&format!(" {package}\n")),
                None => tools.contains(name),
            };
            assert!(told, "{name}");
        }
    }
}
