//! One verdict a test: what passes, and each way in which evidence does not.

use ee_control::attestation::NetworkPolicies;
use ee_core::attestation::{BindingStrength, Pinning, Provenance, TcbStatus, Verdict};
use ee_protocol::{
    names::{AgentId, AppName, Network},
    report_data::{Binding, sha256},
};
use ee_store::StoreError;
use ee_testbed::{DatedItem, Flaw, QuoteVersion, Revoked, SimOptions, SimPlatform, SimStatus};

use crate::world::{Answer, SEED, START_S, STRANGER, World, channel, reason};

const NOW: u64 = START_S.unsigned_abs();

#[tokio::test]
async fn a_good_agent_passes_sealed_on_forge_1() {
    let world = World::new().await;
    for version in QuoteVersion::ALL {
        let Verdict::Pass(result) = world
            .verdict(Answer {
                version,
                ..world.good()
            })
            .await
        else {
            panic!("{version:?} does not pass");
        };
        assert!(result.sealed);
        assert_eq!(result.binding, BindingStrength::Channel);
        assert_eq!(result.pinning, Pinning::Full);
        assert_eq!(result.provenance, Provenance::Release);
        assert_eq!(result.tcb_status, TcbStatus::UpToDate);
        assert_eq!(result.trust_root, "simulated");
    }
}

#[tokio::test]
async fn an_event_log_that_explains_the_registers_passes() {
    let world = World::new().await;
    let described = world.image.allowlist_with_events().to_string();
    world.releases.publish(&world.image, described);
    assert_eq!(
        world
            .reason(Answer {
                event_log: true,
                ..world.good()
            })
            .await,
        "pass"
    );
}

#[tokio::test]
async fn a_quote_for_another_challenge_is_refused() {
    let world = World::new().await;
    let good = world.good();
    type Change = fn(&mut Answer);
    let changes: [(&str, Change); 6] = [
        ("nonce", |answer| answer.nonce = [8; 32]),
        ("app", |answer| {
            answer.registration.app_name = AppName::parse("other").unwrap()
        }),
        ("agent", |answer| {
            answer.registration.agent_id = AgentId::parse("agent-2").unwrap()
        }),
        ("network", |answer| {
            answer.registration.network = Network::Sandbox1
        }),
        ("session", |answer| answer.binding = channel(2)),
        ("session key", |answer| {
            answer.binding = Binding::TlsExporter {
                exporter: [1; 32],
                agent_spki: [102; 32],
                control_spki: [200; 32],
            };
        }),
    ];
    for (what, change) in changes {
        let mut other = good.clone();
        change(&mut other);
        let quoted_for_another = other.report_data();
        let request = good
            .clone()
            .request_with(world.clock_now(), quoted_for_another);
        let verdict = world.attestor.verify(Box::new(request), STRANGER).await;
        assert_eq!(reason(&verdict), "binding_mismatch", "{what}");
    }
    assert_eq!(
        world.endpoints.asked() + world.releases.asked(),
        0,
        "nothing was earned"
    );
}

#[tokio::test]
async fn a_quote_from_another_session_is_refused() {
    let world = World::new().await;
    let request = world.good().request(world.clock_now());
    assert!(matches!(
        world
            .attestor
            .verify(Box::new(request.clone()), STRANGER)
            .await,
        Verdict::Pass(_)
    ));
    let mut replayed = request;
    replayed.binding = channel(9);
    let verdict = world.attestor.verify(Box::new(replayed), STRANGER).await;
    assert_eq!(reason(&verdict), "binding_mismatch");
}

#[tokio::test]
async fn an_unbound_quote_is_refused_where_the_network_wants_a_channel() {
    let world = World::new().await;
    let unbound = Answer {
        binding: Binding::None,
        ..world.good()
    };
    assert_eq!(world.reason(unbound).await, "binding_required");
}

#[tokio::test]
async fn claims_that_differ_from_the_quote_are_refused() {
    let world = World::new().await;
    let mut request = world.good().request(world.clock_now());
    request.response.measurements.as_mut().unwrap()["vm_image_id"] = "another".into();
    let verdict = world.attestor.verify(Box::new(request), STRANGER).await;
    assert_eq!(reason(&verdict), "workload_digest_mismatch");
}

