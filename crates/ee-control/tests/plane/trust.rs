//! The lowest effective price serves: the posted one, weighed by what the node was judged.

use ee_control::explain;
use ee_core::{books::rows::Verdict, eligibility::StakeRequirement, session::Event};
use ee_protocol::{http::explain::OfferExplanation, names::NodeId};

use crate::{
    books::{Both, PAY, PRICE, with_both},
    rig::{agent, app, register},
};

fn two() -> NodeId {
    NodeId::parse("two").expect("an id")
}

fn offer(both: &Both, node: &str) -> OfferExplanation {
    let explained = explain::explain(both.world.plane.routes(), &app(), None, both.world.now());
    let nodes = explained.expect("known").nodes;
    let found = nodes.into_iter().find(|shown| shown.node == node);
    found.expect("a node").offer.expect("a price")
}

#[tokio::test]
async fn a_node_that_failed_comes_after_a_dearer_one_that_did_not() {
    with_both(StakeRequirement::None, async |mut both: Both| {
        both.paid_for(20 * PAY).await;
        both.post_price(two(), PRICE + PRICE / 50).await;
        let (cheap, _) = both.world.join(&register()).await;
        let (dear, _) = both.world.join(&agent("two")).await;
        both.all_healthy(&[cheap, dear], 660).await;
        assert_eq!(both.world.choose(), Ok(cheap.0));
        let before = offer(&both, "uuid");
        assert_eq!(before.price_micro_usd_per_vcpu_hour, PRICE.to_string());
        assert!(before.trust_permille > 700, "{before:?}");

        let period = both.period();
        both.world.emit(cheap, Event::Closed).await;
        both.healthy(dear, 720).await;
        let row = both.verdict(period).await.expect("judged");
        assert_eq!(row.verdict, Verdict::Fail);
        let (cheap, _) = both.world.join(&register()).await;
        both.all_healthy(&[cheap, dear], 120).await;
        let after = offer(&both, "uuid");
        assert!(
            after.settlement_permille < before.settlement_permille
                && after.health_permille < before.health_permille,
            "{before:?} {after:?}"
        );
        assert_eq!(both.world.choose(), Ok(dear.0), "{after:?}");
    })
    .await;
}

/// What was judged before a restart counts after it: the records are read from the store.
#[tokio::test]
async fn records_outlive_a_restart() {
    with_both(StakeRequirement::None, async |mut both: Both| {
        both.paid_for(20 * PAY).await;
        let (tunnel, _) = both.world.join(&register()).await;
        // A minute more than the last verdict takes to be counted.
        both.healthy(tunnel, 1_980).await;
        let counted = offer(&both, "uuid");
        assert!(counted.settlement_permille > 900, "{counted:?}");
        both.forget_records();
        both.pass(5).await;
        assert_eq!(offer(&both, "uuid"), counted);
    })
    .await;
}
