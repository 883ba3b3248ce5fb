//! Network policies through the attestor: platforms, provenance, debug, grace, evaluation.

use std::{collections::BTreeSet, time::Duration};

use ee_attest::{Allowlist, CollateralBundle, DebugTds, ParsedQuote, TrustRoot, Verifier};
use ee_attest::{NetworkPolicy, VerifierLimits};
use ee_control::attestation::NetworkPolicies;
use ee_core::attestation::{BindingStrength, Provenance, TcbStatus, Verdict};
use ee_protocol::{names::Network, report_data::Binding};
use ee_testbed::{SimOptions, SimPlatform, SimStatus};
use serde_json::Value;

use crate::world::{Answer, PLATFORM_KEY, Pcs, SEED, START_S, World};

const NOW: u64 = START_S.unsigned_abs();
const DAY: Duration = Duration::from_secs(86_400);

async fn production(change: impl FnOnce(&mut NetworkPolicy)) -> World {
    production_of(SimOptions::default(), change).await
}

async fn production_of(options: SimOptions, change: impl FnOnce(&mut NetworkPolicy)) -> World {
    let mut policies = NetworkPolicies::default();
    change(&mut policies.forge_1);
    World::build(options, policies, None).await
}

fn on_sandbox(answer: Answer) -> Answer {
    let mut answer = answer;
    answer.registration.network = Network::Sandbox1;
    answer
}

/// What an operator would read in the log about a machine.
fn pseudonym(platform: &SimPlatform, key: &[u8]) -> [u8; 32] {
    let world_image = ee_testbed::DemoImage::new(SEED);
    let quote = platform.quote(&world_image.td(), ee_testbed::QuoteVersion::V4, &[0; 64]);
    let quote = ParsedQuote::parse(&quote, DebugTds::Refused).unwrap();
    let bundle = platform.collateral(NOW).to_json();
    let bundle = CollateralBundle::from_json(bundle.as_bytes()).unwrap();
    let root = TrustRoot::new("simulated", platform.root_der()).unwrap();
    let verifier = Verifier::new(root, VerifierLimits::default());
    let now = ee_protocol::time::Timestamp::from_unix_seconds(START_S);
    let verified = verifier.platform(&quote, &bundle, now).unwrap();
    verified.platform_identity(key)
}

#[tokio::test]
async fn platforms_are_refused_by_their_pseudonym_alone() {
    let platform = SimPlatform::new(SEED, SimOptions::default());
    let ours = pseudonym(&platform, &PLATFORM_KEY);
    let world = production(|policy| policy.platforms_denied = BTreeSet::from([ours])).await;
    assert_eq!(world.reason(world.good()).await, "platform_refused");
    let sibling = Answer {
        platform: world.platform.sibling(1),
        ..world.good()
    };
    assert_eq!(world.reason(sibling.clone()).await, "pass");
    assert_eq!(world.reason(on_sandbox(world.good())).await, "pass");

    let world = production(|policy| policy.platforms_allowed = Some(BTreeSet::from([ours]))).await;
    assert_eq!(world.reason(world.good()).await, "pass");
    assert_eq!(world.reason(sibling).await, "platform_refused");

    let under_another_key = pseudonym(&platform, &[4; 32]);
    assert_ne!(under_another_key, ours);
    let denied = BTreeSet::from([under_another_key]);
    let world = production(|policy| policy.platforms_denied = denied).await;
    assert_eq!(world.reason(world.good()).await, "pass");
}

#[tokio::test]
async fn refusals_and_log_name_no_machine() {
    let platform = SimPlatform::new(SEED, SimOptions::default());
    let ours = pseudonym(&platform, &PLATFORM_KEY);
    let world = production(|policy| policy.platforms_denied = BTreeSet::from([ours])).await;
    let Verdict::Fail(failure) = world.verdict(world.good()).await else {
        panic!("passed");
    };
    let told = format!("{failure:?}");
    let logged = format!("{:?}", world.store.log_entries(0, 10).await.unwrap());
    for text in [told, logged] {
        assert!(!text.contains(&hex::encode(ours)), "{text}");
    }
}

#[tokio::test]
async fn modules_can_be_listed() {
    let td = ee_testbed::DemoImage::new(SEED).td();
    let denied = production(|policy| {
        policy.mr_seam_denied.insert(td.mr_seam);
    });
    let denied = denied.await;
    assert_eq!(denied.reason(denied.good()).await, "platform_refused");
    let allowed = production(|policy| policy.mr_seam_allowed = Some(BTreeSet::from([td.mr_seam])));
    let allowed = allowed.await;
    assert_eq!(allowed.reason(allowed.good()).await, "pass");
    let none = production(|policy| policy.mr_seam_allowed = Some(BTreeSet::new())).await;
    assert_eq!(none.reason(none.good()).await, "platform_refused");
}

#[tokio::test]
async fn provenance_is_judged_by_network() {
    let immutable = |policy: &mut NetworkPolicy| {
        policy.provenance_at_least = Provenance::ReleaseImmutable;
    };
    let world = production(immutable).await;
    assert_eq!(world.reason(world.good()).await, "provenance_insufficient");
    assert_eq!(world.reason(on_sandbox(world.good())).await, "pass");

    let world = production(immutable).await;
    *world.releases.provenance.lock().unwrap() = Some(Provenance::ReleaseImmutable);
    let Verdict::Pass(result) = world.verdict(world.good()).await else {
        panic!("an immutable release is refused");
    };
    assert_eq!(result.provenance, Provenance::ReleaseImmutable);
}

