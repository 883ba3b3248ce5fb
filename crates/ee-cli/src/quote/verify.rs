//! `quote verify`: stages 3, 7 and 8 of attestation under Intel's root, at a time of choice.
//!
//! `verified` says whether chain and signatures hold; `code` says what our pipeline makes of the
//! quote. Both can be true at once: an SGX quote may be sound and is still not for us.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use ee_attest::{
    CollateralBundle, NetworkPolicy, PolicyFacts, TcbPolicy, TrustRoot, VerifiedQuote, Verifier,
    VerifierLimits, Window, policy,
};
use ee_core::attestation::{AttestationCode as Code, Failure as Refused};
use ee_protocol::{names::Network, refusal::Refusal, time::Timestamp};
use serde::Serialize;

use crate::{
    evidence,
    failure::Exit,
    output::{self, Format},
};

/// Arguments of `quote verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The quote
    quote: PathBuf,
    /// Collateral in dcap-qvl's JSON form
    #[arg(long)]
    collateral: PathBuf,
    /// When to verify, in Unix seconds; now if absent
    #[arg(long, value_name = "UNIX_SECONDS")]
    at: Option<i64>,
    /// Apply this network's platform policy, too
    #[arg(long, value_parser = PossibleValuesParser::new(Network::ALL.map(Network::as_str)))]
    network: Option<String>,
}

/// What `quote verify` prints.
#[derive(Debug, Serialize)]
struct Outcome {
    /// Whether chain and signatures hold.
    verified: bool,
    tcb_status: Option<&'static str>,
    advisories: Vec<String>,
    /// Why the quote is refused; null if it is not.
    code: Option<String>,
    tcb_date: Option<String>,
    evaluation_number: Option<u32>,
    trust_root: String,
    at: String,
    refusals: Vec<Refusal>,
}

/// Reads, verifies, prints.
pub(super) fn run(args: &Args, format: Format) -> anyhow::Result<ExitCode> {
    let quote = evidence::quote(&args.quote)?.quote;
    let collateral = evidence::bytes(&args.collateral)?;
    let at = match args.at {
        Some(seconds) => Timestamp::from_unix_seconds(seconds),
        None => now(),
    };
    let network = args
        .network
        .as_deref()
        .map(Network::parse)
        .transpose()
        .context("--network")?;
    let outcome = verify(&quote, &collateral, at, network);
    output::print(format, &outcome, text);
    Ok(if outcome.code.is_none() {
        ExitCode::SUCCESS
    } else {
        Exit::No.into()
    })
}

fn now() -> Timestamp {
    use ee_control::ports::Clock as _;
    ee_server::clock::SystemClock.now()
}

/// Verifies under Intel's root, as the control plane does.
fn verify(quote: &[u8], collateral: &[u8], at: Timestamp, network: Option<Network>) -> Outcome {
    let verifier = Verifier::new(TrustRoot::intel(), VerifierLimits::default());
    let mut outcome = Outcome {
        verified: false,
        tcb_status: None,
        advisories: Vec::new(),
        code: None,
        tcb_date: None,
        evaluation_number: None,
        trust_root: verifier.root().name().to_owned(),
        at: at.rfc3339_seconds(),
        refusals: Vec::new(),
    };
    let bundle = match CollateralBundle::from_json(collateral) {
        Ok(bundle) => bundle,
        Err(refused) => return outcome.refused(offline(refused, None)),
    };
    if let Some((status, advisories)) = verifier.chain_and_signatures(quote, &bundle, at) {
        outcome.verified = true;
        outcome.tcb_status = Some(status.as_str());
        outcome.advisories = advisories;
    }
    let policy = network.map(NetworkPolicy::of);
    let verified = match verifier.verify_quote(quote, &bundle, at) {
        Ok(verified) => verified,
        Err(refused) => return outcome.refused(offline(refused, Some(bundle.window()))),
    };
    outcome.describe(&verified);
    match policy.map(|policy| apply(&policy, &verified, at)) {
        Some(Err(refused)) => outcome.refused(refused),
        Some(Ok(())) | None => outcome,
    }
}

/// Stage 7 speaks to agents of a control plane that fetches collateral; here nobody fetches, so
/// the next step is the reader's own. `counts` is when all of the bundle counts.
fn offline(mut refused: Refused, counts: Option<Window>) -> Refused {
    let Some(hint) = offline_hint(refused.code, counts) else {
        return refused;
    };
    for refusal in &mut refused.refusals {
        refusal.hint.clone_from(&hint);
    }
    refused
}

fn offline_hint(code: Code, counts: Option<Window>) -> Option<String> {
    if code == Code::CollateralInvalid {
        let hint = "Pass a complete bundle for the quote's platform in dcap-qvl's JSON form; \
                    fetch a fresh one if this is damaged.";
        return Some(hint.to_owned());
    }
    if !matches!(code, Code::CollateralExpired | Code::CollateralNotYetValid) {
        return None;
    }
    let usable = counts.filter(|window| window.from < window.until);
    Some(usable.map_or_else(
        || "The items never count all at once: fetch a newer bundle.".to_owned(),
        |Window { from, until }| {
            format!(
                "Pass --at within [{}, {}), when all of the bundle counts, or fetch a newer bundle.",
                seconds_up(from),
                seconds_up(until),
            )
        },
    ))
}

