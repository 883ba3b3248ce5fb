//! Machines and collateral that must not be believed: forged roots, revoked keys, old and spoilt
//! lists, mirrors that lie.

use ee_testbed::{
    DEFAULT_SEED, DatedItem, Flaw, PcsMode, PkiOptions, Revoked, SimOptions, SimPlatform, SimStatus,
};
use serde_json::{Value, json};

use crate::{
    peer::{Prover, Registration, is_explained},
    world::{World, platform, unix_now},
};

const APP: &str = "target";
const DAY_S: u64 = 86_400;

fn registration() -> Registration {
    Registration::new(APP, "attacker")
}

fn on(machine: SimPlatform) -> Prover {
    Prover::good().with(|prover| prover.platform = machine)
}

/// A family of machines that the control plane has not met: nothing of it is in any cache.
fn unknown_family() -> SimPlatform {
    let mut options = SimOptions::default();
    options.machine.fmspc = [0x70, 0x80, 0x6f, 0, 0, 0];
    options.pki.tcb.fmspc = options.machine.fmspc;
    SimPlatform::new(DEFAULT_SEED, options)
}

async fn nothing_came_of_it(world: World) {
    assert_eq!(world.resolve(APP).await.0, 404);
    world.stands().await;
}

/// A verdict that is nobody's fault but ours: the agent is told to wait, and the tunnel stays.
async fn pending(world: &World, prover: &Prover, collateral: Option<Value>) -> String {
    let registration = registration();
    let mut peer = world.peer().await;
    let challenge = peer.challenge(&registration).await;
    let mut answer = prover.answer(&challenge, &registration);
    answer["collateral"] = collateral.unwrap_or(Value::Null);
    peer.send(&answer);
    let status = peer.status().await;
    assert_eq!(status["state"], "pending", "{status}");
    assert!(is_explained(&status), "{status}");
    let request = peer
        .hear()
        .await
        .expect("another challenge, on the same tunnel");
    assert_eq!(request["type"], "attest_request", "{request}");
    status["reason"].as_str().expect("a reason").to_owned()
}

/// A whole PKI of the right names and the wrong key.
#[tokio::test]
async fn forged_root_named_like_intel_is_refused() {
    let world = World::start().await;
    let names = [
        platform().root_name().to_owned(),
        "Intel SGX Root CA".to_owned(),
    ];
    for root_name in names {
        let pki = PkiOptions {
            root_name,
            ..PkiOptions::default()
        };
        let forged = SimPlatform::new(
            99,
            SimOptions {
                pki,
                ..SimOptions::default()
            },
        );
        let prover = on(forged.clone());
        world
            .peer()
            .await
            .prove(&registration(), &prover)
            .await
            .says("platform_chain_invalid");
        // With collateral of its own making it is no better.
        let registration = registration();
        let collateral: Value =
            serde_json::from_str(&forged.collateral(unix_now()).to_json()).expect("JSON");
        let refused = world.peer().await.attempt(&registration, |challenge| {
            let mut answer = prover.answer(challenge, &registration);
            answer["collateral"] = collateral;
            answer
        });
        refused.await.says("platform_chain_invalid");
    }
    nothing_came_of_it(world).await;
}

/// The mirror too belongs to the forger.
#[tokio::test]
async fn forged_root_with_its_own_mirror_is_refused() {
    let world = World::start().await;
    let forged = SimPlatform::new(99, SimOptions::default());
    world.pcs.set_platform(forged.clone());
    world
        .peer()
        .await
        .prove(&registration(), &on(forged))
        .await
        .says("platform_chain_invalid");
    nothing_came_of_it(world).await;
}

#[tokio::test]
async fn revoked_pck_is_refused() {
    let revoking = SimOptions::default().revoke(Revoked::PckLeaf);
    let revoked = SimPlatform::new(DEFAULT_SEED, revoking);
    let world = World::over(revoked.clone(), &[]).await;
    world
        .peer()
        .await
        .prove(&registration(), &on(revoked))
        .await
        .says("platform_revoked");
    nothing_came_of_it(world).await;
}

