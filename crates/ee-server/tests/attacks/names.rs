//! Attacks on what is somebody else's: an app's name, a node's id, a served app.

use std::time::Duration;

use serde_json::json;

use crate::{
    peer::{A_WHILE, Prover, Registration, Serving},
    world::{OTHER_REPO, World, other_image},
};

const APP: &str = "victim";

fn holder() -> Registration {
    Registration::new(APP, "holder")
}

/// The other tenant's agent, which passes the attestation for its own release.
fn mallory() -> (Registration, Prover) {
    let registration = Registration::new(APP, "mallory");
    let registration = registration.with(|named| named.repo = OTHER_REPO.to_owned());
    (registration, Prover::of(&other_image()))
}

async fn served(world: &World) -> Serving {
    world
        .peer()
        .await
        .join(&holder(), &Prover::good())
        .await
        .serve(APP)
}

/// The victim's app is as it was.
async fn untouched(world: &World, serving: &Serving, before: &(u16, serde_json::Value)) {
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(
        &world.resolve(APP).await,
        before,
        "nothing about the app has changed"
    );
    assert_eq!(world.get(APP).await.body, APP);
    assert!(serving.is_open());
}

/// Register with the victim's name, hang up: at each stage that a stranger can reach.
#[tokio::test]
async fn stranger_cannot_take_an_app_down() {
    let world = World::start().await;
    let serving = served(&world).await;
    let before = world.resolve(APP).await;
    for agent in ["stranger", "holder"] {
        let registration = Registration::new(APP, agent);
        let mut silent = world.peer().await;
        silent.send(&registration.message());
        silent.hear().await.expect("a challenge");
        drop(silent);
        let mut shaken = world.peer().await;
        shaken.challenge(&registration).await;
        drop(shaken);
        let mut answering = world.peer().await;
        let challenge = answering.challenge(&registration).await;
        answering.send(&Prover::rogue().answer(&challenge, &registration));
        drop(answering);
    }
    untouched(&world, &serving, &before).await;
    world.stands().await;
}

#[tokio::test]
async fn failed_attestation_leaves_the_holder_alone() {
    let world = World::start().await;
    let serving = served(&world).await;
    let before = world.resolve(APP).await;
    let refused = world.peer().await.prove(&holder(), &Prover::rogue()).await;
    refused.says("measurement_mismatch:rtmr2");
    let other_release = holder().with(|named| named.tag = "v9.9.9".to_owned());
    let refused = world
        .peer()
        .await
        .prove(&other_release, &Prover::good())
        .await;
    assert_eq!(refused.closed.reason, "allowlist_not_found", "{refused:?}");
    untouched(&world, &serving, &before).await;
    world.stands().await;
}

/// A tenant with a good image of its own asks for the victim's name.
#[tokio::test]
async fn app_conflict_is_refused_by_name() {
    let world = World::start().await;
    let serving = served(&world).await;
    let before = world.resolve(APP).await;
    let (registration, _) = mallory();
    let mut peer = world.peer().await;
    peer.send(&registration.message());
    peer.refused().await.says("app_bound_to_other_repo");
    untouched(&world, &serving, &before).await;
    world.stands().await;
}

/// Both ask for a free name; whoever is attested first has it, and the other is told.
#[tokio::test]
async fn of_two_repos_that_race_for_a_name_one_gets_it() {
    let world = World::start().await;
    let (registration, prover) = mallory();
    let mut late = world.peer().await;
    let challenge = late.challenge(&registration).await;
    let serving = served(&world).await;
    let before = world.resolve(APP).await;
    late.send(&prover.answer(&challenge, &registration));
    late.refused().await.says("app_bound_to_other_repo");
    untouched(&world, &serving, &before).await;
    world.stands().await;
}

/// The victim's binding outlives its agents.
#[tokio::test]
async fn name_of_an_app_that_is_away_is_not_free() {
    let world = World::start().await;
    let serving = served(&world).await;
    serving.vanish();
    tokio::time::sleep(A_WHILE).await;
    let (registration, _) = mallory();
    let mut peer = world.peer().await;
    peer.send(&registration.message());
    peer.refused().await.says("app_bound_to_other_repo");
    assert_eq!(world.get(APP).await.status, 503);
    world.stands().await;
}

#[tokio::test]
async fn second_agents_disconnect_leaves_the_first_serving() {
    let world = World::start().await;
    let first = served(&world).await;
    let other = Registration::new(APP, "second");
    let second = world
        .peer()
        .await
        .join(&other, &Prover::good())
        .await
        .serve("second");
    second.vanish();
    tokio::time::sleep(A_WHILE).await;
    for _ in 0..4 {
        assert_eq!(world.get(APP).await.body, APP);
    }
    assert!(first.is_open());
    world.stands().await;
}

/// The same image, honestly attested, asks for the id of a node that is alive.
#[tokio::test]
async fn living_node_keeps_its_id() {
    let world = World::start().await;
    let serving = served(&world).await;
    let before = world.resolve(APP).await;
    let boots = [
        Some("another boot".to_owned()),
        None,
        Some("boot of holder".to_owned()),
    ];
    for instance in boots {
        let taker = holder().with(|named| named.instance = instance);
        world
            .peer()
            .await
            .prove(&taker, &Prover::good())
            .await
            .says("node_in_use");
    }
    let by_node_id = Registration::new(APP, "taker").with(|named| {
        named.node = Some("holder".to_owned());
    });
    world
        .peer()
        .await
        .prove(&by_node_id, &Prover::good())
        .await
        .says("node_in_use");
    untouched(&world, &serving, &before).await;
    world.stands().await;
}