/// The first whole second that is not before `at`: `--at` takes no fractions.
fn seconds_up(at: Timestamp) -> i64 {
    at.unix_micros().div_euclid(1_000_000) + i64::from(at.unix_micros().rem_euclid(1_000_000) > 0)
}

/// Without history: the grace for outdated levels begins now, and the evaluation number is the
/// newest that is known.
fn apply(policy: &NetworkPolicy, verified: &VerifiedQuote, at: Timestamp) -> Result<(), Refused> {
    let facts = PolicyFacts {
        out_of_date_since: Some(at),
        newest_evaluation: verified.tcb_eval_data_number(),
        platform: None,
    };
    policy::check(verified, policy, &TcbPolicy::default(), None, &facts, at).map(|_standing| ())
}

impl Outcome {
    fn describe(&mut self, verified: &VerifiedQuote) {
        self.verified = true;
        self.tcb_status = Some(verified.tcb_status().as_str());
        self.advisories = verified.advisories().to_vec();
        self.tcb_date = Some(verified.tcb_date().rfc3339_seconds());
        self.evaluation_number = Some(verified.tcb_eval_data_number());
    }

    fn refused(mut self, refused: Refused) -> Self {
        self.code = Some(refused.reason());
        self.refusals = refused.refusals;
        self
    }
}

fn text(outcome: &Outcome) -> String {
    let mut lines = vec![
        format!("root        {}", outcome.trust_root),
        format!("at          {}", outcome.at),
        format!(
            "verified    {}",
            if outcome.verified { "yes" } else { "no" }
        ),
        format!("TCB status  {}", outcome.tcb_status.unwrap_or("-")),
    ];
    if let Some(date) = &outcome.tcb_date {
        lines.push(format!("TCB date    {date}"));
    }
    if !outcome.advisories.is_empty() {
        lines.push(format!("advisories  {}", outcome.advisories.join(", ")));
    }
    match &outcome.code {
        None => lines.push("ok".to_owned()),
        Some(code) => lines.push(format!("FAIL        {code}")),
    }
    for refusal in &outcome.refusals {
        if !refusal.expected.is_empty() {
            lines.push(format!("  expected {}", refusal.expected));
            lines.push(format!("  actual   {}", refusal.actual));
        }
        lines.push(format!("  next: {}", refusal.hint));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use serde_json::Value;

    use super::*;

    fn vectors() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../ee-attest/tests/vectors")
    }

    #[test]
    fn every_case_of_the_matrix_gets_its_verdict_and_code() {
        let matrix: Value =
            serde_json::from_slice(&fs::read(vectors().join("matrix.json")).unwrap()).unwrap();
        let file = |kind: &str, key: &Value| {
            let name = matrix[kind][key.as_str().unwrap()]["file"]
                .as_str()
                .unwrap();
            fs::read(vectors().join(name)).unwrap()
        };
        let cases = matrix["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 41);
        for case in cases {
            let quote = file("quotes", &case["quote"]);
            let collateral = file("collateral", &case["collateral"]);
            let at = Timestamp::from_unix_seconds(case["now"].as_i64().unwrap());
            let outcome = verify(&quote, &collateral, at, None);
            let refused = case["verdict"] == "REJECT";
            assert_eq!(outcome.verified, !refused, "{}", case["id"]);
            assert_eq!(
                outcome.code.as_deref(),
                case["code"].as_str(),
                "{}",
                case["id"]
            );
            if !refused {
                assert_eq!(
                    outcome.tcb_status,
                    case["verdict"].as_str(),
                    "{}",
                    case["id"]
                );
                let advisories = Value::from(outcome.advisories.clone());
                assert_eq!(advisories, case["advisories"], "{}", case["id"]);
            }
        }
    }

    #[test]
    fn hints_on_collateral_speak_to_the_reader_of_the_offline_command() {
        let read = |name: &str| fs::read(vectors().join(name)).unwrap();
        let quote = read("quotes/near-mpc__quote_json.bin");
        let bundle = read("collateral/tdx-b0c06f000000-platform-eval20-2026-08-13.json");
        let hint = |collateral: &[u8], at| {
            let at = Timestamp::from_unix_seconds(at);
            verify(&quote, collateral, at, None).refusals[0]
                .hint
                .clone()
        };
        let window = "--at within [1786617938, 1789171031)";
        for (at, code) in [
            (1_786_617_937, "collateral_not_yet_valid"),
            (1_790_000_000, "collateral_expired"),
        ] {
            let outcome = verify(&quote, &bundle, Timestamp::from_unix_seconds(at), None);
            assert_eq!(outcome.code.as_deref(), Some(code));
            assert!(hint(&bundle, at).contains(window), "{}", hint(&bundle, at));
        }
        assert!(hint(b"{}", 0).contains("complete bundle"));
        for at in [1_786_617_938, 1_789_171_030] {
            let outcome = verify(&quote, &bundle, Timestamp::from_unix_seconds(at), None);
            assert_eq!(outcome.code, None, "the window of the hint holds at {at}");
        }
    }

    #[test]
    fn garbage_is_refused_by_name() {
        let outcome = verify(b"\x04\x00", b"{}", Timestamp::EPOCH, None);
        assert_eq!(outcome.code.as_deref(), Some("collateral_invalid"));
        assert!(!outcome.verified);
    }
}
