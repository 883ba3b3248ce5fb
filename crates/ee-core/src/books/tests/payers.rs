//! Who pays for an app, and the locks of its next period.

use super::*;

fn bind(account: &str, nodes_max: u32, price_max: Option<i64>) -> Command {
    Command::BindPayer(BindPayer {
        app: app("shop"),
        payer: Some(PayerTerms {
            account: id(account),
            vcpus: 2,
            price_max: price_max.map(|max| Price::new(usd(max)).expect("a price")),
            nodes_max,
        }),
    })
}

fn renew(rig: &mut Rig, period: Period, candidates: &[&str]) -> Renewed {
    let candidates = candidates.iter().map(|name| node(name)).collect();
    let command = RenewLock {
        app: app("shop"),
        period,
        candidates,
    };
    match rig.run(Command::RenewLock(command)) {
        Ok(Outcome::Renewed(renewed)) => renewed,
        other => panic!("not renewed: {other:?}"),
    }
}

fn rig() -> Rig {
    let mut rig = Rig::with_node(40_000);
    rig.register("n2", 50_000, None);
    rig.buy("u1", 1_000_000);
    rig
}

#[test]
fn renewing_is_idempotent_per_app_period_and_node() {
    let mut rig = rig();
    rig.run(bind("u1", 1, None)).expect("bound");
    let first = renew(&mut rig, hour(1), &["n1", "n2"]);
    assert_eq!((first.locks.len(), first.short), (1, None));
    assert!(first.locks[0].is_new);
    assert_eq!(first.runway_periods, 11, "920 000 of 80 000 each");
    let again = renew(&mut rig, hour(1), &["n1", "n2"]);
    assert_eq!(again.locks[0].lock, first.locks[0].lock);
    assert!(!again.locks[0].is_new);
    assert_eq!(rig.locked("u1"), 80_000);
}

#[test]
fn an_app_that_moves_is_locked_where_it_went() {
    let mut rig = rig();
    rig.run(bind("u1", 1, None)).expect("bound");
    renew(&mut rig, hour(1), &["n1"]);
    let moved = renew(&mut rig, hour(1), &["n2"]);
    assert_eq!((moved.locks.len(), rig.locked("u1")), (1, 180_000));
}

#[test]
fn an_app_is_locked_on_as_many_nodes_as_its_payer_allows() {
    let mut rig = rig();
    rig.run(bind("u1", 2, None)).expect("bound");
    assert_eq!(renew(&mut rig, hour(1), &["n1", "n2"]).locks.len(), 2);
    assert_eq!(rig.locked("u1"), 180_000);
}

#[test]
fn a_payer_is_not_charged_above_its_maximum() {
    let mut rig = rig();
    rig.run(bind("u1", 2, Some(45_000))).expect("bound");
    let renewed = renew(&mut rig, hour(1), &["n2", "n1"]);
    assert_eq!(renewed.locks.len(), 1);
    assert_eq!(renewed.locks[0].node, id("n1"));
    assert_eq!(renewed.short, Some(Refusal::PriceAboveMax));
}

#[test]
fn a_payer_without_funds_is_told_so() {
    let mut rig = rig();
    rig.buy("poor", 79_999);
    rig.run(bind("poor", 1, None)).expect("bound");
    let renewed = renew(&mut rig, hour(1), &["n1", "n2"]);
    assert_eq!(
        (renewed.locks.len(), renewed.short),
        (0, Some(Refusal::InsufficientFunds))
    );
    assert_eq!(renewed.runway_periods, 0);
    rig.buy("poor", 1);
    assert_eq!(
        renew(&mut rig, hour(1), &["n1", "n2"]).locks.len(),
        1,
        "new money retries"
    );
}

#[test]
fn only_an_account_that_exists_and_is_no_nodes_can_pay() {
    let mut rig = rig();
    assert_eq!(
        rig.run(bind("nobody", 1, None)),
        Err(Refusal::AccountNotFound)
    );
    assert_eq!(
        rig.run(bind("n1", 1, None)),
        Err(Refusal::AccountKindConflict)
    );
    let command = RenewLock {
        app: app("shop"),
        period: hour(1),
        candidates: vec![node("n1")],
    };
    let refused = rig.run(Command::RenewLock(command));
    assert_eq!(
        refused,
        Err(Refusal::AccountNotFound),
        "an app without payer"
    );
}

#[test]
fn an_apps_lock_is_paid_in_full_by_a_pass() {
    let mut rig = rig();
    rig.run(bind("u1", 1, None)).expect("bound");
    renew(&mut rig, hour(1), &["n1"]);
    rig.settle(hour(1), Pay::Pass);
    assert_eq!(rig.available("n1"), 80_000);
}

#[test]
fn an_unbound_app_is_renewed_no_more() {
    let mut rig = rig();
    rig.run(bind("u1", 1, None)).expect("bound");
    rig.run(Command::BindPayer(BindPayer {
        app: app("shop"),
        payer: None,
    }))
    .expect("unbound");
    assert_eq!(
        rig.written.last().expect("written").payers_gone,
        [app("shop")]
    );
}
