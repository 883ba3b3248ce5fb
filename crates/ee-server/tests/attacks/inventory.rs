//! `docs/attacks.md` names a test for every attack; every name must exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const CRATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/attacks.md");

/// A test in backticks stands behind the file that holds it: `crates/x/tests/y.rs` `name`.
#[test]
fn every_attack_of_the_table_has_its_test() {
    let table = fs::read_to_string(TABLE).expect("docs/attacks.md");
    let mut named = 0;
    for line in table.lines().filter(|line| line.starts_with('|')) {
        let mut quoted = line.split('`').skip(1).step_by(2).peekable();
        while let Some(word) = quoted.next() {
            if !word.ends_with(".rs") {
                continue;
            }
            let source = Path::new(CRATES).join(word);
            let text = fs::read_to_string(&source);
            let text =
                text.unwrap_or_else(|_| panic!("no file {word}, which docs/attacks.md names"));
            while let Some(name) = quoted.next_if(|word| !word.ends_with(".rs")) {
                named += 1;
                let begins = format!("fn {name}(");
                assert!(text.contains(&begins), "{word} has no test {name}");
            }
        }
    }
    assert!(named > 100, "the table was not understood: {named} names");
}

/// And no test of this binary, nor of the one about bad networks, is missing in the table.
#[test]
fn every_test_of_these_binaries_is_in_the_table() {
    let table = fs::read_to_string(TABLE).expect("docs/attacks.md");
    let mut missing = BTreeSet::new();
    let mut found = 0;
    for binary in ["attacks", "chaos"] {
        let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", binary]
            .iter()
            .collect();
        for file in fs::read_dir(folder).expect("the folder of the tests") {
            let text = fs::read_to_string(file.expect("a file").path()).expect("text");
            for name in tests_in(&text) {
                found += 1;
                if !table.contains(&format!("`{name}`")) {
                    missing.insert(name.to_owned());
                }
            }
        }
    }
    assert!(found > 100, "the tests were not found: {found}");
    assert_eq!(missing, BTreeSet::new(), "not in docs/attacks.md");
}

/// The asynchronous functions that are tests; the others look at the tests' own tools.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    let attribute = "#[tokio::test";
    let after = text
        .match_indices(attribute)
        .map(move |(at, _)| &text[at..]);
    after.filter_map(|rest| {
        let (_, name) = rest.split_once("\nasync fn ")?;
        name.split('(').next()
    })
}