#[tokio::test]
async fn broken_machines_are_refused_by_name() {
    let world = World::start().await;
    let flaws = [
        (Flaw::QeReportSignature, "qe_invalid"),
        (Flaw::QeReportData, "qe_invalid"),
        (Flaw::QeSigner, "qe_invalid"),
        (Flaw::QeDebug, "qe_invalid"),
        (Flaw::IsvSignature, "quote_signature_invalid"),
        (Flaw::ModuleSigner, "tdx_module_invalid"),
        (Flaw::ModuleRevoked, "tcb_revoked"),
        (Flaw::UnknownTcbLevel, "tcb_level_none"),
    ];
    for (number, (flaw, expected)) in (10..).zip(flaws) {
        let machine = platform().sibling_with(number, |machine| {
            machine.flaws.insert(flaw);
        });
        world
            .peer()
            .await
            .prove(&registration(), &on(machine))
            .await
            .says(expected);
    }
    let revoked = platform().sibling_with(9, |machine| machine.status = SimStatus::Revoked);
    world
        .peer()
        .await
        .prove(&registration(), &on(revoked))
        .await
        .says("tcb_revoked");
    let unhardened = platform().sibling_with(8, |machine| {
        machine.status = SimStatus::ConfigurationNeeded;
    });
    world
        .peer()
        .await
        .prove(&registration(), &on(unhardened))
        .await
        .says("tcb_status_refused");
    nothing_came_of_it(world).await;
}

/// TCB info whose signature is wrong counts as none.
#[tokio::test]
async fn unsigned_tcb_info_is_refused() {
    let world = World::start().await;
    world.pcs.set_platform(unknown_family());
    world.pcs.set_mode(PcsMode::BadSignature);
    let reason = pending(&world, &on(unknown_family()), None).await;
    assert!(reason.starts_with("collateral_"), "{reason}");
    nothing_came_of_it(world).await;
}

#[tokio::test]
async fn mirror_that_serves_web_pages_is_not_believed() {
    let world = World::start().await;
    world.pcs.set_platform(unknown_family());
    world.pcs.set_mode(PcsMode::Garbage);
    let reason = pending(&world, &on(unknown_family()), None).await;
    assert!(reason.starts_with("collateral_"), "{reason}");
    nothing_came_of_it(world).await;
}

/// Lists that have run out decide nothing, for or against.
#[tokio::test]
async fn expired_collateral_is_not_believed() {
    let world = World::start().await;
    world.pcs.set_platform(unknown_family());
    world.pcs.set_mode(PcsMode::Stale {
        since: unix_now() - 60 * DAY_S,
    });
    let reason = pending(&world, &on(unknown_family()), None).await;
    assert!(reason.starts_with("collateral_"), "{reason}");
    // Expired lists out of the agent's own hand are no better.
    world.pcs.set_mode(PcsMode::Outage);
    let expired = SimPlatform::new(DEFAULT_SEED, {
        let mut options = SimOptions::default().expired(DatedItem::TcbInfo, unix_now());
        options.machine.fmspc = unknown_family().fmspc();
        options.pki.tcb.fmspc = unknown_family().fmspc();
        options
    });
    let bundle = serde_json::from_str(&expired.collateral(unix_now()).to_json()).expect("JSON");
    let reason = pending(&world, &on(expired), Some(bundle)).await;
    assert!(reason.starts_with("collateral_"), "{reason}");
    nothing_came_of_it(world).await;
}

