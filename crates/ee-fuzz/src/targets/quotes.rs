//! Quotes, and answers to challenges that carry them.

use base64::{Engine, engine::general_purpose::STANDARD};
use ee_attest::{DebugTds, Evidence, ParsedQuote};
use ee_protocol::tunnel::AttestResponse;
use serde_json::json;

use crate::{Target, seeds};

pub const TARGET: Target = Target {
    name: "quotes",
    about: "quotes, and answers to challenges that carry them",
    run,
    seeds: quotes,
    longest: 24 * 1024,
    floor: 1100,
};

fn quotes() -> Vec<Vec<u8>> {
    let mut quotes = seeds::real_quotes();
    quotes.extend(seeds::simulated_quotes());
    let claims = seeds::image().claims();
    let answer = json!({
        "nonce": "00".repeat(32),
        "quote": STANDARD.encode(&quotes[0]),
        "report_data": "11".repeat(64),
        "measurements": serde_json::to_value(&claims).expect("JSON"),
        "binding": "tls-exporter",
        "node_proof": "11".repeat(32),
    });
    quotes.push(answer.to_string().into_bytes());
    quotes
}

fn run(bytes: &[u8]) {
    canonical(bytes);
    let Ok(response) = serde_json::from_slice::<AttestResponse>(bytes) else {
        return;
    };
    if let Ok(evidence) = Evidence::parse(&response) {
        canonical(&evidence.quote);
        let _ = evidence.claims.digest();
    }
}

/// What is read is the canonical quote and padding of zeros.
fn canonical(bytes: &[u8]) {
    for debug in [DebugTds::Refused, DebugTds::Allowed] {
        let Ok(parsed) = ParsedQuote::parse(bytes, debug) else {
            continue;
        };
        let (quote, padding) = bytes.split_at(parsed.bytes().len());
        assert_eq!(parsed.bytes(), quote);
        assert!(padding.iter().all(|byte| *byte == 0));
        let again = ParsedQuote::parse(quote, debug).expect("canonical");
        assert_eq!(again.evidence_digest(), parsed.evidence_digest());
    }
}
