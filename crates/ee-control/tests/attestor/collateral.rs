//! Collateral: outages, rollback, expiry, offline boot, the agent as a mirror, the clock.

use std::time::Duration;

use ee_control::attestation::NetworkPolicies;
use ee_core::attestation::Verdict;
use ee_protocol::time::Timestamp;
use ee_testbed::{DatedItem, SimOptions, SimPlatform, Window};
use tempfile::TempDir;

use crate::world::{Answer, Pcs, SEED, START_S, World};

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);

impl World {
    async fn reconcile_for(&self, span: Duration, step: Duration) {
        let steps = span.as_secs() / step.as_secs();
        for _ in 0..steps {
            self.clock.pass(step);
            self.attestor.reconcile().await;
        }
    }

    /// The digest of the collateral that the last recorded verdict rested on.
    async fn generation(&self) -> String {
        let entries = self.store.log_entries(0, 1_000).await.unwrap();
        entries.last().unwrap().record.generation.clone()
    }
}

#[tokio::test]
async fn pcs_outage_is_no_miss() {
    let world = World::new().await;
    world.endpoints.set(vec![Pcs::Down]);
    assert_eq!(world.reason(world.good()).await, "~collateral_unavailable");

    world
        .endpoints
        .set(vec![Pcs::Serves(world.platform.clone())]);
    world.clock.pass(HOUR);
    assert_eq!(world.reason(world.good()).await, "pass");
    world.endpoints.set(vec![Pcs::Down]);
    // Items issued a day before the fetch are good for 30 days: nothing is too old before.
    for _ in 0..28 {
        world.reconcile_for(DAY, HOUR * 8).await;
        assert_eq!(world.reason(world.good()).await, "pass");
    }
    world.reconcile_for(DAY * 2, HOUR * 8).await;
    let Verdict::Indeterminate(failure) = world.verdict(world.good()).await else {
        panic!("expired collateral judged");
    };
    assert_eq!(failure.reason(), "collateral_expired");
    let shown = &failure.refusals[0].actual;
    assert!(
        shown.contains("pccs-0") && shown.contains("next try"),
        "{shown}"
    );
}

#[tokio::test]
async fn the_next_endpoint_is_asked() {
    let world = World::new().await;
    let stranger = SimPlatform::new(99, SimOptions::default());
    let good = Pcs::Serves(world.platform.clone());
    world
        .endpoints
        .set(vec![Pcs::Down, Pcs::Serves(stranger), good]);
    assert_eq!(world.reason(world.good()).await, "pass");
}

#[tokio::test]
async fn a_failing_endpoint_is_asked_less_and_less() {
    let world = World::new().await;
    world.endpoints.set(vec![Pcs::Down]);
    world.attestor.reconcile().await;
    world.reconcile_for(HOUR, Duration::from_secs(5)).await;
    let root = world.endpoints.asked.lock().unwrap();
    let tries = root.iter().filter(|key| key.ends_with("root-crl")).count();
    // 5, 10, 20 .. 640 s, then every 15 minutes.
    assert!((8..=13).contains(&tries), "{tries}");
}

#[tokio::test]
async fn rolled_back_collateral_never_takes_a_place() {
    let mut world = World::new().await;
    assert_eq!(world.reason(world.good()).await, "pass");
    let before = world.generation().await;
    world
        .endpoints
        .set(vec![Pcs::RolledBack(world.platform.clone())]);
    world.reconcile_for(DAY * 2, HOUR * 12).await;
    assert_eq!(world.reason(world.good()).await, "pass");
    assert_eq!(world.generation().await, before);

    // Not even in an empty memory: the store remembers how far the numbers had come.
    world.restart().await;
    assert_eq!(world.reason(world.good()).await, "~collateral_invalid");
}

#[tokio::test]
async fn collateral_is_refreshed_daily_and_verdicts_rest_on_the_new() {
    let world = World::new().await;
    assert_eq!(world.reason(world.good()).await, "pass");
    let before = world.generation().await;
    world.reconcile_for(HOUR * 27, HOUR).await;
    assert_eq!(world.reason(world.good()).await, "pass");
    assert_ne!(world.generation().await, before);
}

