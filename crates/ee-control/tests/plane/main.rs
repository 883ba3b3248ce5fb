//! The live half from an attested registration to a picked tunnel: durable before public,
//! closing gates at once, and nothing that one session does to another.

mod bans;
mod books;
mod explained;
mod payers;
mod rig;
mod trust;

use std::time::Duration;

use ee_control::{
    apps,
    proxy::{self, RouteRefusal},
    resolve,
};
use ee_core::{
    attestation::{AttestationCode, Failure},
    eligibility::GateCode,
    registry::TunnelId,
    session::{
        Admission, ChallengeAnswer, Event, HealthWord, Holder, Order, RefusedRegistration,
        SessionRefusal,
    },
};
use ee_protocol::{problem::ProblemCode, tunnel::Register};
use ee_store::Store;

use rig::*;

#[tokio::test]
async fn first_request_after_attest_is_served() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        assert_eq!(world.choose(), Err(RouteRefusal::UnknownApp));
        let (tunnel, _) = world.join(&register()).await;
        assert_eq!(world.choose(), Ok(tunnel.0));
        let resolved = resolve::resolve(world.plane.routes(), &app(), world.now(), &endpoints());
        assert_eq!(resolved.http_status, 200);
        assert_eq!(world.plane.routes().counts(), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn status_payload_tells_the_node_that_would_be_picked() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        world.join(&register()).await;
        world.wait(Duration::from_secs(10));
        let routes = world.plane.routes();
        let status = apps::show(routes, &app(), world.now(), &endpoints()).expect("known");
        assert!(status.allowed && status.sealed && status.ws_connected);
        assert_eq!(
            (status.status.as_str(), status.binding.as_str()),
            ("active", "channel")
        );
        assert_eq!(status.url, "https://myapp.app.example/");
        assert_eq!(status.attestation_status, "valid");
        assert_eq!(status.health_status, "pass");
        assert_eq!((status.nodes.total, status.nodes.eligible), (1, 1));
        assert_eq!(status.last_attest.as_deref(), Some("2026-02-02T02:40:00Z"));
        assert_eq!(apps::list(routes, world.now(), &endpoints()).apps.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn health_closes_and_opens_the_gate_at_once() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let (tunnel, _) = world.join(&register()).await;
        world.emit(tunnel, health(HealthWord::Fail)).await;
        let refusal = world.choose().unwrap_err();
        assert_eq!(
            refusal,
            RouteRefusal::NotEligible {
                codes: vec![GateCode::HealthFail]
            }
        );
        assert_eq!(
            (refusal.status(), refusal.code()),
            (403, ProblemCode::NotEligible)
        );
        assert_eq!(refusal.problem().extensions["reason"], "health_fail");
        world.emit(tunnel, health(HealthWord::Pass)).await;
        assert_eq!(world.choose(), Ok(tunnel.0));
    })
    .await;
}

#[tokio::test]
async fn health_timeout_is_exact() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let (tunnel, _) = world.join(&register()).await;
        world.wait(Duration::from_secs(60));
        world.emit(tunnel, health(HealthWord::Pass)).await;
        world.wait(Duration::from_micros(119_999_999));
        assert_eq!(
            world.choose(),
            Ok(tunnel.0),
            "the heartbeat counts for 120 s"
        );
        world.wait(Duration::from_micros(1));
        let refused = RouteRefusal::NotEligible {
            codes: vec![GateCode::HealthTimeout],
        };
        assert_eq!(
            world.choose(),
            Err(refused),
            "without any event from the session"
        );
        world.emit(tunnel, Event::HealthTimedOut).await;
        world.emit(tunnel, health(HealthWord::Pass)).await;
        assert_eq!(world.choose(), Ok(tunnel.0));
    })
    .await;
}

#[tokio::test]
async fn stranger_cannot_take_an_app_down() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let (tunnel, link) = world.join(&register()).await;
        let stranger = world.attested(&register()).registration;
        let answer = world.plane.ask_challenge(&stranger).await;
        assert!(matches!(answer, ChallengeAnswer::Granted { .. }));
        // It hangs up, or is refused: its tunnel was never known.
        let refused = RefusedRegistration {
            registration: stranger,
            refusal: Failure::new(AttestationCode::AttestationTimeout).into(),
        };
        world
            .emit(TunnelId(77), Event::Refused(Box::new(refused)))
            .await;
        world.emit(TunnelId(77), Event::Closed).await;
        world
            .emit(
                TunnelId(77),
                Event::Failed(Failure::new(AttestationCode::TdDebug)),
            )
            .await;
        assert_eq!(world.choose(), Ok(tunnel.0));
        assert_eq!(link.orders(), []);
    })
    .await;
}

