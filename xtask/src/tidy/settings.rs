//! Every `EE_` name that appears anywhere is a row of the settings table in docs/config.md.
//!
//! In Rust only literals count (`EE_ORIGIN` may be a constant's name), and test code is left out:
//! tests of the parser need names that do not exist.

use std::collections::BTreeSet;

use super::lexer::{Keep, blank};
use super::{Finding, is_test_file, production_lines};
use crate::tree::Tree;

/// Where the table is printed (generated from the code, and checked against it).
const TABLE: &str = "docs/config.md";

/// Names that are no settings, with the reason.
const NO_SETTINGS: &[(&str, &str)] = &[
    ("EE_", "the prefix itself"),
    ("EE_TYPO", "the example of an unknown name"),
    ("EE_TEST_DATABASE_URL", "the tests' PostgreSQL, from xtask"),
    (
        "EE_TEST_DATABASE_URL",
        "handed to the tests by `cargo xtask test`",
    ),
];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let listed: BTreeSet<&str> = tree
        .text(TABLE)
        .into_iter()
        .flat_map(|table| names(table))
        .collect();
    let secrets: Vec<&str> = secrets(tree.text(TABLE).unwrap_or_default());
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        if path == TABLE || is_test_file(path) || path.starts_with("xtask/") {
            continue;
        }
        let (searched, lines) = searched(path, text);
        for (at, line) in searched.lines().take(lines).enumerate() {
            for name in names(line) {
                let known = listed.contains(name)
                    || secrets
                        .iter()
                        .any(|secret| name.strip_suffix("_FILE") == Some(secret))
                    || NO_SETTINGS.iter().any(|row| row.0 == name);
                if !known {
                    let message = format!("{name} is not in {TABLE}");
                    findings.push(Finding::new(path, at + 1, message));
                }
            }
        }
    }
    findings
}

/// The rows marked as secrets: they may come from the file that `NAME_FILE` names.
fn secrets(table: &str) -> Vec<&str> {
    table
        .lines()
        .filter(|line| line.ends_with("| S |"))
        .flat_map(names)
        .collect()
}

fn searched(path: &str, text: &str) -> (String, usize) {
    if path.ends_with(".rs") {
        (blank(text, Keep::Literals), production_lines(path, text))
    } else {
        (text.to_owned(), usize::MAX)
    }
}

/// The `EE_` words of a text. A word that ends in `_` is a prefix someone writes about (`EE_X_*`).
fn names(text: &str) -> Vec<&str> {
    let word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let mut names = Vec::new();
    for (at, _) in text.match_indices("EE_") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[at..];
        let name = &rest[..rest.find(|c| !word(c)).unwrap_or(rest.len())];
        if name == "EE_" || !name.ends_with('_') {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{messages, tree};
    use super::*;

    const TABLE_TEXT: &str = "| `EE_DB_PATH` | path | |\n| `EE_TOKEN` | none | S |\n";

    #[track_caller]
    fn finds(path: &str, text: &str, expect: &[&str]) {
        let tree = tree(&[("docs/config.md", TABLE_TEXT), (path, text)]);
        assert_eq!(messages(&check(&tree)), expect);
    }

    #[test]
    fn unlisted_name_is_found_in_code_documents_and_deploy_files() {
        for path in [
            "crates/a/src/a.rs",
            "README.md",
            "deploy/proxies/nginx/nginx.conf",
        ] {
            finds(
                path,
                "\"EE_DB_PATHS\"",
                &["EE_DB_PATHS is not in docs/config.md"],
            );
            finds(path, "\"EE_DB_PATH\"", &[]);
        }
    }

    #[test]
    fn only_a_secret_may_come_from_a_file() {
        finds("README.md", "EE_TOKEN_FILE", &[]);
        finds(
            "README.md",
            "EE_DB_PATH_FILE",
            &["EE_DB_PATH_FILE is not in docs/config.md"],
        );
    }

    #[test]
    fn comments_tests_and_longer_words_do_not_count() {
        finds(
            "crates/a/src/a.rs",
            "// EE_OLD\nconst EE_ORIGIN: u8 = 0;",
            &[],
        );
        finds("crates/a/tests/a.rs", "\"EE_UNKNOWN\"", &[]);
        finds("README.md", "FEE_X and EE_X_* and EE_*", &[]);
    }
}
