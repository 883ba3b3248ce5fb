//! docs/refusals.md lists every word an agent can be refused with, and no other.

use std::collections::BTreeSet;

use ee_core::attestation::{AttestationCode, Blame};
use ee_core::eligibility::GateCode;
use ee_core::session::{SessionRefusal, Then};

const PAGE: &str = include_str!("../../../docs/refusals.md");

#[test]
fn every_attestation_code_is_documented_in_its_stage() {
    for code in AttestationCode::ALL {
        let section = section(&format!("### {} ", code.stage()));
        let row = cells(section).find(|cells| cells[0] == code.as_str());
        let row = row.unwrap_or_else(|| panic!("{code} is missing in stage {}", code.stage()));
        assert_eq!(row[1], whose(code.blame()), "{code}");
        assert!(
            row.iter().all(|cell| !cell.is_empty()),
            "{code} has an empty cell"
        );
    }
}

#[test]
fn no_attestation_code_is_documented_that_does_not_exist() {
    let known: BTreeSet<_> = AttestationCode::ALL
        .iter()
        .map(|code| code.as_str())
        .collect();
    let evidence = between("## Evidence", "## Session");
    for row in cells(evidence) {
        assert!(known.contains(row[0].as_str()), "{} is no code", row[0]);
    }
}

#[test]
fn every_word_of_the_session_is_documented_with_what_follows() {
    let rows: Vec<_> = cells(between("## Session", "## Eligibility")).collect();
    let refusals = session_refusals();
    assert_eq!(rows.len(), refusals.len());
    for refusal in refusals {
        let reason = refusal.reason();
        let word = reason.split(':').next().unwrap_or_default();
        let row = rows.iter().find(|cells| cells[0] == word);
        let row = row.unwrap_or_else(|| panic!("{word} is missing"));
        let then = match refusal.then() {
            Then::Open => "open".to_owned(),
            Then::Close(code) => code.to_string(),
        };
        assert_eq!(row[1], then, "{word}");
    }
}

#[test]
fn every_gate_code_is_documented_in_order() {
    let rows: Vec<_> = cells(between("## Eligibility", "## Money")).collect();
    let (gates, beside): (Vec<_>, Vec<_>) = rows.iter().partition(|cells| cells[1] != "–");
    let documented: Vec<_> = gates.iter().map(|cells| cells[0].as_str()).collect();
    let codes: Vec<_> = GateCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(documented, codes);
    let beside: Vec<_> = beside.iter().map(|cells| cells[0].as_str()).collect();
    assert_eq!(beside, ["no_tunnel", "unknown_app"]);
}

/// One of each; the match keeps the list complete: a new variant does not compile.
fn session_refusals() -> Vec<SessionRefusal> {
    use SessionRefusal as R;
    let all = vec![
        R::InvalidJson,
        R::UnknownMessage,
        R::InvalidNetwork,
        R::MissingFields,
        R::InvalidField("repo"),
        R::AlreadyRegistered,
        R::UnexpectedAttestation,
        R::NotRegistered,
        R::RegisterTimeout,
        R::TooManyPending,
        R::AppBoundToOtherRepo,
        R::AppBoundToOtherNetwork,
        R::NodeInUse,
        R::Banned,
        R::TunnelLimit,
        R::AppLimit,
        R::NodeLimit,
        R::Replaced,
        R::InnerTlsFailed,
        R::BinaryNotAllowed,
        R::ControlMacInvalid,
        R::ServerDrains,
    ];
    for refusal in &all {
        match refusal {
            // Documented as evidence, code by code.
            R::Evidence(_) => unreachable!("not in the list above"),
            R::InvalidJson
            | R::UnknownMessage
            | R::InvalidNetwork
            | R::MissingFields
            | R::InvalidField(_)
            | R::AlreadyRegistered
            | R::UnexpectedAttestation
            | R::NotRegistered
            | R::RegisterTimeout
            | R::TooManyPending
            | R::AppBoundToOtherRepo
            | R::AppBoundToOtherNetwork
            | R::NodeInUse
            | R::Banned
            | R::TunnelLimit
            | R::AppLimit
            | R::NodeLimit
            | R::Replaced
            | R::InnerTlsFailed
            | R::BinaryNotAllowed
            | R::ControlMacInvalid
            | R::ServerDrains => {}
        }
    }
    all
}

const fn whose(blame: Blame) -> &'static str {
    match blame {
        Blame::Agent => "agent",
        Blame::Release => "release",
        Blame::Platform => "platform",
        Blame::Us => "us",
    }
}

/// The part of the page from a heading to the next of any level.
fn section(heading: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(heading).expect("the heading is there");
    rest.split_once("\n#").map_or(rest, |(part, _)| part)
}

fn between(from: &str, to: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(from).expect("the heading is there");
    rest.split_once(to).expect("the heading is there").0
}

/// The rows of the tables, cell by cell, the first one without its backticks.
fn cells(text: &str) -> impl Iterator<Item = Vec<String>> {
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let inner = line.trim_matches('|');
            inner
                .split(" | ")
                .map(|cell| cell.trim().trim_matches('`').to_owned())
                .collect()
        })
}
