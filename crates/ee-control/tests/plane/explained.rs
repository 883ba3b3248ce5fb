//! What is said of those who were refused, or no longer serve.

use std::time::Duration;

use ee_control::{explain, proxy::RouteRefusal};
use ee_core::{
    attestation::{AttestationCode, Failure},
    eligibility::GateCode,
    session::Event,
};
use ee_protocol::names::AgentId;
use ee_store::Store;

use crate::rig::*;

fn mismatch() -> Failure {
    Failure::new(AttestationCode::RegisterMismatch).about("rtmr2")
}

#[tokio::test]
async fn failed_reattestation_closes_the_gate_and_is_explained() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        let (tunnel, _) = world.join(&register()).await;
        let failure = Failure::new(AttestationCode::TcbRevoked);
        world.emit(tunnel, Event::Failed(failure)).await;
        let refused = RouteRefusal::NotEligible {
            codes: vec![GateCode::AttestationInvalid],
        };
        assert_eq!(world.choose(), Err(refused));
        let explained = explain::explain(world.plane.routes(), &app(), None, world.now());
        let explained = explained.expect("known");
        assert_eq!(explained.nodes[0].gates.len(), 8);
        assert_eq!(
            explained.nodes[0].gates[2].code.as_deref(),
            Some("attestation_invalid")
        );
        assert_eq!(explained.refused[0].reason, "tcb_revoked");
    })
    .await;
}

#[tokio::test]
async fn retries_of_a_refused_agent_are_counted_in_one_entry() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        world.refuse("other", mismatch()).await;
        let first = world.now();
        for _ in 0..40 {
            world.refuse("rogue", mismatch()).await;
            world.wait(Duration::from_secs(1));
        }
        world
            .refuse("rogue", Failure::new(AttestationCode::TdDebug))
            .await;
        let routes = world.plane.routes();
        let explained = explain::explain(routes, &app(), None, world.now()).expect("refused");
        let entries: Vec<_> = explained
            .refused
            .iter()
            .map(|entry| (&*entry.agent_id, &*entry.reason, entry.count))
            .collect();
        let word = "measurement_mismatch:rtmr2";
        assert_eq!(
            entries,
            [
                ("rogue", "td_debug", 1),
                ("rogue", word, 40),
                ("other", word, 1)
            ]
        );
        let repeated = &explained.refused[1];
        let last = world.now().rfc3339_seconds();
        assert_eq!(repeated.first_at, first.rfc3339_seconds());
        assert!(
            repeated.at > repeated.first_at && repeated.at < last,
            "{repeated:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn refused_attempts_are_kept_for_known_and_unknown_names() {
    with_plane(&Store::in_memory().unwrap(), async |world: World| {
        for number in 0..40 {
            let id = format!("rogue-{number}");
            world.refuse(&id, mismatch()).await;
        }
        let routes = world.plane.routes();
        let explained = explain::explain(routes, &app(), None, world.now()).expect("refused");
        assert_eq!((explained.refused.len(), explained.nodes.len()), (32, 0));
        assert_eq!(explained.refused[0].agent_id, "rogue-39");
        assert_eq!(explained.refused[0].reason, "measurement_mismatch:rtmr2");
        assert!(!explained.refused[0].refusals.is_empty());
        let other = AgentId::parse("other").unwrap();
        let filtered = explain::explain(routes, &app(), Some(&other), world.now()).unwrap();
        assert_eq!(filtered.refused, []);
        assert_eq!(
            world.choose(),
            Err(RouteRefusal::UnknownApp),
            "a claim binds nothing"
        );
    })
    .await;
}
