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

/// And no test of this binary is missing in the table.
#[test]
fn every_test_of_this_binary_is_in_the_table() {
    let table = fs::read_to_string(TABLE).expect("docs/attacks.md");
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "attacks"]
        .iter()
        .collect();
    let mut missing = BTreeSet::new();
    for file in fs::read_dir(folder).expect("the folder of these tests") {
        let path = file.expect("a file").path();
        if path.ends_with("inventory.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        for (at, _) in text.match_indices("#[tokio::test]\nasync fn ") {
            let rest = &text[at + "#[tokio::test]\nasync fn ".len()..];
            let name = rest.split('(').next().unwrap_or_default();
            if !table.contains(&format!("`{name}`")) {
                missing.insert(name.to_owned());
            }
        }
    }
    assert_eq!(missing, BTreeSet::new(), "not in docs/attacks.md");
}
