//! Stage 7: items on arrival, bundles, dates.

use ee_attest::{BundleItems, CollateralBundle, CollateralItem, ItemKind, PckCa};
use ee_core::attestation::Failure;
use ee_testbed::{
    collateral::{Collateral, PcsItem},
    dates::DatedItem,
    pki::Revoked,
    platform::{SimOptions, SimPlatform},
    quote::QuoteVersion,
};

use crate::rig::{NOW_S, SEED, bundle_at, good, now, quote, reason, root, verifier, verify};

struct Items {
    tcb_info: CollateralItem,
    qe_identity: CollateralItem,
    pck_crl: CollateralItem,
    root_crl: CollateralItem,
}

fn kinds(platform: &SimPlatform) -> [ItemKind; 4] {
    [
        ItemKind::TcbInfo {
            fmspc: platform.fmspc(),
        },
        ItemKind::QeIdentity,
        ItemKind::PckCrl {
            ca: PckCa::Platform,
        },
        ItemKind::RootCrl,
    ]
}

fn arrive(
    platform: &SimPlatform,
    kind: ItemKind,
    item: &PcsItem,
    chain: Option<&str>,
    root_crl: Option<&CollateralItem>,
) -> Result<CollateralItem, Failure> {
    CollateralItem::verify(&root(platform), kind, &item.body, chain, root_crl, now())
}

fn items_of(platform: &SimPlatform, collateral: &Collateral) -> Result<Items, Failure> {
    let [tcb_info, qe_identity, pck_crl, root_crl] = kinds(platform);
    let pcs = collateral.pcs_items();
    let root_crl = arrive(platform, root_crl, &pcs.root_crl, None, None)?;
    let with = |kind, item, chain: &str| arrive(platform, kind, item, Some(chain), Some(&root_crl));
    Ok(Items {
        tcb_info: with(tcb_info, &pcs.tcb_info, &collateral.tcb_info_issuer_chain)?,
        qe_identity: with(
            qe_identity,
            &pcs.qe_identity,
            &collateral.qe_identity_issuer_chain,
        )?,
        pck_crl: with(pck_crl, &pcs.pck_crl, &collateral.pck_crl_issuer_chain)?,
        root_crl,
    })
}

fn arrival(change: impl FnOnce(&mut Collateral)) -> String {
    let mut collateral = good().collateral(NOW_S);
    change(&mut collateral);
    reason(items_of(&good(), &collateral).map(|_| ()))
}

#[test]
fn items_of_a_pcs_make_the_bundle_that_verifies() {
    let items = items_of(&good(), &good().collateral(NOW_S)).expect("good items");
    assert_eq!(
        (items.tcb_info.number(), items.qe_identity.number()),
        (20, 19)
    );
    assert_eq!((items.pck_crl.number(), items.root_crl.number()), (7, 7));
    let bundle = CollateralBundle::from_items(BundleItems {
        tcb_info: &items.tcb_info,
        qe_identity: &items.qe_identity,
        pck_crl: &items.pck_crl,
        root_crl: &items.root_crl,
    })
    .expect("a bundle");
    assert_eq!(bundle.digest(), bundle_at(&good(), NOW_S).digest());
    let bytes = quote(&good(), QuoteVersion::V4);
    assert_eq!(
        reason(verifier(&good()).verify_quote(&bytes, &bundle, now())),
        "pass"
    );
}

#[test]
fn unsigned_tcb_info_is_refused() {
    assert_eq!(arrival(|_| ()), "pass");
    let changed = |c: &mut Collateral| c.tcb_info = c.tcb_info.replacen("UpToDate", "Revoked", 1);
    assert_eq!(arrival(changed), "collateral_invalid");
    let raised = |c: &mut Collateral| c.tcb_info = c.tcb_info.replace(":20,", ":21,");
    assert_eq!(arrival(raised), "collateral_invalid");
    assert_eq!(
        arrival(|c| c.tcb_info_signature[0] ^= 1),
        "collateral_invalid"
    );
    assert_eq!(
        arrival(|c| c.tcb_info_signature.truncate(63)),
        "collateral_invalid"
    );
    let mut collateral = good().collateral(NOW_S);
    collateral.tcb_info_signature[0] ^= 1;
    let bundle = CollateralBundle::from_json(collateral.to_json().as_bytes()).expect("a bundle");
    let bytes = quote(&good(), QuoteVersion::V4);
    let outcome = verifier(&good()).verify_quote(&bytes, &bundle, now());
    assert_eq!(reason(outcome), "collateral_invalid");
}

#[test]
fn qe_identity_is_required() {
    assert_eq!(
        arrival(|c| c.qe_identity_signature[0] ^= 1),
        "collateral_invalid"
    );
    let swapped = |c: &mut Collateral| {
        c.qe_identity.clone_from(&c.tcb_info);
        c.qe_identity_signature.clone_from(&c.tcb_info_signature);
    };
    assert_eq!(arrival(swapped), "collateral_invalid");
    let mut collateral = good().collateral(NOW_S);
    collateral.qe_identity.clear();
    let missing = CollateralBundle::from_json(collateral.to_json().as_bytes());
    assert_eq!(reason(missing), "collateral_invalid");
}

