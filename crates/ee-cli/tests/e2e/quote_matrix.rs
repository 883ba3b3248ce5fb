//! `easyenclave quote verify` on every published quote: the answer of the matrix, word for word.

use std::{fs, path::PathBuf};

use crate::support::easyenclave;
use serde_json::Value;

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../ee-attest/tests/vectors")
}

#[test]
fn every_case_of_the_matrix_is_answered() {
    let text = fs::read_to_string(vectors().join("matrix.json")).expect("part of the repository");
    let matrix: Value = serde_json::from_str(&text).expect("JSON");
    let cases = matrix["cases"].as_array().expect("cases");
    assert!(cases.len() >= 41, "{} cases", cases.len());
    for case in cases {
        check(&matrix, case);
    }
}

fn check(matrix: &Value, case: &Value) {
    let file = |kind: &str, name: &Value, by: &str| {
        let entry = &matrix[kind][name.as_str().expect("a name")];
        vectors().join(entry[by].as_str().expect("a file"))
    };
    let output = easyenclave()
        .args(["quote", "verify"])
        .arg(file("quotes", &case["quote"], "file"))
        .arg("--collateral")
        .arg(file("collateral", &case["collateral"], "file"))
        .args(["--at", &case["now"].to_string(), "-o", "json"])
        .output()
        .expect("our own binary");
    let id = &case["id"];
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{id}: {}", String::from_utf8_lossy(&output.stderr)));
    let accepted = case["verdict"] != "REJECT";
    assert_eq!(answer["verified"], accepted, "{id}");
    assert_eq!(answer["code"], case["code"], "{id}");
    let status = if accepted {
        case["verdict"].clone()
    } else {
        Value::Null
    };
    assert_eq!(answer["tcb_status"], status, "{id}");
    if accepted {
        assert_eq!(answer["advisories"], case["advisories"], "{id}");
    }
    let exit = if case["code"].is_null() { 0 } else { 3 };
    assert_eq!(output.status.code(), Some(exit), "{id}");
}

#[test]
fn sample_of_the_readme_verifies() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(root.join("README.md")).expect("part of the repository");
    let sample = readme
        .split("```console\n")
        .find_map(|block| block.strip_prefix("$ cd crates/ee-attest/tests/vectors\n"))
        .and_then(|block| block.split_once("```"))
        .expect("a sample that runs in the folder of the vectors")
        .0
        .replace('\\', " ");
    let mut words = sample.split_whitespace();
    let start: Vec<_> = words.by_ref().take(2).collect();
    assert_eq!(start, ["$", "easyenclave"], "{sample}");
    let mut command = easyenclave();
    let output = command.current_dir(vectors()).args(words).output();
    let output = output.expect("our own binary");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{answer}");
    assert_eq!(answer["verified"], true, "{answer}");
}

#[test]
fn a_tcb_status_alone_refuses_nothing() {
    let verify = |more: &[&str]| {
        let mut command = easyenclave();
        command
            .args([
                "quote",
                "verify",
                "quotes/go-tdx-guest__cos-113-tdx-quote_dat.bin",
            ])
            .args([
                "--collateral",
                "collateral/tdx-00806f050000-platform-eval19-2026-06-30.json",
            ])
            .args(["--at", "1784102583", "-o", "json"])
            .args(more);
        let output = command
            .current_dir(vectors())
            .output()
            .expect("our own binary");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), answer)
    };
    let (exit, answer) = verify(&[]);
    assert_eq!(
        (exit, &answer["tcb_status"]),
        (Some(0), &"OutOfDate".into())
    );
    let (exit, answer) = verify(&["--network", "forge-1"]);
    assert_eq!(
        (exit, &answer["verified"]),
        (Some(3), &true.into()),
        "{answer}"
    );
}

#[test]
fn damaged_quote_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = fs::read(vectors().join("quotes/near-mpc__quote_json.bin")).expect("vector");
    let cut = folder.path().join("cut.bin");
    fs::write(&cut, &whole[..700]).expect("disk space");
    let output = easyenclave()
        .args(["quote", "decode"])
        .arg(&cut)
        .output()
        .expect("our binary");
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("error[quote_malformed]"), "{said}");
}