#[tokio::test]
async fn restart_offline_works() {
    let directory = TempDir::new().unwrap();
    let kept = Some(directory.path().join("collateral"));
    let mut world = World::build(SimOptions::default(), NetworkPolicies::default(), kept).await;
    assert_eq!(world.reason(world.good()).await, "pass");
    world.endpoints.set(vec![Pcs::Down]);
    world.clock.pass(DAY * 5);
    world.restart().await;
    assert_eq!(world.reason(world.good()).await, "pass");
    let status = world.attestor.collateral().status();
    assert_eq!(status.len(), 4);
    assert!(
        status.iter().all(|item| item.valid_until.is_some()),
        "{status:?}"
    );
}

#[tokio::test]
async fn spoiled_files_are_left_out() {
    let directory = TempDir::new().unwrap();
    let kept = Some(directory.path().to_owned());
    let mut world = World::build(SimOptions::default(), NetworkPolicies::default(), kept).await;
    assert_eq!(world.reason(world.good()).await, "pass");
    let mut spoiled = 0;
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace('A', "B")).unwrap();
        spoiled += 1;
    }
    assert_eq!(spoiled, 4);
    world.endpoints.set(vec![Pcs::Down]);
    world.restart().await;
    assert_eq!(world.reason(world.good()).await, "~collateral_unavailable");
}

#[tokio::test]
async fn an_agents_collateral_is_one_more_mirror() {
    let world = World::new().await;
    world.endpoints.set(vec![Pcs::Down]);
    let now = START_S.unsigned_abs();
    let bundle =
        |platform: &SimPlatform| serde_json::from_str(&platform.collateral(now).to_json()).ok();
    let stranger = SimPlatform::new(99, SimOptions::default());
    let forged = Answer {
        collateral: bundle(&stranger),
        ..world.good()
    };
    assert_eq!(world.reason(forged).await, "~collateral_unavailable");
    let brought = Answer {
        collateral: bundle(&world.platform),
        ..world.good()
    };
    assert_eq!(world.reason(brought).await, "pass");
    assert_eq!(world.reason(world.good()).await, "pass");
}

fn bundle(text: &str) -> Option<serde_json::Value> {
    Some(serde_json::from_str(text).unwrap())
}

#[tokio::test]
async fn an_agent_cannot_bring_back_older_collateral() {
    let mut world = World::new().await;
    assert_eq!(world.reason(world.good()).await, "pass");
    world.endpoints.set(vec![Pcs::Down]);
    // Memory is empty after a restart without a disk cache: only the numbers are remembered.
    world.restart().await;
    let older = world
        .platform
        .rolled_back_collateral(START_S.unsigned_abs());
    let sly = Answer {
        collateral: bundle(&older.to_json()),
        ..world.good()
    };
    assert_eq!(world.reason(sly).await, "~collateral_unavailable");
}

#[tokio::test]
async fn an_oversized_bundle_is_ignored() {
    let world = World::new().await;
    world.endpoints.set(vec![Pcs::Down]);
    let mut large = bundle(&world.platform.collateral(START_S.unsigned_abs()).to_json());
    for number in 0..3 {
        large.as_mut().unwrap()[format!("more-{number}")] = "x".repeat(50_000).into();
    }
    let answer = Answer {
        collateral: large,
        ..world.good()
    };
    assert_eq!(world.reason(answer).await, "~collateral_unavailable");
}

