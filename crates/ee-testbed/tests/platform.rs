//! The simulated platform against the verifier that production uses: good quotes pass under the
//! simulated root alone, and each option has the effect that its name says.

use std::collections::BTreeSet;

use dcap_qvl::{
    QuoteCollateralV3, QuotePolicy,
    configs::RingConfig,
    quote::Quote,
    verify::{QuoteVerifier, VerifiedReport},
};
use ee_testbed::{
    Collateral, DatedItem, DemoImage, Flaw, PckCa, QuoteVersion, Revoked, SimOptions, SimPlatform,
    SimStatus, Td, Window, padded,
};

/// 2026-06-01T00:00:00Z.
const NOW: u64 = 1_780_272_000;
const REPORT_DATA: [u8; 64] = [0x5a; 64];

#[test]
fn good_quotes_of_every_version_are_up_to_date() {
    for version in QuoteVersion::ALL {
        let report = verify(&platform(SimOptions::default()), version).expect("a good quote");
        assert_eq!(
            (report.status.as_str(), report.advisory_ids.len()),
            ("UpToDate", 0)
        );
    }
}

#[test]
fn registers_and_report_data_arrive_as_given() {
    let td = DemoImage::new(1).td();
    let quote = platform(SimOptions::default()).quote(&td, QuoteVersion::V5Td15, &REPORT_DATA);
    let parsed = Quote::parse(&quote).expect("the layout is Intel's");
    let body = parsed.report.as_td15().expect("TD 1.5");
    assert_eq!(body.base.mr_td, td.mrtd);
    assert_eq!(
        [
            body.base.rt_mr0,
            body.base.rt_mr1,
            body.base.rt_mr2,
            body.base.rt_mr3
        ],
        td.rtmr
    );
    assert_eq!(body.base.report_data, REPORT_DATA);
    assert_eq!(body.base.td_attributes, td.td_attributes);
    assert_eq!(body.base.xfam, td.xfam);
    assert_eq!(body.mr_service_td, [0; 48]);
}

#[test]
fn both_certification_authorities_are_told_apart() {
    for (ca, flags) in [(PckCa::Platform, "True"), (PckCa::Processor, "Undefined")] {
        let mut options = SimOptions::default();
        options.pki.ca = ca;
        let platform = platform(options);
        let quote = platform.quote(&Td::default(), QuoteVersion::V4, &REPORT_DATA);
        let claims = verifier(&platform)
            .verify_with_policy(
                &quote,
                bundle(&platform.collateral(NOW)),
                NOW,
                &QuotePolicy::claims_only(NOW),
            )
            .expect("a good quote");
        assert_eq!(format!("{:?}", claims.platform.pck.smt_enabled), flags);
        assert_eq!(claims.platform.pck.fmspc, platform.fmspc());
        assert_eq!(
            (claims.tcb.eval_data_number, claims.platform.pck_crl_num),
            (19, 7)
        );
    }
}

#[test]
fn each_status_is_what_the_verifier_says() {
    for status in SimStatus::ALL {
        let platform = platform(SimOptions::default().with_status(status));
        let verdict = verify(&platform, QuoteVersion::V5Td15);
        if status == SimStatus::Revoked {
            assert!(refusal(verdict).contains("Revoked"));
        } else {
            assert_eq!(verdict.expect("accepted").status, status.as_str());
        }
    }
}

#[test]
fn older_bodies_know_no_relaunch() {
    for (status, expected) in [
        (SimStatus::TdRelaunchAdvised, "OutOfDate"),
        (
            SimStatus::TdRelaunchAdvisedConfigurationNeeded,
            "OutOfDateConfigurationNeeded",
        ),
    ] {
        let platform = platform(SimOptions::default().with_status(status));
        assert_eq!(
            verify(&platform, QuoteVersion::V4)
                .expect("accepted")
                .status,
            expected
        );
    }
}

#[test]
fn advisories_stay_in_their_order() {
    let mut options = SimOptions::default();
    options.pki.tcb.advisories = vec!["INTEL-SA-2".to_owned(), "INTEL-SA-1".to_owned()];
    let report = verify(&platform(options), QuoteVersion::V4).expect("accepted");
    assert_eq!(report.status, "UpToDate");
    assert_eq!(report.advisory_ids, ["INTEL-SA-2", "INTEL-SA-1"]);
}

