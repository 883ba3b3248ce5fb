//! Stage 8: who signed what.

use std::collections::BTreeSet;

use ee_attest::{TrustRoot, Verifier, VerifierLimits};
use ee_testbed::{
    dates::DatedItem,
    pki::{PckCa, Revoked},
    platform::{Flaw, SimOptions, SimPlatform},
    quote::QuoteVersion,
    tcb::SimStatus,
    td::Td,
};

use crate::rig::{
    NOW_S, SEED, bundle, cold_verifier, good, now, quote, reason, root, verifier, verify,
};

fn verdict(options: SimOptions, version: QuoteVersion) -> String {
    let platform = SimPlatform::new(SEED, options);
    reason(verify(&platform, &quote(&platform, version)))
}

#[test]
fn good_platforms_of_every_version_and_authority_pass() {
    for ca in [PckCa::Platform, PckCa::Processor] {
        for version in QuoteVersion::ALL {
            let mut options = SimOptions::default();
            options.pki.ca = ca;
            assert_eq!(verdict(options, version), "pass", "{ca:?} {version:?}");
        }
    }
}

#[test]
fn every_flaw_has_its_code() {
    for (flaw, code) in [
        (Flaw::UnknownTcbLevel, "tcb_level_none"),
        (Flaw::ModuleSigner, "tdx_module_invalid"),
        (Flaw::ModuleAttributes, "tdx_module_invalid"),
        (Flaw::ModuleVersionUnknown, "tdx_module_invalid"),
        (Flaw::ModuleTooOld, "tdx_module_invalid"),
        (Flaw::ModuleRevoked, "tcb_revoked"),
        (Flaw::QeSigner, "qe_invalid"),
        (Flaw::QeProduct, "qe_invalid"),
        (Flaw::QeTooOld, "qe_invalid"),
        (Flaw::QeRevoked, "tcb_revoked"),
        (Flaw::QeDebug, "qe_invalid"),
        (Flaw::QeReportData, "qe_invalid"),
        (Flaw::QeReportSignature, "qe_invalid"),
        (Flaw::IsvSignature, "quote_signature_invalid"),
    ] {
        for version in QuoteVersion::ALL {
            let options = SimOptions::default().with_flaw(flaw);
            assert_eq!(verdict(options, version), code, "{flaw:?} {version:?}");
        }
    }
}

#[test]
fn out_of_date_components_converge_to_out_of_date() {
    for flaw in [Flaw::ModuleOutOfDate, Flaw::QeOutOfDate] {
        let platform = SimPlatform::new(SEED, SimOptions::default().with_flaw(flaw));
        let verified = verify(&platform, &quote(&platform, QuoteVersion::V4)).expect("verified");
        assert_eq!(verified.tcb_status().as_str(), "OutOfDate", "{flaw:?}");
        assert!(!verified.advice().is_empty(), "{flaw:?}");
    }
}

#[test]
fn qe_report_must_be_signed_by_pck() {
    let options = SimOptions::default().with_flaw(Flaw::QeReportSignature);
    assert_eq!(verdict(options, QuoteVersion::V4), "qe_invalid");
}

#[test]
fn attestation_key_must_be_in_qe_report() {
    let options = SimOptions::default().with_flaw(Flaw::QeReportData);
    assert_eq!(verdict(options, QuoteVersion::V4), "qe_invalid");
}

#[test]
fn forged_root_named_like_intel_is_refused() {
    let mut options = SimOptions::default();
    options.pki.root_name = "Intel SGX Root CA".to_owned();
    let forged = SimPlatform::new(SEED, options);
    let bytes = quote(&forged, QuoteVersion::V4);
    let intel = Verifier::new(TrustRoot::intel(), VerifierLimits::default());
    assert_eq!(
        reason(verify(&forged, &bytes)),
        "pass",
        "under its own root"
    );
    let under_intel = intel.verify_quote(&bytes, &bundle(&forged), now());
    assert_eq!(reason(under_intel), "collateral_invalid");
    let foreign = SimPlatform::new(SEED + 1, SimOptions::default());
    let with_our_collateral = verifier(&foreign).verify_quote(&bytes, &bundle(&foreign), now());
    assert_eq!(reason(with_our_collateral), "platform_chain_invalid");
}

#[test]
fn foreign_chain_is_refused_before_collateral_is_fetched() {
    let foreign = SimPlatform::new(SEED + 1, SimOptions::default());
    let parse = |platform: &SimPlatform| {
        let bytes = quote(platform, QuoteVersion::V4);
        ee_attest::ParsedQuote::parse(&bytes, ee_attest::DebugTds::Refused).expect("a quote")
    };
    let ours = verifier(&good());
    assert_eq!(
        reason(ours.chain_ends_at_root(&parse(&good()), now())),
        "pass"
    );
    let refused = ours.chain_ends_at_root(&parse(&foreign), now());
    assert_eq!(reason(refused), "platform_chain_invalid");
}

#[test]
fn revoked_pck_is_refused() {
    for revoked in [Revoked::PckLeaf, Revoked::PckCa] {
        let options = SimOptions::default().revoke(revoked);
        assert_eq!(
            verdict(options, QuoteVersion::V4),
            "platform_revoked",
            "{revoked:?}"
        );
    }
    let options = SimOptions::default().revoke(Revoked::TcbSigner);
    assert_eq!(verdict(options, QuoteVersion::V4), "collateral_invalid");
    let platform = SimPlatform::new(SEED, SimOptions::default().revoke(Revoked::PckLeaf));
    let sibling = platform.sibling(1);
    assert_eq!(
        reason(verify(&sibling, &quote(&sibling, QuoteVersion::V4))),
        "pass"
    );
}

