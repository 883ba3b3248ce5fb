//! Allowlists: pins, alarms, outages, earned fetches.

use std::{sync::Arc, time::Duration};

use ee_control::{
    ports::{Clock, ReleaseError},
    reference_values::Acknowledged,
};
use ee_core::{attestation::Provenance, session::Attested};
use ee_protocol::time::Timestamp;
use ee_testbed::SimPlatform;
use futures_util::future::join_all;

use crate::world::{Answer, SEED, World};

const MINUTES_6: Duration = Duration::from_secs(360);

impl World {
    pub fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Time passes, a node re-attests, the reconciler runs.
    async fn revalidated(&self) -> Vec<String> {
        self.clock.pass(MINUTES_6);
        self.verdict(self.serving()).await;
        let done = self.attestor.reconcile().await;
        done.reattest.iter().map(ToString::to_string).collect()
    }

    /// A session that passed before.
    fn serving(&self) -> Answer {
        Answer {
            attested_before: Attested::Yes,
            ..self.good()
        }
    }

    fn other_content(&self) -> String {
        let mut allowlist = self.image.allowlist();
        allowlist["created_at"] = "2026-01-03T00:00:00Z".into();
        allowlist.to_string()
    }

    fn revoked_content(&self) -> String {
        let mut allowlist = self.image.allowlist();
        allowlist["revoked"] = true.into();
        allowlist.to_string()
    }
}

fn outage() -> Option<ReleaseError> {
    Some(ReleaseError::Outage {
        detail: "status 502".to_owned(),
    })
}

#[tokio::test]
async fn swapped_asset_raises_alarm() {
    let mut world = World::new().await;
    assert_eq!(world.reason(world.good()).await, "pass");
    world.releases.publish(&world.image, world.other_content());
    assert_eq!(world.revalidated().await, Vec::<String>::new());

    assert_eq!(world.reason(world.good()).await, "allowlist_digest_changed");
    assert_eq!(world.reason(world.serving()).await, "pass");
    world.restart().await;
    assert_eq!(world.reason(world.good()).await, "allowlist_digest_changed");

    let alarms = world.attestor.reference_values().alarms();
    assert_eq!(alarms.len(), 1);
    let values = world.attestor.reference_values();
    let release = &alarms[0].release;
    assert_eq!(
        values.acknowledge(release, [0; 32]).await,
        Ok(Acknowledged::NoSuchAlarm)
    );
    assert_eq!(
        values.acknowledge(release, alarms[0].changed).await,
        Ok(Acknowledged::Replaced)
    );
    assert_eq!(world.reason(world.good()).await, "pass");
    assert_eq!(world.attestor.reference_values().alarms(), Vec::new());
    let done = world.attestor.reconcile().await;
    assert_eq!(
        done.reattest,
        std::slice::from_ref(release),
        "serving nodes meet the new content too"
    );
    assert_eq!(world.attestor.reconcile().await.reattest, []);
    world.restart().await;
    assert_eq!(world.reason(world.good()).await, "pass");
}

#[tokio::test]
async fn an_alarm_ends_when_an_admin_stands_by_the_pin() {
    let mut world = World::new().await;
    assert_eq!(world.reason(world.good()).await, "pass");
    let pinned = world.image.allowlist_json();
    world.releases.publish(&world.image, world.other_content());
    world.revalidated().await;
    // The publisher put the right file back: the alarm stays until somebody has looked.
    world.releases.publish(&world.image, pinned);
    world.revalidated().await;
    assert_eq!(world.reason(world.good()).await, "allowlist_digest_changed");

    let alarm = world.attestor.reference_values().alarms().remove(0);
    let values = world.attestor.reference_values();
    let kept = values.acknowledge(&alarm.release, alarm.pinned).await;
    assert_eq!(kept, Ok(Acknowledged::Kept));
    assert_eq!(world.reason(world.good()).await, "pass");
    assert_eq!(
        world.attestor.reconcile().await.reattest,
        [],
        "nothing changed for them"
    );
    world.restart().await;
    assert_eq!(world.reason(world.good()).await, "pass");

    world.releases.publish(&world.image, world.other_content());
    world.revalidated().await;
    assert_eq!(world.reason(world.good()).await, "allowlist_digest_changed");
}

