//! What verdicts pay, in chunks and in any order.

use proptest::prelude::*;

use super::*;

#[test]
fn a_failed_period_costs_its_users_nothing() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 100_000);
    rig.locked_as(lock("u1", hour(1), 1, LockMode::Reserved));
    rig.reported(report(hour(1), 4_000_000_000));
    let chunk = rig.settle(hour(1), Pay::Nothing);
    assert_eq!((chunk.settled, chunk.failed, chunk.done), (0, 2, true));
    assert_eq!((rig.available("u1"), rig.available("n1")), (100_000, 0));
}

#[test]
fn the_split_without_fault_pays_the_covered_part() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 100_000);
    rig.locked_as(lock("u1", hour(1), 1, LockMode::Reserved));
    let pay = Pay::Split {
        covered_us: 1_720_000_000,
        judged_us: 3_600_000_000,
    };
    rig.settle(hour(1), pay);
    assert_eq!((rig.available("n1"), rig.available("u1")), (19_111, 80_889));
}

#[test]
fn a_settlement_that_stops_in_the_middle_goes_on_where_it_was() {
    let mut rig = Rig::with_node(3_500);
    rig.buy("u1", 10_000);
    for _ in 0..6 {
        rig.reported(report(hour(1), 514_285_714));
    }
    rig.reported(report(hour(1), 514_285_716));
    let mut posted = 0;
    for left in (0..7).rev() {
        let chunk = rig.settle_some(hour(1), Pay::Pass, 1);
        posted += chunk.posted.micros();
        assert_eq!(chunk.done, left == 0);
    }
    assert_eq!((posted, rig.available("n1")), (3_500, 3_500));
    let again = rig.settle(hour(1), Pay::Pass);
    assert_eq!((again.posted, again.last), (usd(0), None));
}

#[test]
fn what_expires_is_given_back() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 40_000);
    rig.locked_as(lock("u1", hour(1), 1, LockMode::Reserved));
    rig.settle(hour(1), Pay::Expire);
    assert_eq!(rig.available("u1"), 40_000);
    let kinds: Vec<TransferKind> = rig.transfers().iter().map(|row| row.kind).collect();
    assert_eq!(kinds.last(), Some(&TransferKind::Expire));
}

/// Locks and reports of three users in one hour, in the order of `order`; what each paid.
fn paid(order: &[usize], pay: Pay, chunk: usize) -> Vec<i64> {
    let mut rig = Rig::with_node(3_333);
    let users = ["u1", "u2", "u3"];
    for user in users {
        rig.buy(user, 1_000_000);
    }
    for &event in order {
        let user = users[event % 3];
        let used = 1_000_000_007 * (event as u64 + 1);
        match event % 4 {
            0 => drop(rig.locked_as(lock(user, hour(1), 1, LockMode::Reserved))),
            1 => drop(rig.locked_as(lock(user, hour(1), 2, LockMode::Metered))),
            _ => drop(rig.reported(ReportUsage {
                account: id(user),
                ..report(hour(1), used)
            })),
        }
    }
    while !rig.settle_some(hour(1), pay, chunk).done {}
    users
        .iter()
        .map(|user| 1_000_000 - rig.available(user))
        .collect()
}

/// Reports that add up to `total`, cut at these places.
fn charged(total: u64, cuts: &[u64]) -> (i64, i64) {
    let mut rig = Rig::with_node(40_007);
    rig.buy("u1", 1_000_000_000);
    let mut cuts: Vec<u64> = cuts.iter().map(|cut| cut % (total + 1)).collect();
    cuts.extend([0, total]);
    cuts.sort_unstable();
    let mut sum = 0;
    for pair in cuts.windows(2) {
        sum += rig
            .reported(report(hour(1), pair[1] - pair[0]))
            .charge
            .micros();
    }
    rig.settle(hour(1), Pay::Pass);
    (sum, rig.available("n1"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn settlement_order_is_fair(
        order in Just((0..9).collect::<Vec<usize>>()).prop_shuffle(),
        chunk in 1_usize..4,
        covered in 0_u64..100,
    ) {
        let sorted: Vec<usize> = (0..9).collect();
        for pay in [Pay::Pass, Pay::Split { covered_us: covered, judged_us: 100 }] {
            prop_assert_eq!(paid(&order, pay, chunk), paid(&sorted, pay, usize::MAX));
        }
    }

    #[test]
    fn split_invariance(total in 0_u64..10_000_000_000, cuts in proptest::collection::vec(0_u64..10_000_000_000, 0..9)) {
        let price = Price::new(usd(40_007)).expect("a price");
        let whole = i64::try_from(price.charge(VcpuMicros::from_micros(total))).expect("small");
        prop_assert_eq!(charged(total, &cuts), (whole, whole));
    }
}