#[test]
fn each_flaw_is_found() {
    for (flaw, text) in [
        (Flaw::UnknownTcbLevel, "No matching TCB level"),
        (Flaw::ModuleSigner, "MRSIGNER mismatch"),
        (Flaw::ModuleAttributes, "SEAMATTRIBUTES"),
        (Flaw::ModuleVersionUnknown, "No TDX module identity"),
        (Flaw::ModuleTooOld, "below minimum required from TDX module"),
        (Flaw::ModuleRevoked, "Revoked"),
        (Flaw::QeSigner, "QE MRSIGNER"),
        (Flaw::QeProduct, "QE ISVPRODID"),
        (Flaw::QeTooOld, "below minimum required"),
        (Flaw::QeRevoked, "Revoked"),
        (Flaw::QeDebug, "Debug mode"),
        (Flaw::QeReportData, "QE report hash mismatch"),
        (
            Flaw::QeReportSignature,
            "Signature is invalid for qe_report",
        ),
        (Flaw::IsvSignature, "ISV enclave report signature"),
    ] {
        let refusal = refusal(verify(
            &platform(SimOptions::default().with_flaw(flaw)),
            QuoteVersion::V4,
        ));
        assert!(refusal.contains(text), "{flaw:?}: {refusal}");
    }
}

#[test]
fn old_module_or_quoting_enclave_makes_the_platform_out_of_date() {
    for flaw in [Flaw::ModuleOutOfDate, Flaw::QeOutOfDate] {
        let platform = platform(SimOptions::default().with_flaw(flaw));
        assert_eq!(
            verify(&platform, QuoteVersion::V5Td15Ex)
                .expect("accepted")
                .status,
            "OutOfDate"
        );
    }
}

#[test]
fn revocation_is_found() {
    for revoked in [Revoked::PckLeaf, Revoked::PckCa, Revoked::TcbSigner] {
        let platform = platform(SimOptions::default().revoke(revoked));
        let refusal = refusal(verify(&platform, QuoteVersion::V4));
        assert!(refusal.contains("CertRevoked"), "{revoked:?}: {refusal}");
    }
}

#[test]
fn revoked_leaf_leaves_its_sibling_good() {
    let platform = platform(SimOptions::default().revoke(Revoked::PckLeaf));
    assert!(verify(&platform.sibling(1), QuoteVersion::V4).is_ok());
}

#[test]
fn every_date_counts() {
    for item in DatedItem::ALL {
        for options in [
            SimOptions::default().expired(item, NOW),
            SimOptions::default().not_yet_valid(item, NOW),
        ] {
            let window = options.pki.dates[&item];
            let platform = platform(options);
            assert!(!dates_hold(&platform), "{item:?} {window:?}");
        }
    }
    assert!(dates_hold(&platform(SimOptions::default())));
}

#[test]
fn windows_are_written_to_the_second() {
    let window = Window {
        from: NOW - 10,
        until: NOW + 10,
    };
    for item in DatedItem::ALL {
        let platform = platform(SimOptions::default().with_dates(item, window));
        let (latest_issue, earliest_expiration) = dates(&platform).expect("valid now");
        assert_eq!(
            (latest_issue, earliest_expiration),
            (NOW - 10, NOW + 10),
            "{item:?}"
        );
    }
}

#[test]
fn foreign_root_of_the_same_name_is_refused() {
    let (ours, foreign) = (
        platform(SimOptions::default()),
        SimPlatform::new(99, SimOptions::default()),
    );
    assert_eq!(ours.root_name(), foreign.root_name());
    let quote = foreign.quote(&Td::default(), QuoteVersion::V4, &REPORT_DATA);
    let collateral = bundle(&ours.collateral(NOW));
    assert!(verifier(&ours).verify(&quote, &collateral, NOW).is_err());
    assert!(
        QuoteVerifier::new_prod()
            .verify(&quote, &collateral, NOW)
            .is_err()
    );
}

#[test]
fn other_fmspc_is_refused() {
    let ours = platform(SimOptions::default());
    let other = ours.sibling_with(3, |machine| machine.fmspc = [1; 6]);
    assert!(refusal(verify(&other, QuoteVersion::V4)).contains("Fmspc mismatch"));
}

#[test]
fn missing_revocation_list_is_refused() {
    let platform = platform(SimOptions::default());
    let quote = platform.quote(&Td::default(), QuoteVersion::V4, &REPORT_DATA);
    for spoil in [
        (|collateral: &mut Collateral| collateral.pck_crl.clear()) as fn(&mut Collateral),
        |collateral| collateral.root_ca_crl.clear(),
        |collateral| collateral.pck_crl.clone_from(&collateral.root_ca_crl),
    ] {
        let mut collateral = platform.collateral(NOW);
        spoil(&mut collateral);
        assert!(
            verifier(&platform)
                .verify(&quote, &bundle(&collateral), NOW)
                .is_err()
        );
    }
}

