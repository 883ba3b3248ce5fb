//! What we build on: licences that let others use the result, one cryptography, no second TLS.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::steps::Outcome;

/// Licences that ask for no more than attribution.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that must not enter the graph, directly or through others.
const BANNED: &[&str] = &[
    "openssl",
    "openssl-sys",
    "native-tls",
    "aws-lc-rs",
    "aws-lc-sys",
    "mbedtls",
];

/// Reads the whole graph, the optional parts that are not built included.
pub fn check(root: &Path) -> Result<Outcome> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata failed");
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let problems: Vec<String> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(problem)
        .collect();
    for problem in &problems {
        println!("{problem}");
    }
    Ok(match problems.len() {
        0 => Outcome::Passed,
        count => Outcome::Failed(format!("{count} packages")),
    })
}

fn problem(package: &Value) -> Option<String> {
    let name = package["name"].as_str().unwrap_or_default();
    if BANNED.contains(&name) {
        return Some(format!(
            "{name}: banned, see docs/adr/0001-ring-is-the-only-cryptography.md"
        ));
    }
    let licence = package["license"].as_str().unwrap_or_default();
    (!permits(licence)).then(|| format!("{name}: licence `{licence}`"))
}

/// Whether an SPDX expression leaves a way that only uses the licences above.
fn permits(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words };
    let permitted = reader.alternatives();
    permitted && reader.words.is_empty()
}

struct Reader<'a> {
    words: &'a [&'a str],
}

impl Reader<'_> {
    fn alternatives(&mut self) -> bool {
        let mut any = self.all();
        while self.takes("OR") {
            any |= self.all();
        }
        any
    }

    fn all(&mut self) -> bool {
        let mut all = self.one();
        while self.takes("AND") {
            all &= self.one();
        }
        all
    }

    fn one(&mut self) -> bool {
        if self.takes("(") {
            let inner = self.alternatives();
            return self.takes(")") && inner;
        }
        let Some((licence, rest)) = self.words.split_first() else {
            return false;
        };
        self.words = rest;
        if self.takes("WITH") {
            // An exception only adds permissions.
            self.words = self.words.get(1..).unwrap_or_default();
        }
        LICENCES.contains(licence)
    }

    fn takes(&mut self, word: &str) -> bool {
        let taken = self.words.first() == Some(&word);
        if taken {
            self.words = &self.words[1..];
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissive_licences_pass() {
        for expression in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR MIT",
        ] {
            assert!(permits(expression), "{expression}");
        }
    }

    #[test]
    fn others_are_found() {
        for expression in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT",
            "AGPL-3.0 OR LGPL-2.1",
        ] {
            assert!(!permits(expression), "{expression}");
        }
    }

    #[test]
    fn banned_package_is_found() {
        let package = serde_json::json!({"name": "openssl-sys", "license": "MIT"});
        assert!(problem(&package).is_some());
    }
}
