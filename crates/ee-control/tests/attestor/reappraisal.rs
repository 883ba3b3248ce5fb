//! What new collateral makes of evidence that passed before.

use std::time::Duration;

use ee_core::session::Attested;
use ee_protocol::{
    names::{Network, NodeId},
    report_data::Binding,
};
use ee_testbed::{Revoked, SimOptions, SimPlatform};

use crate::world::{Answer, Pcs, SEED, World, channel};

const HOUR: Duration = Duration::from_secs(3_600);
/// A refresh of every item comes after 24 h +-10 %.
const REFRESHED_AFTER_H: u32 = 27;

impl World {
    /// A node on a channel of its own.
    fn node(&self, number: u8) -> Answer {
        let mut answer = self.good();
        answer.registration.node_id = NodeId::parse(&format!("node-{number}")).unwrap();
        answer.binding = channel(number);
        answer
    }

    /// The endpoints serve this from now on; the same keys, other content.
    fn serve(&self, options: SimOptions) {
        self.endpoints
            .set(vec![Pcs::Serves(SimPlatform::new(SEED, options))]);
    }

    /// Lets a day pass, in which `nodes` re-attest every hour; who is asked for a quote besides.
    async fn asked_within_a_day(&self, nodes: &[Answer]) -> Vec<String> {
        let mut asked = Vec::new();
        for _ in 0..REFRESHED_AFTER_H {
            for node in nodes {
                let again = Answer {
                    attested_before: Attested::Yes,
                    ..node.clone()
                };
                if asked.is_empty() {
                    assert_eq!(self.reason(again).await, "pass");
                }
            }
            self.clock.pass(HOUR);
            let done = self.attestor.reconcile().await;
            asked.extend(done.reattest_nodes.iter().map(ToString::to_string));
        }
        asked
    }
}

#[tokio::test]
async fn new_collateral_that_changes_nothing_asks_nobody() {
    let world = World::new().await;
    let before = world.endpoints.asked();
    assert_eq!(world.asked_within_a_day(&[world.node(1)]).await, [""; 0]);
    assert!(
        world.endpoints.asked() >= before + 8,
        "each item came twice"
    );
}

#[tokio::test]
async fn a_revocation_asks_the_revoked_machine_alone() {
    let world = World::new().await;
    let sibling = Answer {
        platform: world.platform.sibling(1),
        ..world.node(2)
    };
    let nodes = [world.node(1), sibling.clone()];
    for node in &nodes {
        assert_eq!(world.reason(node.clone()).await, "pass");
    }
    world.serve(SimOptions::default().revoke(Revoked::PckLeaf));
    assert_eq!(world.asked_within_a_day(&nodes).await, ["node-1"]);
    assert_eq!(world.reason(world.node(1)).await, "platform_revoked");
    assert_eq!(world.reason(sibling).await, "pass");
}

#[tokio::test]
async fn whoever_attests_as_somebody_elses_node_hides_nothing() {
    let world = World::new().await;
    let mut other = Answer {
        platform: world.platform.sibling(1),
        ..world.node(2)
    };
    other.registration = world.node(1).registration;
    let nodes = [world.node(1), other];
    for node in &nodes {
        assert_eq!(world.reason(node.clone()).await, "pass");
    }
    world.serve(SimOptions::default().revoke(Revoked::PckLeaf));
    assert_eq!(world.asked_within_a_day(&nodes).await, ["node-1"]);
}

#[tokio::test]
async fn evidence_whose_pass_counts_no_more_is_not_kept() {
    let world = World::new().await;
    assert_eq!(world.reason(world.node(1)).await, "pass");
    world.serve(SimOptions::default().revoke(Revoked::PckLeaf));
    world.clock.pass(HOUR * REFRESHED_AFTER_H);
    assert_eq!(world.attestor.reconcile().await.reattest_nodes, []);
    assert_eq!(world.reason(world.node(1)).await, "platform_revoked");
}

#[tokio::test]
async fn an_advisory_that_is_new_is_a_new_outcome() {
    let world = World::new().await;
    assert_eq!(world.reason(world.node(1)).await, "pass");
    let mut options = SimOptions::default();
    options.pki.tcb.advisories = vec!["INTEL-SA-01234".to_owned()];
    world.serve(options);
    assert_eq!(world.asked_within_a_day(&[world.node(1)]).await, ["node-1"]);
    assert_eq!(world.reason(world.node(1)).await, "pass");
}

#[tokio::test]
async fn newer_evaluation_of_another_family_counts_for_this_one() {
    let world = World::new().await;
    assert_eq!(world.reason(world.node(1)).await, "pass");
    assert_eq!(world.attestor.reconcile().await.reattest_nodes, []);
    let mut options = SimOptions::default();
    options.machine.fmspc = [9; 6];
    options.pki.tcb.fmspc = [9; 6];
    options.pki.tcb.tcb_evaluation = 30;
    options.pki.tcb.qe_evaluation = 30;
    let other = SimPlatform::new(SEED, options);
    world.endpoints.set(vec![Pcs::Serves(other.clone())]);
    let newcomer = Answer {
        platform: other,
        ..world.node(2)
    };
    // The QE identity at hand is of evaluation 19, too old beside TCB info of 30.
    assert_eq!(world.reason(newcomer).await, "tcb_eval_too_low");
    let done = world.attestor.reconcile().await;
    assert_eq!(done.reattest_nodes, [NodeId::parse("node-1").unwrap()]);
    assert_eq!(world.reason(world.node(1)).await, "tcb_eval_too_low");
}

#[tokio::test]
async fn collateral_that_ran_out_asks_nobody() {
    let world = World::new().await;
    assert_eq!(world.reason(world.node(1)).await, "pass");
    world.endpoints.set(vec![Pcs::Down]);
    for _ in 0..40 {
        world.clock.pass(HOUR * 20);
        let done = world.attestor.reconcile().await;
        assert_eq!(done.reattest_nodes, []);
    }
    assert_eq!(world.reason(world.node(1)).await, "~collateral_expired");
}

#[tokio::test]
async fn each_pass_looks_at_a_bounded_number_and_the_next_goes_on() {
    let world = World::new().await;
    let nodes: Vec<Answer> = (0..300_u32)
        .map(|number| {
            let mut answer = world.good();
            answer.registration.network = Network::Sandbox1;
            answer.registration.node_id = NodeId::parse(&format!("node-{number:03}")).unwrap();
            answer.binding = Binding::None;
            answer
        })
        .collect();
    assert_eq!(world.reason(nodes[0].clone()).await, "pass");
    world.clock.pass(HOUR * 20);
    for node in &nodes {
        assert_eq!(world.reason(node.clone()).await, "pass");
    }
    world.serve(SimOptions::default().revoke(Revoked::PckLeaf));
    let mut asked = Vec::new();
    let mut passes = Vec::new();
    for _ in 0..8 {
        world.clock.pass(HOUR);
        let now = world.clock_now();
        let done = world.attestor.reconcile().await;
        if !done.reattest_nodes.is_empty() {
            passes.push((done.reattest_nodes.len(), done.next <= now));
        }
        asked.extend(done.reattest_nodes);
    }
    asked.sort();
    asked.dedup();
    assert_eq!(passes, [(256, true), (44, false)]);
    assert_eq!(asked.len(), 300);
}