#[test]
fn forbidden_attributes_and_service_tds_are_refused() {
    for (bit, text) in [
        (0, "Debug"),
        (4, "profiling"),
        (28, "SEPT_VE_DISABLE"),
        (29, "migration"),
    ] {
        let td = Td::default().with_attribute_bit(bit);
        let refusal = refusal(verify_td(
            &platform(SimOptions::default()),
            &td,
            QuoteVersion::V4,
        ));
        assert!(refusal.contains(text), "bit {bit}: {refusal}");
    }
    let td = Td {
        mr_service_td: [1; 48],
        ..Td::default()
    };
    let platform = platform(SimOptions::default());
    assert!(refusal(verify_td(&platform, &td, QuoteVersion::V5Td15)).contains("MR service TD"));
}

#[test]
fn padding_is_zero_and_follows_the_quote() {
    let quote =
        platform(SimOptions::default()).quote(&Td::default(), QuoteVersion::V4, &REPORT_DATA);
    let padded = padded(quote.clone(), 70);
    assert_eq!(padded[..quote.len()], quote);
    assert_eq!(padded[quote.len()..], [0; 70]);
}

#[test]
fn many_machines_share_collateral_and_differ_in_keys() {
    let first = platform(SimOptions::default());
    let collateral = bundle(&first.collateral(NOW));
    let mut keys = BTreeSet::new();
    for number in 0..20 {
        let machine = first.sibling(number);
        let quote = machine.quote(&Td::default(), QuoteVersion::V4, &REPORT_DATA);
        assert!(verifier(&first).verify(&quote, &collateral, NOW).is_ok());
        // Header and body have 632 bytes, length and signature another 68.
        keys.insert(quote[700..764].to_vec());
    }
    assert_eq!(keys.len(), 20);
}

#[test]
fn processes_started_apart_agree() {
    let (first, second) = (
        platform(SimOptions::default()),
        platform(SimOptions::default()),
    );
    assert_eq!(first.root_der(), second.root_der());
    assert_eq!(first.collateral(NOW), second.collateral(NOW));
    assert_eq!(
        first.quote(&Td::default(), QuoteVersion::V4, &REPORT_DATA),
        second.quote(&Td::default(), QuoteVersion::V4, &REPORT_DATA)
    );
}

#[test]
fn rolled_back_collateral_is_valid_but_older() {
    let platform = platform(SimOptions::default());
    let older = platform.rolled_back_collateral(NOW);
    let quote = platform.quote(&Td::default(), QuoteVersion::V4, &REPORT_DATA);
    assert!(
        verifier(&platform)
            .verify(&quote, &bundle(&older), NOW)
            .is_ok()
    );
    assert!(older.tcb_info.contains("\"tcbEvaluationDataNumber\":17"));
    assert_eq!(
        older.pck_crl_issuer_chain,
        platform.collateral(NOW).pck_crl_issuer_chain
    );
}

fn platform(options: SimOptions) -> SimPlatform {
    SimPlatform::new(1, options)
}

fn verifier(platform: &SimPlatform) -> QuoteVerifier<RingConfig> {
    QuoteVerifier::new_with_config(platform.root_der().to_vec())
}

fn bundle(collateral: &Collateral) -> QuoteCollateralV3 {
    serde_json::from_str(&collateral.to_json()).expect("the form is dcap-qvl's")
}

fn verify(platform: &SimPlatform, version: QuoteVersion) -> Result<VerifiedReport, String> {
    verify_td(platform, &Td::default(), version)
}

fn verify_td(
    platform: &SimPlatform,
    td: &Td,
    version: QuoteVersion,
) -> Result<VerifiedReport, String> {
    let quote = platform.quote(td, version, &REPORT_DATA);
    let collateral = bundle(&platform.collateral(NOW));
    verifier(platform)
        .verify(&quote, &collateral, NOW)
        .map_err(|error| format!("{error:#}"))
}

fn refusal(verdict: Result<VerifiedReport, String>) -> String {
    verdict.expect_err("a refusal")
}

/// Latest issue and earliest expiration over all eight dates.
fn dates(platform: &SimPlatform) -> Option<(u64, u64)> {
    let quote = platform.quote(&Td::default(), QuoteVersion::V4, &REPORT_DATA);
    let collateral = bundle(&platform.collateral(NOW));
    let policy = QuotePolicy::claims_only(NOW);
    let claims = verifier(platform)
        .verify_with_policy(&quote, collateral, NOW, &policy)
        .ok()?;
    Some((claims.latest_issue_date, claims.earliest_expiration_date))
}

fn dates_hold(platform: &SimPlatform) -> bool {
    dates(platform).is_some_and(|(from, until)| (from..until).contains(&NOW))
}