#[tokio::test]
async fn claims_that_differ_from_the_release_are_refused() {
    let world = World::new().await;
    let other = world.image.clone().with_tag("v0.2.0");
    // The registers of the release, the claims of another one.
    let liar = Answer {
        image: other,
        td: world.image.td(),
        ..world.good()
    };
    let given = world.reason(liar).await;
    assert!(given.starts_with("measurement_mismatch:"), "{given}");
}

#[tokio::test]
async fn claims_alone_never_pass() {
    let world = World::new().await;
    let rogue = world.image.clone().rogue();
    let answer = Answer {
        td: rogue.td(),
        image: rogue,
        ..world.good()
    };
    assert_eq!(world.reason(answer).await, "measurement_mismatch:rtmr2");
}

#[tokio::test]
async fn a_mismatch_names_the_release_it_equals() {
    let world = World::new().await;
    let older = world.image.clone().with_tag("v0.0.9");
    world.releases.publish(&older, older.allowlist_json());
    let mut registered = Answer {
        td: older.td(),
        image: older.clone(),
        ..world.good()
    };
    registered.registration.release_tag = older.tag().parse().unwrap();
    assert_eq!(world.reason(registered.clone()).await, "pass");
    assert_eq!(world.reason(world.good()).await, "pass");

    // The image of v0.0.9 with the claims of v0.1.0, registered as v0.1.0.
    let confused = Answer {
        td: older.td(),
        ..world.good()
    };
    let Verdict::Fail(failure) = world.verdict(confused).await else {
        panic!("passed");
    };
    let hints: Vec<_> = failure
        .refusals
        .iter()
        .map(|row| row.hint.as_str())
        .collect();
    assert!(
        hints.iter().any(|hint| hint.contains("v0.0.9")),
        "{hints:?}"
    );
}

#[tokio::test]
async fn debug_and_unsealed_tds_are_refused_on_forge_1() {
    let world = World::new().await;
    let debug = Answer {
        td: world.image.td().with_attribute_bit(0),
        ..world.good()
    };
    assert_eq!(world.reason(debug).await, "td_debug");

    let mut allowlist = world.image.allowlist();
    allowlist["measurements"]["rtmr3"] = serde_json::Value::Null;
    world.releases.publish(&world.image, allowlist.to_string());
    let given = world.reason(world.good()).await;
    assert!(given.starts_with("sealed_"), "{given}");
}

#[tokio::test]
async fn forged_root_named_like_intel_is_refused() {
    let mut options = SimOptions::default();
    options.pki.root_name = "Intel SGX Root CA".to_owned();
    let forger = SimPlatform::new(SEED + 1, options);
    let world = World::new().await;
    let forged = Answer {
        platform: forger,
        ..world.good()
    };
    assert_eq!(world.reason(forged).await, "platform_chain_invalid");
    assert_eq!(world.releases.asked(), 0);
}

#[tokio::test]
async fn broken_platforms_are_refused() {
    let cases = [
        (Flaw::IsvSignature, "quote_signature_invalid"),
        (Flaw::QeReportSignature, "qe_invalid"),
        (Flaw::QeReportData, "qe_invalid"),
        (Flaw::UnknownTcbLevel, "tcb_level_none"),
    ];
    for (flaw, code) in cases {
        let world = World::with(SimOptions::default().with_flaw(flaw)).await;
        assert_eq!(world.reason(world.good()).await, code, "{flaw:?}");
        assert_eq!(world.releases.asked(), 0, "{flaw:?}");
    }
}

#[tokio::test]
async fn revoked_pck_is_refused() {
    for revoked in [Revoked::PckLeaf, Revoked::PckCa] {
        let world = World::with(SimOptions::default().revoke(revoked)).await;
        assert_eq!(
            world.reason(world.good()).await,
            "platform_revoked",
            "{revoked:?}"
        );
    }
}

#[tokio::test]
async fn expired_collateral_is_our_fault() {
    for item in [
        DatedItem::TcbInfo,
        DatedItem::QeIdentity,
        DatedItem::PckCrl,
        DatedItem::RootCrl,
    ] {
        let world = World::with(SimOptions::default().expired(item, NOW)).await;
        assert_eq!(
            world.reason(world.good()).await,
            "~collateral_expired",
            "{item:?}"
        );
        let world = World::with(SimOptions::default().not_yet_valid(item, NOW)).await;
        assert_eq!(
            world.reason(world.good()).await,
            "~collateral_not_yet_valid",
            "{item:?}"
        );
    }
}