#[test]
fn lists_must_be_present_and_signed_by_their_authority() {
    assert_eq!(arrival(|c| c.root_ca_crl.clear()), "collateral_invalid");
    assert_eq!(arrival(|c| c.pck_crl.clear()), "collateral_invalid");
    assert_eq!(
        arrival(|c| c.pck_crl = c.root_ca_crl.clone()),
        "collateral_invalid"
    );
    let last = |der: &mut Vec<u8>| *der.last_mut().expect("not empty") ^= 1;
    assert_eq!(arrival(|c| last(&mut c.pck_crl)), "collateral_invalid");
    assert_eq!(arrival(|c| last(&mut c.root_ca_crl)), "collateral_invalid");
    let signer = |c: &mut Collateral| {
        c.pck_crl_issuer_chain.clone_from(&c.tcb_info_issuer_chain);
    };
    assert_eq!(arrival(signer), "collateral_invalid");
}

#[test]
fn a_foreign_mirror_is_refused_on_arrival() {
    let foreign = SimPlatform::new(SEED + 1, SimOptions::default()).collateral(NOW_S);
    assert_eq!(
        reason(items_of(&good(), &foreign).map(|_| ())),
        "collateral_invalid"
    );
}

#[test]
fn a_revoked_signer_is_refused_on_arrival() {
    let platform = SimPlatform::new(SEED, SimOptions::default().revoke(Revoked::TcbSigner));
    let outcome = items_of(&platform, &platform.collateral(NOW_S)).map(|_| ());
    assert_eq!(reason(outcome), "collateral_invalid");
}

#[test]
fn another_familys_tcb_info_is_refused_on_arrival() {
    let collateral = good().collateral(NOW_S);
    let item = collateral.pcs_items().tcb_info;
    let chain = Some(collateral.tcb_info_issuer_chain.as_str());
    let other = ItemKind::TcbInfo { fmspc: [1; 6] };
    assert_eq!(
        reason(arrive(&good(), other, &item, chain, None)),
        "collateral_invalid"
    );
}

#[test]
fn hexadecimal_lists_are_read_like_der() {
    let collateral = good().collateral(NOW_S);
    let body = hex::encode(&collateral.root_ca_crl).into_bytes();
    let root = root(&good());
    let item = CollateralItem::verify(&root, ItemKind::RootCrl, &body, None, None, now());
    assert_eq!(item.expect("a list").number(), 7);
}

#[test]
fn rolled_back_collateral_may_not_replace_newer() {
    let fresh = items_of(&good(), &good().collateral(NOW_S)).expect("good items");
    let old = items_of(&good(), &good().rolled_back_collateral(NOW_S)).expect("valid, but old");
    for (old, fresh) in [
        (&old.tcb_info, &fresh.tcb_info),
        (&old.qe_identity, &fresh.qe_identity),
        (&old.pck_crl, &fresh.pck_crl),
    ] {
        assert!(!old.may_replace(fresh), "{}", old.kind());
        assert!(
            fresh.may_replace(old) && fresh.may_replace(fresh),
            "{}",
            fresh.kind()
        );
    }
    assert!(
        !fresh.qe_identity.may_replace(&fresh.tcb_info),
        "other kinds never"
    );
}

#[test]
fn every_date_of_collateral_counts() {
    for item in DatedItem::ALL {
        if item == DatedItem::PckLeaf {
            continue;
        }
        let outcome = |options: SimOptions| {
            let platform = SimPlatform::new(SEED, options);
            reason(verify(&platform, &quote(&platform, QuoteVersion::V4)))
        };
        let expired = outcome(SimOptions::default().expired(item, NOW_S));
        assert_eq!(expired, "collateral_expired", "{item:?}");
        let early = outcome(SimOptions::default().not_yet_valid(item, NOW_S));
        assert_eq!(early, "collateral_not_yet_valid", "{item:?}");
    }
}

#[test]
fn a_chain_inside_a_bundle_cannot_replace_the_quotes() {
    let foreign = good().sibling(1);
    let mut json: serde_json::Value =
        serde_json::from_str(&good().collateral(NOW_S).to_json()).expect("JSON");
    json["pck_certificate_chain"] = "-----BEGIN CERTIFICATE-----".into();
    let bundle = CollateralBundle::from_value(&json).expect("a bundle");
    let bytes = quote(&foreign, QuoteVersion::V4);
    assert_eq!(
        reason(verifier(&good()).verify_quote(&bytes, &bundle, now())),
        "pass"
    );
}

#[test]
fn damaged_bodies_are_refused_without_panic() {
    let collateral = good().collateral(NOW_S);
    let pcs = collateral.pcs_items();
    let chain = collateral.tcb_info_issuer_chain.as_str();
    let kind = ItemKind::TcbInfo {
        fmspc: good().fmspc(),
    };
    let root = root(&good());
    let body = &pcs.tcb_info.body;
    for at in (0..body.len()).step_by(7) {
        let mut flipped = body.clone();
        flipped[at] ^= 4;
        for damaged in [&flipped[..], &body[..at]] {
            let item = CollateralItem::verify(&root, kind, damaged, Some(chain), None, now());
            assert!(item.is_err(), "byte {at}");
        }
    }
    for at in 0..pcs.pck_crl.body.len() {
        let chain = Some(collateral.pck_crl_issuer_chain.as_str());
        let cut = &pcs.pck_crl.body[..at];
        let kind = ItemKind::PckCrl {
            ca: PckCa::Platform,
        };
        assert!(
            CollateralItem::verify(&root, kind, cut, chain, None, now()).is_err(),
            "{at}"
        );
    }
}
