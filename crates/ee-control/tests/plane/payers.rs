//! What a payer is told of his credits.

use ee_control::locks;
use ee_core::eligibility::StakeRequirement;

use crate::{
    books::{Both, PAY, with_both},
    rig::{app, register},
};

async fn standing(both: &Both) -> (Option<String>, Option<u32>) {
    let now = both.world.now();
    let standing = locks::payer_standing(&both.books, &app(), now).await;
    let standing = standing.expect("answered");
    (standing.funds, standing.runway_periods)
}

#[tokio::test]
async fn a_payer_hears_that_his_credits_run_low_and_out() {
    with_both(StakeRequirement::None, async |mut both: Both| {
        assert_eq!(standing(&both).await, (None, None), "nobody pays");
        both.paid_for(3 * PAY).await;
        assert_eq!(standing(&both).await.0.as_deref(), Some("exhausted"));
        both.world.join(&register()).await;
        both.pass(10).await;
        let (funds, runway) = standing(&both).await;
        assert_eq!(funds.as_deref(), Some("low"), "{runway:?}");
        assert!(runway.is_some_and(|periods| periods <= 2), "{runway:?}");
        both.buy(20 * PAY).await;
        let (funds, more) = standing(&both).await;
        assert_eq!(funds.as_deref(), Some("ok"));
        assert_eq!(more, runway.map(|periods| periods + 20));
    })
    .await;
}
