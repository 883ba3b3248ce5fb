//! 10 000 damaged inputs for every parser that reads what others send: none panics, and what is
//! still accepted means what the undamaged input meant.

use ee_attest::{
    Allowlist, CollateralBundle, CollateralItem, DebugTds, Evidence, ItemKind, ParsedQuote, PckCa,
    allowlist::check_claims, event_log::EventLog,
};
use ee_core::attestation::Provenance;
use ee_protocol::tunnel::AttestResponse;
use ee_testbed::{image::DemoImage, quote::QuoteVersion};
use serde_json::{Value, json};

use crate::{
    noise::Noise,
    rig::{Attempt, NOW_S, SEED, bundle, good, now, quote, root, verifier},
};

/// Damaged inputs a parser in the normal run; 10^7 in a campaign.
const INPUTS: usize = 10_000;

#[test]
fn damaged_quotes_are_refused_or_read_as_what_they_canonically_are() {
    let mut noise = Noise(0x5eed_0001);
    let quotes = QuoteVersion::ALL.map(|version| quote(&good(), version));
    let mut read = 0;
    for number in 0..INPUTS {
        let bytes = noise.damage(&quotes[number % quotes.len()]);
        for debug in [DebugTds::Refused, DebugTds::Allowed] {
            let Ok(parsed) = ParsedQuote::parse(&bytes, debug) else {
                continue;
            };
            read += 1;
            let (canonical, padding) = bytes.split_at(parsed.bytes().len());
            assert_eq!(parsed.bytes(), canonical, "quote {number}");
            assert!(padding.iter().all(|byte| *byte == 0), "quote {number}");
            let again = ParsedQuote::parse(canonical, debug).expect("canonical");
            assert_eq!(again.evidence_digest(), parsed.evidence_digest());
        }
    }
    assert!(read > INPUTS / 100, "{read}: too few reach the end");
}

/// Damage to the text or to the structure, by turns.
fn damaged_json(noise: &mut Noise, original: &Value, text: &[u8]) -> Vec<u8> {
    match noise.once_in(2) {
        true => noise.damage(text),
        false => serde_json::to_vec(&noise.twist(original)).expect("JSON"),
    }
}

#[test]
fn damaged_event_logs_never_panic() {
    let mut noise = Noise(0x5eed_0002);
    let image = DemoImage::new(SEED);
    let allowlist = serde_json::to_vec(&image.allowlist_with_events()).expect("JSON");
    let allowlist = Allowlist::parse(&allowlist).expect("an allowlist");
    let expected = allowlist.rtmr3_events().expect("described");
    let quote = quote_of(&image);
    let log = image.event_log();
    let text = serde_json::to_vec(&log).expect("JSON");
    let mut read = 0;
    for _ in 0..INPUTS {
        let damaged = damaged_json(&mut noise, &log, &text);
        let Ok(value) = serde_json::from_slice::<Value>(&damaged) else {
            continue;
        };
        let Ok(parsed) = EventLog::parse(&value) else {
            continue;
        };
        read += 1;
        for imr in 0..6 {
            let _ = parsed.replay(imr);
        }
        let _ = parsed.check(quote.registers());
        let _ = parsed.check_described(expected, quote.registers());
    }
    assert!(read > INPUTS / 100, "{read}: too few reach the end");
}

fn quote_of(image: &DemoImage) -> ParsedQuote {
    let bytes = good().quote(&image.td(), QuoteVersion::V4, &[0; 64]);
    ParsedQuote::parse(&bytes, DebugTds::Refused).expect("a quote")
}

#[test]
fn damaged_allowlists_never_panic_anywhere_down_the_line() {
    let mut noise = Noise(0x5eed_0003);
    let image = DemoImage::new(SEED);
    let quote = quote_of(&image);
    let evidence = Attempt::default().evidence();
    let mut rich = image.allowlist_with_events();
    rich["entries"] = json!([{
        "id": "other", "sealed": true, "not_after": "2027-01-01T00:00:00Z",
        "measurements": image.allowlist()["measurements"],
    }]);
    rich["tcb_policy"] = json!({
        "statuses": ["UpToDate"], "min_tcb_date": "2025-01-01T00:00:00Z",
        "reject_advisories": ["INTEL-SA-00001"],
    });
    let originals = [rich, image.allowlist_1_0(), image.allowlist()];
    let texts = originals
        .each_ref()
        .map(|it| serde_json::to_vec(it).expect("JSON"));
    let mut read = 0;
    for number in 0..INPUTS {
        let which = number % originals.len();
        let damaged = damaged_json(&mut noise, &originals[which], &texts[which]);
        let Ok(allowlist) = Allowlist::parse(&damaged) else {
            continue;
        };
        read += 1;
        let release = Provenance::Release;
        let _ = allowlist.check_release(image.tag(), release, release);
        let selection = allowlist.select(quote.registers(), now());
        let _ = check_claims(&selection, &evidence);
        for entry in allowlist.entries() {
            let _ = entry.pinning(allowlist.rtmr3_events().is_some());
        }
    }
    assert!(read > INPUTS / 20, "{read}: too few reach the end");
}

