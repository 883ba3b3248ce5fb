//! Limits of size: a file is one idea that can be read in one sitting, and data has its places.

use super::{Finding, production_lines, rust_files};
use crate::tree::Tree;

/// Production lines of one Rust file (STYLE, rule 1).
const PRODUCTION_LINES_MAX: usize = 400;

/// All lines of one Rust file, its tests included.
const FILE_LINES_MAX: usize = 600;

/// Columns of a line of code. rustfmt wraps code at 100, but leaves strings and comments alone.
const COLUMNS_MAX: usize = 100;

/// A larger file is data, and data belongs with the test vectors.
const BLOB_BYTES_MAX: usize = 64 * 1024;

/// Folders of test data: quotes, collateral, golden files.
const DATA_FOLDERS: &[&str] = &["/tests/vectors/", "/tests/data/", "/tests/golden/"];

/// Large files that a tool writes as a whole.
const GENERATED: &[&str] = &["Cargo.lock", "openapi.json"];

/// Documents with a length of their own.
const DOCUMENT_LINES_MAX: &[(&str, usize)] = &[("README.md", 150), ("ARCHITECTURE.md", 300)];

/// Files that are longer on purpose: path, lines allowed, reason.
const LONGER: &[(&str, usize, &str)] = &[];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in rust_files(tree) {
        findings.extend(rust_file(path, text));
    }
    for (path, file) in tree.files() {
        let data = DATA_FOLDERS.iter().any(|folder| path.contains(folder));
        if file.size_bytes > BLOB_BYTES_MAX && !data && !GENERATED.contains(&path) {
            let message = format!("{} bytes: data belongs in tests/vectors", file.size_bytes);
            findings.push(Finding::new(path, 1, message));
        }
    }
    for (path, limit) in DOCUMENT_LINES_MAX {
        let lines = tree.text(path).map_or(0, |text| text.lines().count());
        if lines > *limit {
            findings.push(Finding::new(
                path,
                lines,
                format!("{lines} lines, at most {limit}"),
            ));
        }
    }
    findings
}

fn rust_file(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let extra = LONGER
        .iter()
        .find(|(row, _, _)| *row == path)
        .map(|(_, lines, _)| *lines);
    let production = production_lines(path, text);
    if production > extra.unwrap_or(PRODUCTION_LINES_MAX) {
        let message = format!("{production} production lines, at most {PRODUCTION_LINES_MAX}");
        findings.push(Finding::new(path, production, message));
    }
    let all = text.lines().count();
    if all > extra.unwrap_or(FILE_LINES_MAX).max(FILE_LINES_MAX) {
        findings.push(Finding::new(
            path,
            all,
            format!("{all} lines, at most {FILE_LINES_MAX}"),
        ));
    }
    if !text.starts_with("//! ") {
        findings.push(Finding::new(
            path,
            1,
            "no `//!`: say what the file is in a sentence",
        ));
    }
    for (at, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        // A long literal (a digest, a URL) cannot be wrapped, prose can.
        if columns > COLUMNS_MAX && line.trim_start().starts_with("//") && line.contains(' ') {
            let message = format!("{columns} columns, at most {COLUMNS_MAX}");
            findings.push(Finding::new(path, at + 1, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{messages, tree};
    use super::*;

    #[track_caller]
    fn finds(path: &str, text: &str, expect: &[&str]) {
        assert_eq!(messages(&check(&tree(&[(path, text)]))), expect);
    }

    fn code(lines: usize) -> String {
        format!("//! A file.\n{}", "fn f() {}\n".repeat(lines - 1))
    }

    #[test]
    fn long_file_is_found() {
        finds("crates/a/src/a.rs", &code(400), &[]);
        finds(
            "crates/a/src/a.rs",
            &code(401),
            &["401 production lines, at most 400"],
        );
    }

    #[test]
    fn tests_at_the_foot_count_only_for_the_whole() {
        let with_tests = |lines: usize| {
            format!(
                "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
                code(10),
                "\n".repeat(lines - 13)
            )
        };
        finds("crates/a/src/a.rs", &with_tests(600), &[]);
        finds(
            "crates/a/src/a.rs",
            &with_tests(601),
            &["601 lines, at most 600"],
        );
        finds("crates/a/tests/a.rs", &code(600), &[]);
    }

    #[test]
    fn file_without_a_head_is_found() {
        let expect = ["no `//!`: say what the file is in a sentence"];
        finds("crates/a/src/a.rs", "fn f() {}\n", &expect);
    }

    #[test]
    fn wide_comment_is_found() {
        let text = format!("//! A file.\n// {}\n", "word ".repeat(20));
        finds("crates/a/src/a.rs", &text, &["103 columns, at most 100"]);
    }

    #[test]
    fn blob_outside_the_vectors_is_found() {
        let blob = "x".repeat(BLOB_BYTES_MAX + 1);
        finds(
            "docs/a.bin",
            &blob,
            &["65537 bytes: data belongs in tests/vectors"],
        );
        finds("crates/a/tests/vectors/a.bin", &blob, &[]);
    }

    #[test]
    fn long_readme_is_found() {
        finds("README.md", &"\n".repeat(151), &["151 lines, at most 150"]);
    }
}
