//! The production binaries hold no simulator and no trust root but Intel's.
//!
//! Three independent looks: the dependency tree cargo resolves, the symbols and texts inside the
//! linked binary, and (in `tidy/calls.rs`) the source, where only dev, tests and benchmarks may
//! make a root. The command line tool, which does hold the simulator, shows that the looks see.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::steps::{Outcome, cargo, debug_binary};

/// The packages whose binaries go to production, with the binary's name.
const PRODUCTION: &[(&str, &str)] = &[
    ("ee-server", "easyenclave-server"),
    ("ee-agent", "easyenclave-agent"),
];

/// What the simulator leaves in a binary: its crate's name in symbols and panic locations, and the
/// text that goes into each of its keys.
const SIMULATOR_MARKS: &[&str] = &[
    "ee_testbed",
    "ee-testbed",
    "EasyEnclave simulated platform v1",
];

/// Looks at the dependency trees and at the debug binaries, which have all their symbols.
pub fn check(root: &Path) -> Result<Outcome> {
    for (package, binary) in PRODUCTION {
        if let Some(line) = simulator_in_tree(root, package)? {
            return Ok(Outcome::Failed(format!("{package} depends on {line}")));
        }
        let bytes = read(&debug_binary(root, binary)?)?;
        if let Some(mark) = simulator_in_binary(&bytes) {
            return Ok(Outcome::Failed(format!("{binary} contains {mark}")));
        }
    }
    Ok(Outcome::Passed)
}

/// Builds what is released, one package at a time so that nothing else's features are unified
/// into it, and looks again.
pub fn dist(root: &Path) -> Result<()> {
    for (package, binary) in PRODUCTION {
        let build = [
            "build",
            "--profile",
            "dist",
            "--locked",
            "-p",
            package,
            "--bin",
            binary,
        ];
        ensure!(
            matches!(cargo(root, &build)?, Outcome::Passed),
            "{binary} does not build"
        );
        let tree = simulator_in_tree(root, package)?;
        ensure!(tree.is_none(), "{package} depends on the simulator");
        let path = root.join("target/dist").join(binary);
        let bytes = read(&path)?;
        let mark = simulator_in_binary(&bytes);
        ensure!(mark.is_none(), "{binary} contains the simulator");
        println!("{binary}  {} bytes  no simulator", bytes.len());
    }
    Ok(())
}

/// The line of `cargo tree` that names the simulator, among what the product links.
fn simulator_in_tree(root: &Path, package: &str) -> Result<Option<String>> {
    let output = Command::new("cargo")
        .args([
            "tree",
            "--locked",
            "-e",
            "normal,build",
            "--prefix",
            "none",
            "-p",
            package,
        ])
        .current_dir(root)
        .output()
        .context("cargo tree")?;
    ensure!(output.status.success(), "cargo tree -p {package} failed");
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(tree
        .lines()
        .find(|line| line.starts_with("ee-testbed "))
        .map(str::to_owned))
}

fn simulator_in_binary(bytes: &[u8]) -> Option<&'static str> {
    SIMULATOR_MARKS
        .iter()
        .copied()
        .find(|mark| holds(bytes, mark.as_bytes()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{}", path.display()))
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        from += at;
        if bytes[from..].starts_with(needle) {
            return true;
        }
        from += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The subject of Intel's root, as it stands in the certificate's DER.
    const INTEL_ROOT_SUBJECT: &[u8] = b"Intel SGX Root CA";

    #[test]
    fn production_binary_has_no_simulator() {
        let root = crate::root();
        match check(root).expect("the binaries build") {
            Outcome::Passed => {}
            Outcome::Failed(why) | Outcome::Skipped(why) => panic!("{why}"),
        }
    }

    #[test]
    fn the_look_finds_the_simulator_where_it_is() {
        let root = crate::root();
        assert!(
            simulator_in_tree(root, "ee-cli")
                .expect("cargo tree runs")
                .is_some()
        );
        let path = debug_binary(root, "easyenclave").expect("the command line builds");
        let bytes = read(&path).expect("the binary is readable");
        assert!(simulator_in_binary(&bytes).is_some());
    }

    #[test]
    fn only_intels_root_is_compiled_in() {
        let path = debug_binary(crate::root(), "easyenclave-server").expect("the server builds");
        let bytes = read(&path).expect("the binary is readable");
        let certificates = certificates(&bytes);
        assert!(!certificates.is_empty(), "Intel's root is not there");
        for certificate in certificates {
            assert!(
                holds(certificate, INTEL_ROOT_SUBJECT),
                "a certificate that is not Intel's"
            );
        }
        assert!(
            !holds(&bytes, b"-----BEGIN CERTIFICATE-----\nMII"),
            "a certificate as PEM"
        );
    }

    #[test]
    fn certificates_are_found_in_the_middle_of_other_bytes() {
        let mut bytes = b"code".to_vec();
        bytes.extend([
            0x30, 0x82, 0, 16, 0x30, 0x82, 0, 12, 0xa0, 3, 2, 1, 2, 2, 1, 7,
        ]);
        bytes.extend([1, 2, 3, 4]);
        bytes.extend(b"more code");
        assert_eq!(certificates(&bytes).len(), 1);
        assert_eq!(certificates(&bytes)[0].len(), 20);
        assert!(certificates(b"0\x82 no certificate at all").is_empty());
    }

    /// X.509 version 3 certificates in DER: two sequences with long lengths, then the version.
    fn certificates(bytes: &[u8]) -> Vec<&[u8]> {
        let starts = bytes.windows(14).enumerate().filter(|(_, head)| {
            head[..2] == [0x30, 0x82]
                && head[4..6] == [0x30, 0x82]
                && head[8..14] == [0xa0, 3, 2, 1, 2, 2]
        });
        let whole = |(at, head): (usize, &[u8])| {
            let length = 4 + usize::from(u16::from_be_bytes([head[2], head[3]]));
            bytes.get(at..at + length)
        };
        starts.filter_map(whole).collect()
    }

    #[test]
    fn needle_is_found_at_the_edges_only_when_whole() {
        assert!(holds(b"xxab", b"ab"));
        assert!(holds(b"aab", b"ab"));
        assert!(!holds(b"xa", b"ab"));
    }
}
