//! Dependency arrows between our crates, and habits of the manifests.
//!
//! The table repeats the drawing in ARCHITECTURE.md: a crate may use what stands above it there.

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Finding;
use crate::tree::Tree;

/// Each crate with the crates it may use in its product. One row a crate; a crate without a row
/// is a finding, so that a new one is drawn before it is built.
const ARROWS: &[(&str, &[&str])] = &[
    ("ee-protocol", &[]),
    ("ee-core", &["ee-protocol"]),
    ("ee-attest", &["ee-core", "ee-protocol"]),
    ("ee-tunnel", &["ee-protocol"]),
    ("ee-store", &["ee-core", "ee-protocol"]),
    (
        "ee-control",
        &["ee-store", "ee-attest", "ee-core", "ee-protocol"],
    ),
    ("ee-agent", &["ee-tunnel", "ee-protocol"]),
    ("ee-server", SERVER_USES),
    ("ee-testbed", &["ee-agent", "ee-protocol"]),
    ("ee-cli", ALL_LIBRARIES),
    ("ee-bench", ALL_LIBRARIES),
    ("ee-fuzz", ALL_LIBRARIES),
    ("xtask", &[]),
];

const SERVER_USES: &[&str] = &[
    "ee-control",
    "ee-store",
    "ee-attest",
    "ee-core",
    "ee-tunnel",
    "ee-agent",
    "ee-protocol",
];

const ALL_LIBRARIES: &[&str] = &[
    "ee-server",
    "ee-testbed",
    "ee-agent",
    "ee-control",
    "ee-store",
    "ee-tunnel",
    "ee-attest",
    "ee-core",
    "ee-protocol",
];

/// Crates that ee-core must compile without.
const BANNED_IN_CORE: &[&str] = &["tokio", "serde_json", "tracing", "log", "rand", "getrandom"];

/// Packages nobody may depend on, with the reason.
const BANNED_EVERYWHERE: &[(&str, &str)] = &[
    ("openssl", "cryptography is ring's"),
    ("native-tls", "cryptography is ring's"),
    ("aws-lc-rs", "cryptography is ring's"),
    ("chrono", "time is ee-protocol's Timestamp"),
];

/// Every dependency points upwards; a dev-dependency on ee-testbed may point anywhere.
pub fn arrows(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, manifest) in members(tree)? {
        let name = package_name(&manifest);
        let Some((_, allowed)) = ARROWS.iter().find(|(row, _)| *row == name) else {
            findings.push(Finding::new(
                &path,
                1,
                format!("crate {name} has no row of arrows"),
            ));
            continue;
        };
        for (section, dependency) in dependencies(&manifest) {
            if !ARROWS.iter().any(|(row, _)| *row == dependency) {
                continue;
            }
            let may = allowed.contains(&dependency)
                || (section == "dev-dependencies" && dependency == "ee-testbed");
            if !may {
                let message = format!("{name} may not use {dependency} ({section})");
                findings.push(Finding::new(&path, 1, message));
            }
        }
    }
    Ok(findings)
}

/// Versions live in the workspace manifest, lints are shared, and some packages are banned.
pub fn manifests(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, manifest) in members(tree)? {
        let name = package_name(&manifest);
        let mut report = |message: String| findings.push(Finding::new(&path, 1, message));
        if !inherits(manifest.get("lints")) {
            report(format!("{name} does not take the workspace's lints"));
        }
        for (section, dependency) in dependencies(&manifest) {
            let table = manifest[section].as_table();
            if !inherits(table.and_then(|table| table.get(dependency))) {
                report(format!(
                    "{dependency}: the version belongs in the workspace manifest"
                ));
            }
            if let Some((_, why)) = BANNED_EVERYWHERE.iter().find(|(row, _)| *row == dependency) {
                report(format!("{dependency} is banned: {why}"));
            }
            if name == "ee-core" && BANNED_IN_CORE.contains(&dependency) {
                report(format!("ee-core decides only, {dependency} acts"));
            }
        }
    }
    Ok(findings)
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")) == Some(&Value::Boolean(true))
}

/// The manifests of the workspace's members.
fn members(tree: &Tree) -> Result<Vec<(String, Table)>> {
    let mut members = Vec::new();
    for (path, text) in tree.texts() {
        let member = path.starts_with("crates/") || path.starts_with("xtask/");
        if member && path.ends_with("/Cargo.toml") && path.split('/').count() <= 3 {
            let table = text.parse::<Table>().with_context(|| path.to_owned())?;
            members.push((path.to_owned(), table));
        }
    }
    Ok(members)
}

fn package_name(manifest: &Table) -> &str {
    manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(Value::as_str)
        .unwrap_or("(no name)")
}

/// Every dependency as (section, name).
fn dependencies(manifest: &Table) -> Vec<(&'static str, &str)> {
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let of = |section: &'static str| {
        let table = manifest.get(section).and_then(Value::as_table);
        table
            .into_iter()
            .flat_map(move |table| table.keys().map(move |name| (section, &**name)))
    };
    sections.into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{messages, tree};
    use super::*;

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{rest}\n")
    }

    #[track_caller]
    fn check(path: &str, text: &str, expect: &[&str]) {
        let tree = tree(&[(path, text)]);
        let mut findings = arrows(&tree).expect("the fixture parses");
        findings.extend(manifests(&tree).expect("the fixture parses"));
        assert_eq!(messages(&findings), expect);
    }

    #[test]
    fn upward_arrow_is_fine() {
        let rest = "[dependencies]\nee-protocol.workspace = true\ntoml.workspace = true";
        check("crates/ee-core/Cargo.toml", &manifest("ee-core", rest), &[]);
    }

    #[test]
    fn downward_arrow_is_found() {
        let rest = "[dependencies]\nee-server.workspace = true";
        let expect = ["ee-core may not use ee-server (dependencies)"];
        check(
            "crates/ee-core/Cargo.toml",
            &manifest("ee-core", rest),
            &expect,
        );
    }

    #[test]
    fn simulator_is_for_tests_only() {
        let dev = "[dev-dependencies]\nee-testbed.workspace = true";
        check(
            "crates/ee-server/Cargo.toml",
            &manifest("ee-server", dev),
            &[],
        );
        let product = "[dependencies]\nee-testbed.workspace = true";
        let expect = ["ee-server may not use ee-testbed (dependencies)"];
        check(
            "crates/ee-server/Cargo.toml",
            &manifest("ee-server", product),
            &expect,
        );
    }

    #[test]
    fn undrawn_crate_is_found() {
        let expect = ["crate ee-new has no row of arrows"];
        check("crates/ee-new/Cargo.toml", &manifest("ee-new", ""), &expect);
    }

    #[test]
    fn core_with_a_runtime_is_found() {
        let rest = "[dependencies]\ntokio.workspace = true";
        let expect = ["ee-core decides only, tokio acts"];
        check(
            "crates/ee-core/Cargo.toml",
            &manifest("ee-core", rest),
            &expect,
        );
    }

    #[test]
    fn loose_version_and_own_lints_are_found() {
        let text = "[package]\nname = \"xtask\"\n[dependencies]\nopenssl = \"1\"\n";
        let expect = [
            "xtask does not take the workspace's lints",
            "openssl: the version belongs in the workspace manifest",
            "openssl is banned: cryptography is ring's",
        ];
        check("xtask/Cargo.toml", text, &expect);
    }
}