#[tokio::test]
async fn app_of_another_repo_is_refused_before_and_after_evidence() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        world.join(&register()).await;
        let evil = Register {
            repo: "evil/repo".into(),
            ..agent("evil")
        };
        let attested = world.attested(&evil);
        let early = world.plane.ask_challenge(&attested.registration).await;
        assert_eq!(
            early,
            ChallengeAnswer::Refused(SessionRefusal::AppBoundToOtherRepo)
        );
        let (_, _, late) = world.ask(attested).await;
        assert_eq!(
            late,
            Admission::Refused(SessionRefusal::AppBoundToOtherRepo)
        );
    })
    .await;
}

#[tokio::test]
async fn two_repos_that_race_for_a_name_cannot_both_have_it() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let evil = Register {
            repo: "evil/repo".into(),
            ..agent("evil")
        };
        let (first, second) = (world.attested(&register()), world.attested(&evil));
        let (one, two) = tokio::join!(world.ask(first), world.ask(second));
        assert!(matches!(one.2, Admission::Joined { .. }));
        assert_eq!(
            two.2,
            Admission::Refused(SessionRefusal::AppBoundToOtherRepo)
        );
    })
    .await;
}

#[tokio::test]
async fn sandbox_sessions_close_when_their_app_moves_up() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let sandbox = Register {
            network: "sandbox-1".into(),
            ..agent("sand")
        };
        let (_, link) = world.join(&sandbox).await;
        let (forge, _) = world.join(&agent("forge")).await;
        let reason = SessionRefusal::AppBoundToOtherNetwork;
        assert_eq!(link.orders(), [Order::Close(reason.clone())]);
        assert_eq!(world.choose(), Ok(forge.0));
        let (_, _, again) = world.ask(world.attested(&sandbox)).await;
        assert_eq!(again, Admission::Refused(reason));
    })
    .await;
}

#[tokio::test]
async fn living_holder_keeps_its_node_id() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let (holder, holder_link) = world.join(&register()).await;
        let newcomer = Register {
            instance: Some("boot-2".into()),
            ..register()
        };
        let (_, newcomer_link, admission) = world.ask(world.attested(&newcomer)).await;
        assert_eq!(admission, Admission::HolderAsked);
        assert_eq!(holder_link.orders(), [Order::Ping]);
        world.emit(holder, Event::Alive).await;
        assert_eq!(newcomer_link.orders(), [Order::HolderAlive]);
        assert_eq!(world.choose(), Ok(holder.0));
    })
    .await;
}

#[tokio::test]
async fn silent_holder_is_replaced_and_its_late_close_spares_the_new() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let (old, old_link) = world.join(&register()).await;
        let newcomer = Register {
            instance: Some("boot-2".into()),
            ..register()
        };
        let mut attested = world.attested(&newcomer);
        attested.holder = Holder::Silent;
        let (new, _, admission) = world.ask(attested).await;
        assert!(matches!(admission, Admission::Joined { .. }));
        assert_eq!(old_link.orders(), [Order::Close(SessionRefusal::Replaced)]);
        world.emit(old, Event::Closed).await;
        assert_eq!(world.choose(), Ok(new.0));
    })
    .await;
}

#[tokio::test]
async fn agents_own_return_refuses_whoever_waits_for_its_silence() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        world.join(&register()).await;
        let newcomer = Register {
            instance: Some("boot-2".into()),
            ..register()
        };
        let (_, link, _) = world.ask(world.attested(&newcomer)).await;
        world.join(&register()).await;
        assert_eq!(link.orders(), [Order::HolderAlive]);
    })
    .await;
}

#[tokio::test]
async fn closed_tunnel_leaves_an_eligible_node_without_tunnel() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let (tunnel, _) = world.join(&register()).await;
        world.emit(tunnel, Event::Closed).await;
        let refusal = world.choose().unwrap_err();
        assert_eq!(
            (refusal.clone(), refusal.status()),
            (RouteRefusal::NoTunnel, 503)
        );
        let authz = resolve::authz(world.plane.routes(), "myapp", world.now());
        assert_eq!((authz.allowed, authz.reason.as_str()), (false, "no_tunnel"));
    })
    .await;
}

#[tokio::test]
async fn second_agents_disconnect_leaves_the_first_serving() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let (first, _) = world.join(&agent("one")).await;
        let (second, _) = world.join(&agent("two")).await;
        world.emit(second, Event::Closed).await;
        assert_eq!(world.choose(), Ok(first.0));
    })
    .await;
}

