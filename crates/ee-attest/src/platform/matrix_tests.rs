//! The given vectors: real quotes under Intel's root (`tests/vectors/README.md`).

use std::{fs, path::PathBuf};

use dcap_qvl::{QuoteCollateralV3, verify::QuoteVerifier};
use ee_core::attestation::Failure;
use serde_json::Value;

use super::*;

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

struct Case {
    id: String,
    quote: Vec<u8>,
    bundle_json: Vec<u8>,
    now: Timestamp,
    verdict: String,
    advisories: Vec<String>,
    code: Option<String>,
    tcb_date: Option<Timestamp>,
    eval_data_number: Option<u64>,
}

fn matrix() -> Value {
    let text = fs::read(vectors().join("matrix.json")).expect("matrix.json");
    serde_json::from_slice(&text).expect("JSON")
}

fn cases() -> Vec<Case> {
    let matrix = matrix();
    let file = |kind: &str, key: &Value| {
        let name = matrix[kind][key.as_str().expect("a key")]["file"]
            .as_str()
            .expect("a file");
        fs::read(vectors().join(name)).expect("a vector")
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let case = |case: &Value| Case {
        id: text(&case["id"]).expect("an id"),
        quote: file("quotes", &case["quote"]),
        bundle_json: file("collateral", &case["collateral"]),
        now: Timestamp::from_unix_seconds(case["now"].as_i64().expect("a time")),
        verdict: text(&case["verdict"]).expect("a verdict"),
        advisories: serde_json::from_value(case["advisories"].clone()).expect("texts"),
        code: text(&case["code"]),
        tcb_date: case["tcb_date"].as_str().and_then(Timestamp::parse_rfc3339),
        eval_data_number: case["eval_data_number"].as_u64(),
    };
    matrix["cases"]
        .as_array()
        .expect("cases")
        .iter()
        .map(case)
        .collect()
}

fn intel() -> Verifier {
    Verifier::new(TrustRoot::intel(), VerifierLimits::default())
}

fn pipeline(verifier: &Verifier, case: &Case) -> Result<VerifiedQuote, Failure> {
    let bundle = CollateralBundle::from_json(&case.bundle_json).expect("a bundle");
    verifier.verify_quote(&case.quote, &bundle, case.now)
}

#[test]
fn full_verification_gives_every_verdict_and_advisory_of_the_matrix() {
    let full = QuoteVerifier::<Backend>::new_with_config(TrustRoot::intel().der().to_vec());
    let cases = cases();
    assert_eq!(cases.len(), 41);
    for case in cases {
        let raw: QuoteCollateralV3 = serde_json::from_slice(&case.bundle_json).expect("a bundle");
        match full.verify(&case.quote, &raw, unix_seconds(case.now)) {
            Ok(report) => {
                assert_eq!(report.status, case.verdict, "{}", case.id);
                assert_eq!(report.advisory_ids, case.advisories, "{}", case.id);
            }
            Err(error) => assert_eq!(case.verdict, "REJECT", "{}: {error:#}", case.id),
        }
    }
}

#[test]
fn pipeline_gives_every_code_of_the_matrix_with_and_without_cache() {
    let verifier = intel();
    for case in cases() {
        let cold = pipeline(&intel(), &case);
        let code = cold.as_ref().err().map(Failure::reason);
        assert_eq!(code, case.code, "{}", case.id);
        let miss = pipeline(&verifier, &case);
        let hit = pipeline(&verifier, &case);
        assert_eq!(miss, cold, "{}: miss", case.id);
        assert_eq!(hit, cold, "{}: hit", case.id);
        let Ok(verified) = cold else { continue };
        assert_eq!(verified.tcb_status().as_str(), case.verdict, "{}", case.id);
        assert_eq!(verified.advisories(), case.advisories, "{}", case.id);
        assert_eq!(Some(verified.tcb_date()), case.tcb_date, "{}", case.id);
        let number = u64::from(verified.tcb_eval_data_number());
        assert_eq!(Some(number), case.eval_data_number, "{}", case.id);
    }
}

#[test]
fn fields_of_quotes_are_read_as_the_matrix_describes_them() {
    let matrix = matrix();
    for (name, described) in matrix["quotes"].as_object().expect("quotes") {
        let file = described["file"].as_str().expect("a file");
        let bytes = fs::read(vectors().join(file)).expect("a vector");
        assert_eq!(hex::encode(sha256(&bytes)), described["sha256"], "{name}");
        let Ok(quote) = ParsedQuote::parse(&bytes, DebugTds::Allowed) else {
            continue;
        };
        let registers = quote.registers();
        assert_eq!(quote.bytes().len(), described["used_len"], "{name}");
        assert_eq!(quote.version(), described["version"], "{name}");
        assert_eq!(quote.body_name(), described["body"], "{name}");
        assert_eq!(hex::encode(quote.fmspc()), described["fmspc"], "{name}");
        assert_eq!(quote.ca().as_str(), described["ca"], "{name}");
        assert_eq!(
            registers.td_attributes.to_string(),
            described["td_attributes"],
            "{name}"
        );
        assert_eq!(
            hex::encode(registers.tee_tcb_svn),
            described["tee_tcb_svn"],
            "{name}"
        );
        assert_eq!(hex::encode(registers.mrtd), described["mr_td"], "{name}");
        assert_eq!(
            hex::encode(registers.mr_config_id),
            described["mr_config_id"],
            "{name}"
        );
        assert_eq!(
            hex::encode(registers.report_data.0),
            described["report_data"],
            "{name}"
        );
        for (index, rtmr) in registers.rtmr.iter().enumerate() {
            assert_eq!(hex::encode(rtmr), described["rtmr"][index], "{name}");
        }
    }
}

#[test]
fn bundles_are_read_as_the_matrix_describes_them() {
    let matrix = matrix();
    for (name, described) in matrix["collateral"].as_object().expect("bundles") {
        let file = described["file"].as_str().expect("a file");
        let json = fs::read(vectors().join(file)).expect("a vector");
        let bundle = CollateralBundle::from_json(&json).expect("a bundle");
        assert_eq!(hex::encode(bundle.fmspc()), described["fmspc"], "{name}");
        assert_eq!(
            bundle.tcb_evaluation(),
            described["tcb_info_eval"],
            "{name}"
        );
        let window = bundle.window();
        assert_eq!(
            window.from.unix_seconds(),
            described["valid_from"],
            "{name}"
        );
        assert_eq!(
            window.until.unix_seconds(),
            described["valid_until"],
            "{name}"
        );
        let again = CollateralBundle::from_json(bundle.to_json().as_bytes()).expect("a bundle");
        assert_eq!(again.digest(), bundle.digest(), "{name}");
        assert_eq!(
            bundle.verify(&TrustRoot::intel(), window.from),
            Ok(()),
            "{name}"
        );
    }
}