#[test]
fn damaged_answers_never_panic() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut noise = Noise(0x5eed_0004);
    let evidence = Attempt::default().evidence();
    let answer = json!({
        "nonce": "00".repeat(32),
        "quote": STANDARD.encode(&evidence.quote),
        "report_data": hex::encode(evidence.report_data.0),
        "measurements": serde_json::to_value(&evidence.claims).expect("JSON"),
        "event_log": evidence.event_log,
        "binding": "tls-exporter",
        "node_proof": "11".repeat(32),
    });
    let text = serde_json::to_vec(&answer).expect("JSON");
    let mut read = 0;
    for _ in 0..INPUTS {
        let damaged = damaged_json(&mut noise, &answer, &text);
        let Ok(response) = serde_json::from_slice::<AttestResponse>(&damaged) else {
            continue;
        };
        let Ok(parsed) = Evidence::parse(&response) else {
            continue;
        };
        read += 1;
        let _ = ParsedQuote::parse(&parsed.quote, DebugTds::Allowed);
        let _ = parsed.event_log.as_ref().map(EventLog::parse);
        let _ = parsed.claims.digest();
    }
    assert!(read > INPUTS / 20, "{read}: too few reach the end");
}

#[test]
fn damaged_items_are_refused_or_say_what_the_genuine_ones_say() {
    let mut noise = Noise(0x5eed_0005);
    let collateral = good().collateral(NOW_S);
    let pcs = collateral.pcs_items();
    let fmspc = good().fmspc();
    let platform = PckCa::Platform;
    let genuine = [
        (ItemKind::RootCrl, &pcs.root_crl, None),
        (
            ItemKind::TcbInfo { fmspc },
            &pcs.tcb_info,
            Some(&collateral.tcb_info_issuer_chain),
        ),
        (
            ItemKind::QeIdentity,
            &pcs.qe_identity,
            Some(&collateral.qe_identity_issuer_chain),
        ),
        (
            ItemKind::PckCrl { ca: platform },
            &pcs.pck_crl,
            Some(&collateral.pck_crl_issuer_chain),
        ),
    ];
    let root = root(&good());
    let list = CollateralItem::verify(
        &root,
        ItemKind::RootCrl,
        &pcs.root_crl.body,
        None,
        None,
        now(),
    )
    .expect("genuine");
    let verify = |kind, body: &[u8], chain: Option<&str>| {
        let list = (kind != ItemKind::RootCrl).then_some(&list);
        CollateralItem::verify(&root, kind, body, chain, list, now())
    };
    for number in 0..INPUTS {
        let (kind, item, chain) = genuine[number % genuine.len()];
        let chain = chain.map(String::as_str);
        let truth = verify(kind, &item.body, chain).expect("genuine");
        let damage_chain = chain.is_some() && noise.once_in(3);
        let body = match damage_chain {
            true => item.body.clone(),
            false => noise.damage(&item.body),
        };
        let damaged_chain = chain.map(|chain| match damage_chain {
            true => String::from_utf8_lossy(&noise.damage(chain.as_bytes())).into_owned(),
            false => chain.to_owned(),
        });
        if let Ok(accepted) = verify(kind, &body, damaged_chain.as_deref()) {
            assert_eq!(accepted.number(), truth.number(), "{kind} {number}");
            assert_eq!(accepted.issued_at(), truth.issued_at(), "{kind} {number}");
            assert_eq!(accepted.window(), truth.window(), "{kind} {number}");
        }
    }
}

#[test]
fn damaged_bundles_never_make_a_better_platform() {
    let mut noise = Noise(0x5eed_0006);
    let text = good().collateral(NOW_S).to_json();
    let original: Value = serde_json::from_str(&text).expect("JSON");
    let quote = quote_of(&DemoImage::new(SEED));
    let verifier = verifier(&good());
    let truth = verifier
        .platform(&quote, &bundle(&good()), now())
        .expect("genuine");
    let mut read = 0;
    for number in 0..INPUTS {
        let damaged = damaged_json(&mut noise, &original, text.as_bytes());
        let Ok(bundle) = CollateralBundle::from_json(&damaged) else {
            continue;
        };
        read += 1;
        let _ = bundle.verify(verifier.root(), now());
        if let Ok(verified) = verifier.platform(&quote, &bundle, now()) {
            assert_eq!(verified.tcb_status(), truth.tcb_status(), "bundle {number}");
            assert_eq!(verified.advisories(), truth.advisories(), "bundle {number}");
        }
    }
    assert!(read > INPUTS / 100, "{read}: too few reach the end");
}