#[tokio::test]
async fn a_strangers_bundle_is_not_looked_at() {
    let now = START_S.unsigned_abs();
    let soon = Window {
        from: now - 86_400,
        until: now + 86_400,
    };
    let options = SimOptions::default().with_dates(DatedItem::QeIdentity, soon);
    let world = World::with(options).await;
    assert_eq!(world.reason(world.good()).await, "pass");
    world.endpoints.set(vec![Pcs::Down]);
    world.clock.pass(DAY * 2);
    assert_eq!(world.reason(world.good()).await, "~collateral_expired");

    // TCB info of the family is here, so that nothing would be fetched for the stranger.
    let fresh = SimPlatform::new(SEED, SimOptions::default()).collateral(now + 2 * 86_400);
    let stranger = Answer {
        platform: SimPlatform::new(99, SimOptions::default()),
        collateral: bundle(&fresh.to_json()),
        ..world.good()
    };
    assert_eq!(world.reason(stranger).await, "platform_chain_invalid");
    assert_eq!(world.reason(world.good()).await, "~collateral_expired");
    let brought = Answer {
        collateral: bundle(&fresh.to_json()),
        ..world.good()
    };
    assert_eq!(world.reason(brought).await, "pass");
}

#[tokio::test]
async fn a_clock_set_back_is_not_trusted() {
    let mut world = World::new().await;
    assert_eq!(world.reason(world.good()).await, "pass");
    world.clock.set(START_S - 2 * 86_400);
    assert_eq!(world.reason(world.good()).await, "~clock_untrusted");
    world.restart().await;
    assert_eq!(world.reason(world.good()).await, "~clock_untrusted");
    world.clock.set(START_S);
    assert_eq!(world.reason(world.good()).await, "pass");
}

#[tokio::test]
async fn a_jump_ahead_halts_what_judges_until_it_is_confirmed() {
    let mut world = World::new().await;
    let may_judge = |world: &World| world.attestor.clock_may_judge();
    let confirm = async |world: &World| world.attestor.confirm_clock(world.clock_now()).await;
    confirm(&world).await.unwrap();
    world.clock.pass(DAY);
    assert!(may_judge(&world), "a day that has passed is no jump");
    let wall = START_S + 86_400;
    world.clock.set(wall + 300);
    assert!(
        may_judge(&world),
        "time servers step by less than five minutes"
    );
    world.clock.set(wall + 301);
    assert!(!may_judge(&world));
    let wrong = world.clock_now().before(HOUR);
    world.attestor.confirm_clock(wrong).await.unwrap();
    assert!(
        !may_judge(&world),
        "an upstream that says otherwise confirms nothing"
    );
    confirm(&world).await.unwrap();
    assert!(may_judge(&world));

    // Over a restart only what was kept is known: an hour may have passed, more is confirmed first.
    world.clock.set(wall + 301 + 3_600);
    world.restart().await;
    assert!(may_judge(&world));
    world.clock.set(wall + 301 + 3_601);
    world.restart().await;
    assert!(!may_judge(&world));
    confirm(&world).await.unwrap();
    assert!(may_judge(&world));
}

#[tokio::test]
async fn a_jump_ahead_is_kept_only_when_an_upstream_confirms_it() {
    let at = |seconds: i64| Timestamp::from_unix_seconds(START_S + seconds);
    let world = World::new().await;
    let kept = || world.store.clock_mark();
    world.attestor.reconcile().await;
    assert_eq!(
        kept().await,
        Ok(None),
        "nothing has confirmed the first time either"
    );
    *world.endpoints.date.lock().unwrap() = Some(at(100));
    assert_eq!(world.reason(world.good()).await, "pass");
    assert_eq!(kept().await, Ok(Some(at(0))));

    world.clock.pass(HOUR / 2);
    world.attestor.reconcile().await;
    assert_eq!(kept().await, Ok(Some(at(1_800))), "small steps are kept");
    world.clock.pass(DAY * 3);
    world.attestor.reconcile().await;
    assert_eq!(
        kept().await,
        Ok(Some(at(1_800))),
        "the upstream says otherwise"
    );
    world.clock.pass(DAY * 2);
    *world.endpoints.date.lock().unwrap() = Some(world.clock_now());
    world.attestor.reconcile().await;
    assert_eq!(kept().await, Ok(Some(world.clock_now())));
}