/// Another tenant, attested for another app, asks for the victim's node id.
#[tokio::test]
async fn node_id_cannot_be_pulled_into_another_app() {
    let world = World::start().await;
    let serving = served(&world).await;
    let before = world.resolve(APP).await;
    let (registration, prover) = mallory();
    let registration = registration.with(|named| {
        named.app = "mallorys".to_owned();
        named.node = Some("holder".to_owned());
    });
    world
        .peer()
        .await
        .prove(&registration, &prover)
        .await
        .says("node_in_use");
    untouched(&world, &serving, &before).await;
    world.stands().await;
}

/// A node that fell silent is replaced after five seconds; its session is told, and its late end
/// does not touch the one that serves now.
#[tokio::test]
async fn old_session_close_spares_the_new() {
    let world = World::start().await;
    // Nothing drives this tunnel, so it answers no ping.
    let mut silent = world.peer().await.join(&holder(), &Prover::good()).await;
    let reborn = holder().with(|named| named.instance = Some("after the crash".to_owned()));
    let serving = world
        .peer()
        .await
        .join(&reborn, &Prover::good())
        .await
        .serve(APP);
    let status = silent.status().await;
    assert_eq!(
        (&status["state"], &status["reason"]),
        (&json!("invalid"), &json!("replaced"))
    );
    let closed = silent.hear().await.expect_err("closed");
    assert_eq!(
        (closed.code, closed.reason.as_str()),
        (Some(1008), "replaced")
    );
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.get(APP).await.body, APP);
    assert!(serving.is_open());
    world.stands().await;
}

#[tokio::test]
async fn sandbox_node_cannot_join_a_forge_app() {
    let world = World::start().await;
    let serving = served(&world).await;
    let before = world.resolve(APP).await;
    let sandbox = Registration::new(APP, "sandbox-node");
    let sandbox = sandbox.with(|named| named.network = "sandbox-1".to_owned());
    let mut peer = world.peer().await;
    peer.send(&sandbox.message());
    peer.refused().await.says("app_bound_to_other_network");
    untouched(&world, &serving, &before).await;
    world.stands().await;
}

/// A name that was held on the sandbox moves up with its own repository only, and takes no
/// sandbox node with it.
#[tokio::test]
async fn app_that_moves_up_leaves_its_sandbox_nodes() {
    let world = World::start().await;
    let sandbox = Registration::new(APP, "sandbox-node");
    let sandbox = sandbox.with(|named| named.network = "sandbox-1".to_owned());
    let below = world
        .peer()
        .await
        .join(&sandbox, &Prover::good())
        .await
        .serve("below");
    assert_eq!(world.get(APP).await.body, "below");
    let (registration, _) = mallory();
    let mut peer = world.peer().await;
    peer.send(&registration.message());
    peer.refused().await.says("app_bound_to_other_repo");
    let above = served(&world).await;
    let closed = below.closed().await;
    assert_eq!(closed.code, Some(1008), "{closed:?}");
    for _ in 0..4 {
        assert_eq!(world.get(APP).await.body, APP);
    }
    drop(above);
    world.stands().await;
}

/// One boot may hold four tunnels; a fifth is one too many.
#[tokio::test]
async fn fifth_tunnel_of_a_boot_is_refused() {
    let world = World::start().await;
    let key = ee_tunnel::TunnelKey::generate();
    let mut tunnels = Vec::new();
    for _ in 0..4 {
        let peer = crate::peer::Peer::connect_with(world.server.api_addr, &key).await;
        tunnels.push(peer.join(&holder(), &Prover::good()).await.serve(APP));
    }
    let fifth = crate::peer::Peer::connect_with(world.server.api_addr, &key).await;
    fifth
        .prove(&holder(), &Prover::good())
        .await
        .says("tunnel_limit");
    assert!(tunnels.iter().all(Serving::is_open));
    assert_eq!(world.get(APP).await.body, APP);
    world.stands().await;
}

#[tokio::test]
async fn first_request_after_attest_is_served() {
    let world = World::start().await;
    let serving = served(&world).await;
    // No heartbeat has been sent: the passed attestation counts as the first.
    assert_eq!(world.get(APP).await.status, 200);
    drop(serving);
    world.stands().await;
}

/// A tunnel that dies fails its requests at once instead of after a time-out.
#[tokio::test]
async fn tunnel_loss_fails_at_once() {
    let world = World::start().await;
    let serving = served(&world).await;
    let asked = world.get_slowly(APP);
    let lost = async {
        tokio::time::sleep(A_WHILE).await;
        serving.vanish();
    };
    let started = tokio::time::Instant::now();
    let (answer, ()) = tokio::join!(asked, lost);
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(answer.json()["code"], "agent_disconnected", "{answer:?}");
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    world.stands().await;
}