#[tokio::test]
async fn a_day_without_verdicts_is_served_and_no_longer() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let (tunnel, _) = world.join(&register()).await;
        let failure = Failure::new(AttestationCode::CollateralExpired);
        world.emit(tunnel, Event::Waiting(failure)).await;
        world.wait(Duration::from_secs(23 * 3_600));
        world.emit(tunnel, health(HealthWord::Pass)).await;
        assert_eq!(world.choose(), Ok(tunnel.0));
        world.wait(Duration::from_secs(3_600));
        world.emit(tunnel, health(HealthWord::Pass)).await;
        let refused = RouteRefusal::NotEligible {
            codes: vec![GateCode::AttestationStale],
        };
        assert_eq!(world.choose(), Err(refused));
    })
    .await;
}

#[tokio::test]
async fn credits_bound_what_is_in_flight() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let (tunnel, _) = world.join(&register()).await;
        world.emit(tunnel, Event::Credits(1)).await;
        let held = proxy::choose(world.plane.routes(), &app(), world.now(), 0).unwrap();
        let refusal = world.choose().unwrap_err();
        assert_eq!(
            (refusal.clone(), refusal.status()),
            (RouteRefusal::OverCapacity, 503)
        );
        drop(held);
        assert_eq!(world.choose(), Ok(tunnel.0));
        world.emit(tunnel, Event::Draining).await;
        let refused = RouteRefusal::NotEligible {
            codes: vec![GateCode::Draining],
        };
        assert_eq!(world.choose(), Err(refused));
        world.emit(tunnel, Event::Credits(8)).await;
        assert!(
            world.choose().is_err(),
            "a draining tunnel takes no credits"
        );
    })
    .await;
}

#[tokio::test]
async fn everything_comes_back_after_a_restart_but_the_tunnels() {
    let store = Store::in_memory().unwrap();
    with_plane(&store, async |world: World| {
        world.join(&register()).await;
    })
    .await;
    with_plane(&store, async |world: World| {
        assert_eq!(world.choose(), Err(RouteRefusal::NoTunnel));
        let status =
            apps::show(world.plane.routes(), &app(), world.now(), &endpoints()).expect("kept");
        assert_eq!((status.repo.as_str(), status.sealed), ("org/repo", true));
        assert!(!status.ws_connected && !status.allowed);
        let evil = Register {
            repo: "evil/repo".into(),
            ..agent("evil")
        };
        let (_, _, admission) = world.ask(world.attested(&evil)).await;
        assert_eq!(
            admission,
            Admission::Refused(SessionRefusal::AppBoundToOtherRepo)
        );
        let (tunnel, _) = world
            .join(&Register {
                instance: None,
                ..register()
            })
            .await;
        assert_eq!(world.choose(), Ok(tunnel.0));
    })
    .await;
}

#[tokio::test]
async fn orders_reach_every_tunnel() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let (_, one) = world.join(&agent("one")).await;
        let (_, two) = world
            .join(&Register {
                release_tag: "v2".into(),
                ..agent("two")
            })
            .await;
        let registration = world.attested(&agent("one")).registration;
        world
            .plane
            .reattest(registration.repo, registration.release_tag)
            .await;
        world.settle().await;
        assert_eq!(
            (one.orders(), two.orders()),
            (vec![Order::Reattest], Vec::new())
        );
        let node = world.attested(&agent("two")).registration.node_id;
        world.plane.reattest_node(node).await;
        world.plane.drain().await;
        world.settle().await;
        assert_eq!(one.orders(), [Order::Reattest, Order::Drain]);
        assert_eq!(two.orders(), [Order::Reattest, Order::Drain]);
    })
    .await;
}

#[tokio::test]
async fn registered_node_id_needs_its_proof() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let registration = world.attested(&register()).registration;
        let key = ee_protocol::report_data::sha256(b"ee_node_test");
        world
            .plane
            .set_node_keys(registration.node_id.clone(), vec![key])
            .await;
        let answer = world.plane.ask_challenge(&registration).await;
        assert_eq!(
            answer,
            ChallengeAnswer::Granted {
                node_keys: vec![key]
            }
        );
    })
    .await;
}

#[tokio::test]
async fn many_agents_join_in_shared_commits() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let agents: Vec<Register> = (0..300).map(|n| agent(&format!("agent-{n}"))).collect();
        let joins = agents.iter().map(|agent| {
            let app_name = format!("app-{}", agent.agent_id);
            world.ask(world.attested(&Register {
                app_name,
                ..agent.clone()
            }))
        });
        let joined = futures_util::future::join_all(joins).await;
        assert!(
            joined
                .iter()
                .all(|(_, _, a)| matches!(a, Admission::Joined { .. }))
        );
        assert_eq!(world.plane.routes().counts(), (300, 300));
    })
    .await;
}