#[tokio::test]
async fn what_is_no_allowlist_cannot_be_acknowledged() {
    let mut world = World::new().await;
    assert_eq!(world.reason(world.good()).await, "pass");
    world.releases.publish(&world.image, "{\"version\":");
    world.revalidated().await;
    let alarm = world.attestor.reference_values().alarms().remove(0);
    let values = world.attestor.reference_values();
    assert_eq!(
        values.acknowledge(&alarm.release, alarm.changed).await,
        Ok(Acknowledged::Unusable)
    );
    world.restart().await;
    assert_eq!(
        world.reason(world.serving()).await,
        "pass",
        "the pin is unharmed"
    );
}

#[tokio::test]
async fn a_revoked_release_is_refused_at_once() {
    let mut world = World::new().await;
    assert_eq!(world.reason(world.serving()).await, "pass");
    world
        .releases
        .publish(&world.image, world.revoked_content());
    assert_eq!(world.revalidated().await, ["easyenclave/hello@v0.1.0"]);
    assert_eq!(world.reason(world.serving()).await, "allowlist_revoked");
    world.restart().await;
    assert_eq!(world.reason(world.good()).await, "allowlist_revoked");
}

#[tokio::test]
async fn a_release_that_was_always_revoked_is_refused() {
    let world = World::new().await;
    world
        .releases
        .publish(&world.image, world.revoked_content());
    assert_eq!(world.reason(world.good()).await, "allowlist_revoked");
    assert_eq!(world.reason(world.good()).await, "allowlist_revoked");
}

#[tokio::test]
async fn github_outage_is_no_miss() {
    let mut world = World::new().await;
    world.releases.fail(outage());
    assert_eq!(world.reason(world.good()).await, "~allowlist_unavailable");
    world.releases.fail(None);
    world.clock.pass(Duration::from_secs(6));
    assert_eq!(world.reason(world.good()).await, "pass");

    world.releases.fail(outage());
    for _ in 0..3 {
        assert_eq!(world.revalidated().await, Vec::<String>::new());
        assert_eq!(world.reason(world.good()).await, "pass");
    }
    world.restart().await;
    assert_eq!(world.reason(world.good()).await, "pass");
}

#[tokio::test]
async fn a_spent_quota_is_waited_for() {
    let world = World::new().await;
    let until = world.clock_now().after(Duration::from_secs(1_800));
    world
        .releases
        .fail(Some(ReleaseError::RateLimited { until }));
    assert_eq!(world.reason(world.good()).await, "~allowlist_unavailable");
    world.releases.fail(None);
    let asked = world.releases.asked();
    world.clock.pass(Duration::from_secs(900));
    assert_eq!(world.reason(world.good()).await, "~allowlist_unavailable");
    assert_eq!(world.releases.asked(), asked);
    world.clock.pass(Duration::from_secs(901));
    assert_eq!(world.reason(world.good()).await, "pass");
}

#[tokio::test]
async fn an_absent_release_is_asked_for_once_in_30_seconds() {
    let world = World::new().await;
    world.releases.assets.lock().unwrap().clear();
    for _ in 0..3 {
        assert_eq!(world.reason(world.good()).await, "allowlist_not_found");
    }
    assert_eq!(world.releases.asked(), 1);
    world
        .releases
        .publish(&world.image, world.image.allowlist_json());
    world.clock.pass(Duration::from_secs(31));
    assert_eq!(world.reason(world.good()).await, "pass");
}

#[tokio::test]
async fn a_broken_upload_is_not_pinned() {
    let world = World::new().await;
    world.releases.publish(&world.image, "{\"version\":");
    assert_eq!(world.reason(world.good()).await, "allowlist_invalid");
    world
        .releases
        .publish(&world.image, world.image.allowlist_json());
    world.clock.pass(Duration::from_secs(31));
    assert_eq!(world.reason(world.good()).await, "pass");
}

#[tokio::test]
async fn a_renamed_repository_is_refused() {
    let world = World::new().await;
    let moved = ReleaseError::RepoMoved {
        to: "evil/hello".to_owned(),
    };
    world.releases.fail(Some(moved));
    assert_eq!(world.reason(world.good()).await, "allowlist_repo_moved");
}