#[tokio::test]
async fn debuggable_tds_pass_where_the_sandbox_says_so_and_nowhere_else() {
    let mut policies = NetworkPolicies::default();
    policies.sandbox_1.debug_tds = DebugTds::Allowed;
    let open = World::build(SimOptions::default(), policies, None).await;
    let strict = World::new().await;
    for world in [&open, &strict] {
        let mut allowlist = world.image.allowlist();
        allowlist["measurements"]["td_attributes"] = Value::Null;
        world.releases.publish(&world.image, allowlist.to_string());
    }
    let debug = |world: &World| {
        let mut answer = world.good();
        answer.td = answer.td.with_attribute_bit(0);
        answer
    };
    // An image that may be debugged seals nothing, whatever it claims.
    assert_eq!(
        open.reason(on_sandbox(debug(&open))).await,
        "sealed_claim_mismatch"
    );
    assert_eq!(open.reason(debug(&open)).await, "td_debug");
    assert_eq!(strict.reason(on_sandbox(debug(&strict))).await, "td_debug");
    // What one network admits is not remembered for the other.
    assert_eq!(open.reason(debug(&open)).await, "td_debug");
}

#[tokio::test]
async fn the_sandbox_flags_what_production_refuses() {
    for (status, code) in [
        (SimStatus::SwHardeningNeeded, "tcb_status_refused"),
        (SimStatus::ConfigurationNeeded, "tcb_status_refused"),
    ] {
        let world = World::with(SimOptions::default().with_status(status)).await;
        assert_eq!(world.reason(world.good()).await, code, "{status:?}");
        let Verdict::Pass(result) = world.verdict(on_sandbox(world.good())).await else {
            panic!("{status:?} is refused on the sandbox");
        };
        assert!(result.flagged, "{status:?}");
    }
    let world = World::with(SimOptions::default().with_status(SimStatus::Revoked)).await;
    assert_eq!(world.reason(on_sandbox(world.good())).await, "tcb_revoked");
}

#[tokio::test]
async fn grace_is_counted_per_level_and_across_restarts() {
    let mut world = World::with(SimOptions::default().with_status(SimStatus::OutOfDate)).await;
    let Verdict::Pass(result) = world.verdict(world.good()).await else {
        panic!("no grace");
    };
    assert!(result.flagged);
    assert_eq!(result.tcb_status, TcbStatus::OutOfDate);
    world.clock.pass(DAY * 14 - Duration::from_secs(1));
    world.restart().await;
    assert_eq!(world.reason(world.good()).await, "pass");
    world.clock.pass(Duration::from_secs(1));
    assert_eq!(world.reason(world.good()).await, "tcb_grace_over");
    assert_eq!(world.reason(on_sandbox(world.good())).await, "pass");
}

#[tokio::test]
async fn no_grace_helps_a_level_of_three_years_ago() {
    let mut options = SimOptions::default().with_status(SimStatus::OutOfDate);
    options.pki.tcb.out_of_date_tcb_date = "2023-01-10T00:00:00Z".to_owned();
    let world = World::with(options).await;
    assert_eq!(world.reason(world.good()).await, "tcb_too_old");
    assert_eq!(world.reason(on_sandbox(world.good())).await, "pass");
}

#[tokio::test]
async fn old_evaluation_is_refused_in_production_only() {
    let mut options = SimOptions::default();
    options.machine.fmspc = [9; 6];
    options.pki.tcb.fmspc = [9; 6];
    options.pki.tcb.tcb_evaluation = 17;
    let old = SimPlatform::new(SEED, options);
    let world = World::new().await;
    assert_eq!(world.reason(world.good()).await, "pass");
    world.endpoints.set(vec![Pcs::Serves(old.clone())]);
    let behind = Answer {
        platform: old,
        ..world.good()
    };
    assert_eq!(world.reason(behind.clone()).await, "tcb_eval_too_low");
    assert_eq!(world.reason(on_sandbox(behind)).await, "pass");
}

#[tokio::test]
async fn denied_advisories_are_refused() {
    let mut options = SimOptions::default();
    options.pki.tcb.advisories = vec!["INTEL-SA-01234".to_owned()];
    let denied = BTreeSet::from(["INTEL-SA-01234".to_owned()]);
    let world = production_of(options, |policy| policy.denied_advisories = denied).await;
    assert_eq!(world.reason(world.good()).await, "advisory_refused");
    assert_eq!(world.reason(on_sandbox(world.good())).await, "pass");
}

#[tokio::test]
async fn the_sandbox_admits_a_nonce_and_production_a_channel() {
    let world = World::new().await;
    let unbound = Answer {
        binding: Binding::None,
        ..world.good()
    };
    assert_eq!(world.reason(unbound.clone()).await, "binding_required");
    let Verdict::Pass(result) = world.verdict(on_sandbox(unbound)).await else {
        panic!("refused");
    };
    assert_eq!(result.binding, BindingStrength::Nonce);
}

#[tokio::test]
async fn an_allowlist_may_tighten_and_never_loosen() {
    let tightened = |statuses: Value| {
        let mut allowlist = ee_testbed::DemoImage::new(SEED).allowlist();
        allowlist["tcb_policy"] = serde_json::json!({"statuses": statuses});
        allowlist.to_string()
    };
    let hardening = SimOptions::default().with_status(SimStatus::SwHardeningNeeded);
    let world = World::with(hardening.clone()).await;
    let loose = tightened(serde_json::json!(["UpToDate", "SWHardeningNeeded"]));
    assert!(Allowlist::parse(loose.as_bytes()).is_ok());
    world.releases.publish(&world.image, loose);
    assert_eq!(world.reason(world.good()).await, "tcb_status_refused");

    let world = World::with(hardening).await;
    let strict = tightened(serde_json::json!(["UpToDate"]));
    world.releases.publish(&world.image, strict);
    assert_eq!(
        world.reason(on_sandbox(world.good())).await,
        "tcb_status_refused"
    );
}