#[test]
fn a_revocation_that_arrives_later_ends_a_known_platform() {
    let before = good();
    let after = SimPlatform::new(SEED, SimOptions::default().revoke(Revoked::PckLeaf));
    let verifier = verifier(&before);
    let bytes = quote(&before, QuoteVersion::V4);
    assert_eq!(
        reason(verifier.verify_quote(&bytes, &bundle(&before), now())),
        "pass"
    );
    let refused = verifier.verify_quote(&bytes, &bundle(&after), now());
    assert_eq!(reason(refused), "platform_revoked");
}

#[test]
fn every_status_is_found() {
    for status in SimStatus::ALL {
        let platform = SimPlatform::new(SEED, SimOptions::default().with_status(status));
        let outcome = verify(&platform, &quote(&platform, QuoteVersion::V5Td15));
        match status {
            SimStatus::Revoked => assert_eq!(reason(outcome), "tcb_revoked"),
            SimStatus::UpToDate
            | SimStatus::SwHardeningNeeded
            | SimStatus::ConfigurationNeeded
            | SimStatus::ConfigurationAndSwHardeningNeeded
            | SimStatus::OutOfDate
            | SimStatus::OutOfDateConfigurationNeeded
            | SimStatus::TdRelaunchAdvised
            | SimStatus::TdRelaunchAdvisedConfigurationNeeded => {
                let verified = outcome.expect("verified");
                assert_eq!(verified.tcb_status().as_str(), status.as_str());
            }
        }
    }
}

#[test]
fn all_svn_components_count() {
    let advice = |status| {
        let platform = SimPlatform::new(SEED, SimOptions::default().with_status(status));
        let verified = verify(&platform, &quote(&platform, QuoteVersion::V4)).expect("verified");
        verified.advice().to_owned()
    };
    assert_eq!(advice(SimStatus::UpToDate), "");
    assert!(
        advice(SimStatus::OutOfDate).contains(", needs "),
        "{}",
        advice(SimStatus::OutOfDate)
    );
}

#[test]
fn pck_leaf_outside_its_validity_is_the_platforms_fault() {
    for options in [
        SimOptions::default().expired(DatedItem::PckLeaf, NOW_S),
        SimOptions::default().not_yet_valid(DatedItem::PckLeaf, NOW_S),
    ] {
        assert_eq!(verdict(options, QuoteVersion::V4), "platform_chain_invalid");
    }
}

#[test]
fn quote_with_collateral_of_another_family_is_not_judged() {
    let mut options = SimOptions::default();
    options.machine.fmspc = [1; 6];
    assert_eq!(verdict(options, QuoteVersion::V4), "collateral_invalid");
}

/// Every byte of header, body, signature, attestation key, QE report, its signature and its
/// authentication data; known platform or not.
#[test]
fn every_flipped_byte_of_signed_regions_is_refused() {
    for version in QuoteVersion::ALL {
        let platform = good();
        let (cold, warm, bundle) = (
            cold_verifier(&platform),
            verifier(&platform),
            bundle(&platform),
        );
        let bytes = quote(&platform, version);
        assert_eq!(reason(warm.verify_quote(&bytes, &bundle, now())), "pass");
        let end = if version == QuoteVersion::V4 {
            632
        } else {
            body_end(&bytes)
        };
        let signed = (0..end).chain(end + 4..end + 132);
        let qe_report = end + 138..end + 138 + 384 + 64;
        let authentication = end + 138 + 450..end + 138 + 482;
        for at in signed.chain(qe_report).chain(authentication) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let outcome = cold.verify_quote(&flipped, &bundle, now());
            assert!(outcome.is_err(), "{version:?}: byte {at} may be flipped");
            assert_eq!(
                warm.verify_quote(&flipped, &bundle, now()),
                outcome,
                "byte {at}"
            );
            assert_ne!(
                reason(outcome),
                "quote_unverified",
                "{version:?}: byte {at}"
            );
        }
    }
}

fn body_end(bytes: &[u8]) -> usize {
    54 + usize::from(u16::from_le_bytes([bytes[50], bytes[51]]))
}

#[test]
fn machines_are_told_apart_only_by_a_keyed_pseudonym() {
    let identity = |platform: &SimPlatform, key: &[u8]| {
        verify(platform, &quote(platform, QuoteVersion::V4))
            .expect("verified")
            .platform_identity(key)
    };
    let platforms = [good(), good().sibling(1), good().sibling(2)];
    let identities: BTreeSet<_> = platforms.iter().map(|it| identity(it, b"key")).collect();
    assert_eq!(identities.len(), 3);
    assert_ne!(identity(&good(), b"key"), identity(&good(), b"other key"));
}

#[test]
fn root_is_a_constructor_argument_and_shows_in_results() {
    let bytes = good().quote(&Td::default(), QuoteVersion::V4, &[0; 64]);
    let verified = verify(&good(), &bytes).expect("verified");
    assert_eq!(verified.trust_root(), "simulated");
    assert_eq!(root(&good()).der(), good().root_der());
}
