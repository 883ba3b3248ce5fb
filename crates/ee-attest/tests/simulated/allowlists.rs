//! Stage 5: reference values as text, and which entry registers select.

use ee_attest::{Allowlist, DebugTds, ParsedQuote, Registers, Selection, explain};
use ee_core::attestation::{AttestationCode, Failure, Provenance};
use ee_testbed::{image::DemoImage, quote::QuoteVersion, td::Td};
use serde_json::{Value, json};

use crate::rig::{SEED, good, now, reason};

fn parse(value: &Value) -> Result<Allowlist, Failure> {
    Allowlist::parse(value.to_string().as_bytes())
}

fn demo() -> Value {
    DemoImage::new(SEED).allowlist()
}

fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut allowlist = demo();
    change(&mut allowlist);
    reason(parse(&allowlist))
}

fn registers(td: &Td) -> Registers {
    let bytes = good().quote(td, QuoteVersion::V4, &[0; 64]);
    ParsedQuote::parse(&bytes, DebugTds::Refused)
        .expect("a quote")
        .registers()
        .clone()
}

#[test]
fn both_versions_are_read() {
    let image = DemoImage::new(SEED);
    for allowlist in [
        image.allowlist(),
        image.allowlist_with_events(),
        image.allowlist_1_0(),
    ] {
        let parsed = parse(&allowlist).expect("an allowlist");
        assert_eq!(parsed.release_tag(), DemoImage::TAG);
        assert!(!parsed.revoked());
    }
}

#[test]
fn malformed_allowlists_are_refused() {
    for text in ["", "[]", "{", "null", "{\"version\":\"1.1\"}", "\u{feff}{}"] {
        assert_eq!(
            reason(Allowlist::parse(text.as_bytes())),
            "allowlist_invalid",
            "{text}"
        );
    }
    type Change = fn(&mut Value);
    let changes: [Change; 16] = [
        |it| it["version"] = json!("2.0"),
        |it| it["version"] = Value::Null,
        |it| it["release_tag"] = json!(7),
        |it| it["measurements"] = json!([]),
        |it| it["measurements"]["rtmr9"] = json!("00"),
        |it| it["measurements"]["mrtd"] = json!("00"),
        |it| it["measurements"]["mrtd"] = json!([]),
        |it| it["measurements"]["mrtd"] = json!(vec!["00".repeat(48); 33]),
        |it| it["measurements"]["sealed"] = json!("true"),
        |it| it["measurements"]["agent_dir_sha256"] = json!(1),
        |it| it["report_data"] = json!("00"),
        |it| it["entries"] = json!(vec![json!({}); 65]),
        |it| it["entries"] = json!([{"measurements": {"rtmr": "00"}}]),
        |it| it["rtmr3_events"] = json!([{"name": "a:b", "payload_sha256": "00".repeat(32)}]),
        |it| it["tcb_policy"] = json!({"statuses": ["Fine"]}),
        |it| it["revoked"] = json!("yes"),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(changed(change), "allowlist_invalid", "change {number}");
    }
    let padded = demo().to_string() + &" ".repeat(256 * 1024);
    assert_eq!(
        reason(Allowlist::parse(padded.as_bytes())),
        "allowlist_invalid"
    );
}

#[test]
fn unknown_fields_at_the_top_are_ignored() {
    assert_eq!(changed(|it| it["comment"] = json!("anything")), "pass");
}

#[test]
fn empty_measurements_match_nothing() {
    for measurements in [
        json!({}),
        Value::Null,
        json!({"mrtd": null}),
        json!({"sealed": true}),
    ] {
        let empty = changed(|it| it["measurements"] = measurements.clone());
        assert_eq!(empty, "allowlist_missing_measurements", "{measurements}");
    }
}

#[test]
fn release_must_be_the_registered_one_in_force_and_well_sourced() {
    use Provenance::{Local, Release, ReleaseImmutable};
    let allowlist = parse(&demo()).expect("an allowlist");
    let check =
        |tag, provenance, at_least| reason(allowlist.check_release(tag, provenance, at_least));
    assert_eq!(check("v0.1.0", Release, Release), "pass");
    assert_eq!(
        check("v0.1.0", Local, Release),
        "pass",
        "the operator's word counts"
    );
    assert_eq!(check("v0.1.1", Release, Release), "allowlist_invalid");
    assert_eq!(
        check("v0.1.0", Release, ReleaseImmutable),
        "provenance_insufficient"
    );
    let mut revoked = demo();
    revoked["revoked"] = json!(true);
    let revoked = parse(&revoked).expect("an allowlist");
    let outcome = revoked.check_release("v0.1.0", Release, Release);
    assert_eq!(reason(outcome), "allowlist_revoked");
}

#[test]
fn registers_select_the_first_entry_in_force() {
    let other = DemoImage::new(SEED).with_tag("v0.2.0");
    let mut allowlist = demo();
    allowlist["entries"] = json!([
        {"id": "old", "not_after": "2026-01-01T00:00:00Z", "sealed": true,
         "measurements": other.allowlist()["measurements"]},
        {"id": "new", "sealed": true, "measurements": other.allowlist()["measurements"]},
    ]);
    let allowlist = parse(&allowlist).expect("an allowlist");
    let selected = |td: &Td| match allowlist.select(&registers(td), now()) {
        Selection::Entry(entry) => entry.id().to_owned(),
        Selection::None(nearest) => format!("none: {:?}", nearest.expect("a nearest").register),
    };
    assert_eq!(selected(&DemoImage::new(SEED).td()), "");
    assert_eq!(selected(&other.td()), "new");
    assert_eq!(selected(&other.rogue().td()), "none: Some(Rtmr2)");
}

#[test]
fn a_release_that_fits_is_named_in_the_hint() {
    let (first, second) = (
        DemoImage::new(SEED),
        DemoImage::new(SEED).with_tag("v0.1.2"),
    );
    let parsed = |image: &DemoImage| parse(&image.allowlist()).expect("an allowlist");
    let (first_list, second_list) = (parsed(&first), parsed(&second));
    let others = [("v0.1.0", &first_list), ("v0.1.2", &second_list)];
    let actual = registers(&second.td());
    assert_eq!(
        explain::release_with(&actual, &others, now()),
        Some("v0.1.2")
    );
    let failure = Failure::new(AttestationCode::RegisterMismatch)
        .explained(ee_protocol::refusal::Refusal::new("x", "y", "z"));
    let hinted = explain::with_release_hint(failure, &actual, &others, now());
    assert_eq!(
        hinted.refusals[0].hint,
        "Equals v0.1.2: rebuild, or register that tag."
    );
}

#[test]
fn damaged_allowlists_never_panic() {
    let text = DemoImage::new(SEED).allowlist_json().into_bytes();
    for at in 0..text.len() {
        let mut flipped = text.clone();
        flipped[at] ^= 1 << (at % 8);
        let _ = Allowlist::parse(&flipped);
        let _ = Allowlist::parse(&text[..at]);
    }
}
