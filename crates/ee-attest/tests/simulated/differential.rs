//! The platform-verdict cache answers as full verification does, in verdict and in every claim.

use ee_attest::{CollateralBundle, Verifier};
use ee_testbed::{
    dates::{DatedItem, Window},
    platform::{Flaw, SimOptions, SimPlatform},
    quote::QuoteVersion,
    tcb::SimStatus,
    td::Td,
};

use crate::noise::Noise;
use crate::rig::{NOW_S, SEED, at, bundle, cold_verifier, good, now, quote, reason, verifier};

/// Mutated quotes in the normal run; 10^6 before a new version of dcap-qvl.
const QUOTES: u64 = 10_000;

struct Known {
    bundle: CollateralBundle,
    fast: Verifier,
    full: Verifier,
    quotes: Vec<Vec<u8>>,
}

fn known(status: SimStatus, noise: &mut Noise) -> Known {
    let platform = SimPlatform::new(SEED, SimOptions::default().with_status(status));
    let known = Known {
        bundle: bundle(&platform),
        fast: verifier(&platform),
        full: cold_verifier(&platform),
        quotes: (0..32)
            .map(|number| sample(&platform, number, noise))
            .collect(),
    };
    known
        .bundle
        .verify(known.fast.root(), now())
        .expect("good collateral");
    known
}

/// A genuine quote with registers and report data of its own, on one of four machines.
fn sample(platform: &SimPlatform, number: usize, noise: &mut Noise) -> Vec<u8> {
    let mut td = Td::default();
    td.rtmr[noise.below(4)] = [noise.byte(); 48];
    td.mrtd = [noise.byte(); 48];
    td.mr_config_id = [noise.byte(); 48];
    let machine = platform.sibling_with(
        u32::try_from(number / 8).expect("a few machines"),
        |machine| {
            if number.is_multiple_of(3) {
                machine.flaws.insert(Flaw::ModuleOutOfDate);
            }
        },
    );
    machine.quote(&td, QuoteVersion::ALL[number % 4], &[noise.byte(); 64])
}

/// Leaves a quote as it is, flips bits anywhere or in the measured part, or grafts a part of
/// another quote into it.
fn mutate(known: &Known, noise: &mut Noise) -> Vec<u8> {
    let mut bytes = known.quotes[noise.below(known.quotes.len())].clone();
    let donor = &known.quotes[noise.below(known.quotes.len())];
    let shared = bytes.len().min(donor.len());
    match noise.below(5) {
        0 => {}
        1 => {
            let at = noise.below(bytes.len());
            bytes[at] ^= 1 << noise.below(8);
        }
        2 => {
            let at = 184 + noise.below(768);
            bytes[at] ^= 1 << noise.below(8);
        }
        3 => {
            let from = noise.below(shared);
            let until = shared.min(from + noise.below(600));
            bytes[from..until].copy_from_slice(&donor[from..until]);
        }
        _ => bytes[..632].copy_from_slice(&donor[..632]),
    }
    bytes
}

#[test]
fn fast_and_full_verification_agree_on_mutated_quotes() {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let statuses = [
        SimStatus::UpToDate,
        SimStatus::OutOfDate,
        SimStatus::TdRelaunchAdvised,
    ];
    let known: Vec<Known> = statuses
        .into_iter()
        .map(|it| known(it, &mut noise))
        .collect();
    let (mut passed, mut refused) = (0, 0);
    for number in 0..QUOTES {
        let known = &known[noise.below(known.len())];
        let bytes = mutate(known, &mut noise);
        let full = known.full.verify_quote(&bytes, &known.bundle, now());
        let fast = known.fast.verify_quote(&bytes, &known.bundle, now());
        assert_eq!(fast, full, "quote {number}");
        match full {
            Ok(_) => passed += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(
        passed > QUOTES / 10 && refused > QUOTES / 10,
        "{passed} passed, {refused} refused"
    );
}

#[test]
fn a_hit_ends_with_the_collateral() {
    let (verifier, bundle) = (verifier(&good()), bundle(&good()));
    let bytes = quote(&good(), QuoteVersion::V4);
    let verified = verifier
        .verify_quote(&bytes, &bundle, now())
        .expect("verified");
    let until = u64::try_from(verified.collateral_valid().until.unix_seconds()).expect("positive");
    assert_eq!(
        reason(verifier.verify_quote(&bytes, &bundle, at(until - 1))),
        "pass"
    );
    let late = verifier.verify_quote(&bytes, &bundle, at(until));
    assert_eq!(reason(late), "collateral_expired");
}

#[test]
fn a_hit_ends_with_the_platforms_certificate() {
    let (from, until) = (NOW_S - 3_600, NOW_S + 3_600);
    let options = SimOptions::default().with_dates(DatedItem::PckLeaf, Window { from, until });
    let platform = SimPlatform::new(SEED, options);
    let (verifier, bundle) = (verifier(&platform), bundle(&platform));
    let bytes = quote(&platform, QuoteVersion::V4);
    let at_time = |unix_s| reason(verifier.verify_quote(&bytes, &bundle, at(unix_s)));
    assert_eq!(at_time(NOW_S), "pass");
    assert_eq!(at_time(until - 1), "pass");
    assert_eq!(at_time(until), "platform_chain_invalid");
}

#[test]
fn another_module_on_a_known_machine_is_another_platform() {
    let (verifier, bundle) = (verifier(&good()), bundle(&good()));
    let outdated = good().sibling_with(0, |machine| {
        machine.flaws.insert(Flaw::ModuleOutOfDate);
    });
    let status = |platform: &SimPlatform| {
        let bytes = quote(platform, QuoteVersion::V4);
        let verified = verifier
            .verify_quote(&bytes, &bundle, now())
            .expect("verified");
        verified.tcb_status().as_str()
    };
    assert_eq!(status(&good()), "UpToDate");
    assert_eq!(status(&outdated), "OutOfDate");
}

#[test]
fn a_hit_takes_registers_from_this_quote() {
    let (verifier, bundle) = (verifier(&good()), bundle(&good()));
    let with = |mrtd: [u8; 48]| {
        let bytes = good().quote(
            &Td {
                mrtd,
                ..Td::default()
            },
            QuoteVersion::V4,
            &mrtd_data(mrtd),
        );
        verifier
            .verify_quote(&bytes, &bundle, now())
            .expect("verified")
    };
    assert_eq!(with([1; 48]).registers().mrtd, [1; 48]);
    let second = with([2; 48]);
    assert_eq!(second.registers().mrtd, [2; 48]);
    assert_eq!(second.registers().report_data.0, mrtd_data([2; 48]));
}

fn mrtd_data(mrtd: [u8; 48]) -> [u8; 64] {
    [mrtd[0]; 64]
}