#[tokio::test]
async fn an_out_of_date_platform_has_its_grace_from_what_we_saw_first() {
    let mut world = World::with(SimOptions::default().with_status(SimStatus::OutOfDate)).await;
    // Only the grace decides here, not the age of Intel's date.
    world.policies = NetworkPolicies::default();
    let day = std::time::Duration::from_secs(86_400);
    assert_eq!(world.reason(world.good()).await, "pass");
    world.clock.pass(day * 13);
    world.restart().await;
    assert_eq!(world.reason(world.good()).await, "pass");
    world.clock.pass(day * 2);
    assert_eq!(world.reason(world.good()).await, "tcb_grace_over");
}

#[tokio::test]
async fn a_registered_node_must_prove_its_token() {
    let world = World::new().await;
    let key = sha256(b"ee_node_test");
    let registered = Answer {
        node_keys: vec![key],
        ..world.good()
    };
    assert_eq!(
        world.reason(registered.clone()).await,
        "node_token_required"
    );

    let proof = |token: &str| {
        let (nonce, report_data) = (registered.nonce, registered.report_data());
        hex::encode(ee_protocol::report_data::node_proof(
            token,
            &nonce,
            &report_data,
        ))
    };
    for (token, expected) in [
        ("ee_node_other", "node_token_invalid"),
        ("ee_node_test", "pass"),
    ] {
        let mut request = registered.clone().request(world.clock_now());
        request.response.node_proof = Some(proof(token));
        let verdict = world.attestor.verify(Box::new(request), STRANGER).await;
        assert_eq!(reason(&verdict), expected);
    }
}

#[tokio::test]
async fn damaged_evidence_is_refused_and_never_panics() {
    let world = World::new().await;
    let whole = world.good().request(world.clock_now());
    let quote = whole.response.quote.clone().unwrap();
    for length in (0..quote.len()).step_by(97) {
        let mut request = whole.clone();
        request.response.quote = Some(quote[..length].to_owned());
        let verdict = world.attestor.verify(Box::new(request), STRANGER).await;
        assert!(matches!(verdict, Verdict::Fail(_)), "{length}");
    }
    let mut empty = whole.clone();
    empty.response.quote = None;
    let verdict = world.attestor.verify(Box::new(empty), STRANGER).await;
    assert_eq!(reason(&verdict), "missing_quote_or_measurements");
    let mut huge = whole;
    huge.response.quote = Some("A".repeat(400_000));
    let verdict = world.attestor.verify(Box::new(huge), STRANGER).await;
    assert_eq!(reason(&verdict), "evidence_too_large");
}

#[tokio::test]
async fn only_a_recorded_verdict_is_emitted() {
    let world = World::new().await;
    assert_eq!(world.reason(world.good()).await, "pass");
    let entries = world.store.log_entries(0, 10).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (
            entries[0].record.verdict.as_str(),
            entries[0].record.code.as_str()
        ),
        ("pass", "")
    );
    assert_eq!(entries[0].record.nonce, hex::encode([7; 32]));
    assert!(world.store.verify_log().await.unwrap().is_ok());

    world.store.close().await;
    assert_eq!(world.store.log_entries(0, 1).await, Err(StoreError::Closed));
    assert_eq!(world.reason(world.good()).await, "~log_unavailable");
}

#[tokio::test]
async fn a_stranger_fills_no_log() {
    let world = World::new().await;
    let mut stranger = world.good();
    stranger.td = stranger.td.with_attribute_bit(0);
    for _ in 0..3 {
        assert_eq!(world.reason(stranger.clone()).await, "td_debug");
    }
    assert_eq!(world.store.log_entries(0, 10).await.unwrap().len(), 0);
    stranger.attested_before = ee_core::session::Attested::Yes;
    assert_eq!(world.reason(stranger).await, "td_debug");
    let entries = world.store.log_entries(0, 10).await.unwrap();
    assert_eq!(entries[0].record.code, "td_debug");
}