/// An agent brings older lists that are still valid and know less of what is revoked: they
/// neither help it nor push out the newer ones.
#[tokio::test]
async fn rolled_back_collateral_is_not_believed() {
    let world = World::start().await;
    let outdated = platform().sibling_with(20, |machine| machine.status = SimStatus::Revoked);
    let older = platform().rolled_back_collateral(unix_now());
    let older: Value = serde_json::from_str(&older.to_json()).expect("JSON");
    let registration = registration();
    let refused = world.peer().await.attempt(&registration, |challenge| {
        let mut answer = on(outdated).answer(challenge, &registration);
        answer["collateral"] = older.clone();
        answer
    });
    refused.await.says("tcb_revoked");
    world.pcs.set_mode(PcsMode::Rollback);
    let honest = Registration::new("honest", "honest");
    let mut peer = world.peer().await;
    let challenge = peer.challenge(&honest).await;
    let mut answer = on(platform().sibling(21)).answer(&challenge, &honest);
    answer["collateral"] = older;
    peer.send(&answer);
    let status = peer.status().await;
    assert_eq!(
        (&status["state"], &status["reason"]),
        (&json!("ok"), &json!("attested"))
    );
    nothing_came_of_it(world).await;
}

/// Intel's service is away: nobody is blamed, whoever serves goes on, and who waits gets in when
/// it is back, on the same tunnel.
#[tokio::test]
async fn pcs_outage_is_no_miss() {
    let world = World::start().await;
    world.pcs.set_platform(unknown_family());
    world.pcs.set_mode(PcsMode::Outage);
    let registration = registration();
    let prover = on(unknown_family());
    let mut peer = world.peer().await;
    let challenge = peer.challenge(&registration).await;
    peer.send(&prover.answer(&challenge, &registration));
    let status = peer.status().await;
    assert_eq!(status["state"], "pending", "{status}");
    assert_eq!(status["reason"], "collateral_unavailable", "{status}");
    assert!(
        status["retry_after_ms"]
            .as_u64()
            .is_some_and(|wait| wait > 0),
        "{status}"
    );
    // A bundle out of the agent's own hand is one more mirror.
    let request = peer.hear().await.expect("another challenge");
    let mut second = peer.taken(&request).await;
    second.channel = challenge.channel;
    let mut answer = prover.answer(&second, &registration);
    answer["collateral"] =
        serde_json::from_str(&unknown_family().collateral(unix_now()).to_json()).expect("JSON");
    peer.send(&answer);
    assert_eq!(peer.status().await["state"], "ok");
    peer.tunnel.attested();
    let serving = peer.serve(APP);
    assert_eq!(world.get(APP).await.body, APP);
    drop(serving);
    world.stands().await;
}

/// A release that is withdrawn, missing, or not a release.
#[tokio::test]
async fn releases_that_allow_nothing_are_refused_by_name() {
    let world = World::start().await;
    let image = crate::world::image();
    let mut revoked = image.allowlist();
    revoked["revoked"] = json!(true);
    let mut other_tag = image.allowlist();
    other_tag["release_tag"] = json!("v0.0.9");
    let mut typo = image.allowlist();
    typo["measurements"]["rtmr22"] = json!("00");
    let mut empty = image.allowlist();
    empty["measurements"] = json!({});
    for (repo, content, expected) in [
        ("org/revoked", revoked.to_string(), "allowlist_revoked"),
        ("org/other-tag", other_tag.to_string(), "allowlist_invalid"),
        ("org/typo", typo.to_string(), "allowlist_invalid"),
        (
            "org/empty",
            empty.to_string(),
            "allowlist_missing_measurements",
        ),
        ("org/junk", "<html>".to_owned(), "allowlist_invalid"),
        (
            "org/oversized",
            " ".repeat(256 * 1024 + 1),
            "allowlist_invalid",
        ),
    ] {
        world.publish(repo, image.tag(), &content);
        let registration = registration().with(|named| named.repo = repo.to_owned());
        let refused = world
            .peer()
            .await
            .prove(&registration, &Prover::good())
            .await;
        assert_eq!(refused.closed.reason, expected, "{repo}: {refused:?}");
        refused.says(expected);
    }
    let missing = registration().with(|named| named.repo = "org/missing".to_owned());
    world
        .peer()
        .await
        .prove(&missing, &Prover::good())
        .await
        .says("allowlist_not_found");
    nothing_came_of_it(world).await;
}
