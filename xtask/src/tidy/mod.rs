//! The repository's own rules, each a pure function from the files to findings.
//!
//! Function length, unwrap, printing and the clock are clippy's work (`clippy.toml`, workspace
//! lints); the rules here are those that clippy cannot see.

mod calls;
mod crates;
mod faults;
mod lexer;
mod limits;
mod markdown;
mod names;
mod settings;

use std::fmt;

use anyhow::Result;

use crate::tree::Tree;

/// One broken rule at one place.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: String,
    pub line: usize,
    pub message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Runs every rule.
pub fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = crates::arrows(tree)?;
    findings.extend(crates::manifests(tree)?);
    findings.extend(limits::check(tree));
    findings.extend(calls::check(tree));
    findings.extend(settings::check(tree));
    findings.extend(names::check(tree));
    findings.extend(markdown::check(tree));
    findings.extend(faults::check(tree));
    Ok(findings)
}

/// The Rust files.
fn rust_files(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.texts().filter(|(path, _)| path.ends_with(".rs"))
}

/// Whether a whole file is test code: integration tests, and the files of `mod tests;`.
fn is_test_file(path: &str) -> bool {
    let of_tests = ["/tests.rs", "/properties.rs", "_tests.rs"];
    path.contains("/tests/") || of_tests.iter().any(|end| path.ends_with(end))
}

/// The number of lines before the test module at the foot of a file; 0 for a test file.
fn production_lines(path: &str, text: &str) -> usize {
    if is_test_file(path) {
        return 0;
    }
    let tests = text
        .lines()
        .collect::<Vec<_>>()
        .windows(2)
        .position(|pair| {
            pair[0].trim() == "#[cfg(test)]"
                && pair[1].trim_start().starts_with("mod ")
                && pair[1].trim_end().ends_with('{')
        });
    tests.unwrap_or_else(|| text.lines().count())
}

#[cfg(test)]
pub mod fixture {
    use super::*;

    /// A tree of these files.
    pub fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.insert(path, *text);
        }
        tree
    }

    /// The findings' messages, without their places.
    pub fn messages(findings: &[Finding]) -> Vec<&str> {
        findings
            .iter()
            .map(|finding| finding.message.as_str())
            .collect()
    }
}