#[tokio::test]
async fn one_fetch_serves_all_who_wait() {
    let world = Arc::new(World::new().await);
    let verdicts = join_all((0..20).map(|_| world.reason(world.good()))).await;
    assert!(
        verdicts.iter().all(|verdict| verdict == "pass"),
        "{verdicts:?}"
    );
    assert_eq!(world.releases.asked(), 1);
    // Root list, QE identity, PCK list, TCB info: once each.
    assert_eq!(world.endpoints.asked(), 4);
}

#[tokio::test]
async fn a_stranger_cannot_spend_the_github_quota() {
    let world = World::new().await;
    let stranger = SimPlatform::new(SEED + 1, ee_testbed::SimOptions::default());
    for tag in 0..5 {
        let mut answer = Answer {
            platform: stranger.clone(),
            ..world.good()
        };
        answer.registration.release_tag = format!("v9.9.{tag}").parse().unwrap();
        assert_eq!(world.reason(answer).await, "platform_chain_invalid");
    }
    assert_eq!(world.releases.asked(), 0);
    assert_eq!(
        world.endpoints.asked(),
        0,
        "an unknown family is earned by a chain"
    );
}

#[tokio::test]
async fn one_td_asks_for_at_most_60_new_releases_a_minute() {
    let world = World::new().await;
    let with_tag = |number: u32| {
        let mut answer = world.good();
        answer.registration.release_tag = format!("v9.9.{number}").parse().unwrap();
        answer
    };
    for number in 0..60 {
        assert_eq!(world.reason(with_tag(number)).await, "allowlist_not_found");
    }
    assert_eq!(world.reason(with_tag(60)).await, "~allowlist_unavailable");
    assert_eq!(world.releases.asked(), 60);
    world.clock.pass(Duration::from_secs(61));
    assert_eq!(world.reason(with_tag(61)).await, "allowlist_not_found");
}

#[tokio::test]
async fn the_operators_directory_counts_as_release_and_may_change() {
    let world = World::new().await;
    *world.releases.provenance.lock().unwrap() = Some(Provenance::Local);
    assert_eq!(world.reason(world.good()).await, "pass");
    world.releases.publish(&world.image, world.other_content());
    world.clock.pass(Duration::from_secs(3));
    assert_eq!(world.reason(world.good()).await, "pass");
    assert_eq!(world.attestor.reference_values().alarms(), Vec::new());
    let done = world.attestor.reconcile().await;
    assert_eq!(done.reattest.len(), 1, "others of this release meet it now");
    world
        .releases
        .publish(&world.image, world.revoked_content());
    world.clock.pass(Duration::from_secs(3));
    assert_eq!(world.reason(world.serving()).await, "allowlist_revoked");
    let done = world.attestor.reconcile().await;
    assert_eq!(
        done.reattest.len(),
        1,
        "others of this release are refused now"
    );
}

#[tokio::test]
async fn a_fetch_goes_on_when_whoever_asked_hung_up() {
    let world = World::new().await;
    // Collateral first, so that the release's fetch is the only one.
    let mut other = world.good();
    other.registration.release_tag = "v9.9.9".parse().unwrap();
    assert_eq!(world.reason(other).await, "allowlist_not_found");

    let mut asking = Box::pin(world.reason(world.good()));
    let asked = world.releases.asked();
    while world.releases.asked() == asked && world.releases.waiting() == 0 {
        assert!(futures_util::poll!(asking.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    drop(asking);
    world.attestor.reconcile().await;
    let asked = world.releases.asked();
    assert_eq!(world.reason(world.good()).await, "pass");
    assert_eq!(world.releases.asked(), asked);
}

#[tokio::test]
async fn slow_fetch_stalls_no_tunnel() {
    let world = World::new().await;
    *world.releases.hangs.lock().unwrap() = Some("v9.9.9".to_owned());
    let mut slow = world.good();
    slow.registration.release_tag = "v9.9.9".parse().unwrap();
    let mut stalled = Box::pin(world.reason(slow));
    while world.releases.waiting() == 0 {
        assert!(futures_util::poll!(stalled.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    let other = tokio::time::timeout(Duration::from_secs(5), world.reason(world.good())).await;
    assert_eq!(other.as_deref(), Ok("pass"));
    assert!(futures_util::poll!(stalled.as_mut()).is_pending());
}
