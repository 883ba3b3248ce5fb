//! Names and notes that must not enter the repository.

use super::{Finding, rust_files};
use crate::tree::Tree;

/// File names that say nothing (STYLE, rule 6).
const EMPTY_NAMES: &[&str] = &[
    "utils", "util", "helpers", "helper", "common", "manager", "misc",
];

/// Folders of one person's machine. Written in two parts, for this file is searched too.
const MACHINE_FOLDERS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
];

/// Notes to self; allowed with an issue's number beside them.
const NOTES: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _) in rust_files(tree) {
        let mut parts = path.trim_end_matches(".rs").split('/');
        if let Some(name) = parts.find(|part| EMPTY_NAMES.contains(part)) {
            findings.push(Finding::new(
                path,
                1,
                format!("`{name}` says nothing: name the idea"),
            ));
        }
    }
    for (path, text) in tree.texts() {
        if path.contains("/tests/vectors/") || path == "Cargo.lock" {
            continue;
        }
        for (at, line) in text.lines().enumerate() {
            if MACHINE_FOLDERS
                .iter()
                .any(|folder| is_machine_path(line, folder))
            {
                findings.push(Finding::new(path, at + 1, "a path of one machine"));
            }
            if NOTES.iter().any(|note| has_note(line, note)) {
                findings.push(Finding::new(
                    path,
                    at + 1,
                    "a note without an issue's number",
                ));
            }
        }
    }
    findings
}

/// An absolute path, not a relative one or a part of a URL's path.
fn is_machine_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-}>/~$".contains(c))
    })
}

/// The note as a word of its own, and no `#12` behind it.
fn has_note(line: &str, note: &str) -> bool {
    line.match_indices(note).any(|(at, _)| {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let rest = &line[at + note.len()..];
        let numbered = rest
            .split('#')
            .nth(1)
            .is_some_and(|tail| tail.chars().next().is_some_and(|c| c.is_ascii_digit()));
        let alone = !line[..at].chars().next_back().is_some_and(word)
            && !rest.chars().next().is_some_and(word);
        alone && !numbered
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{messages, tree};
    use super::*;

    #[track_caller]
    fn finds(path: &str, text: &str, expect: &[&str]) {
        assert_eq!(messages(&check(&tree(&[(path, text)]))), expect);
    }

    #[test]
    fn empty_file_name_is_found() {
        finds(
            "crates/a/src/utils.rs",
            "",
            &["`utils` says nothing: name the idea"],
        );
        finds(
            "crates/a/src/common/a.rs",
            "",
            &["`common` says nothing: name the idea"],
        );
    }

    #[test]
    fn machine_path_is_found_and_relative_paths_are_not() {
        let path = format!("see {}me/me/x", "/ho");
        finds("README.md", &path, &["a path of one machine"]);
        finds("README.md", &format!("./a{}rk/b", "/wo"), &[]);
    }

    #[test]
    fn note_needs_an_issue() {
        let note = concat!("TO", "DO");
        let expect = ["a note without an issue's number"];
        finds("crates/a/src/a.rs", &format!("// {note}: later"), &expect);
        finds("crates/a/src/a.rs", &format!("// {note}(#12): later"), &[]);
        finds("crates/a/src/a.rs", &format!("// {note}S"), &[]);
    }
}
