//! Usage reports: the worked examples of LEDGER 2, and what may go wrong.

use super::*;

#[test]
fn sub_cent_price_is_charged() {
    let mut rig = Rig::with_node(3_500);
    rig.buy("u1", 10_000);
    let mut charged = 0;
    let expected = [
        (500, 499),
        (1_000, 999),
        (1_500, 1_499),
        (2_000, 1_999),
        (2_500, 2_499),
    ];
    let expected = expected.into_iter().chain([(3_000, 2_999), (3_500, 3_500)]);
    for (number, (locked, total)) in expected.enumerate() {
        let used = if number == 6 {
            514_285_716
        } else {
            514_285_714
        };
        charged += rig.reported(report(hour(1), used)).charge.micros();
        assert_eq!((rig.locked("u1"), charged), (locked, total));
    }
    rig.settle(hour(1), Pay::Pass);
    assert_eq!((rig.available("n1"), rig.available("u1")), (3_500, 6_500));
}

#[test]
fn sixty_floored_minutes_are_charged_one_less() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 100_000);
    let minute = VcpuMicros::parse_number("0.016666666666666666").expect("hours");
    assert_eq!(minute.micros(), 59_999_999);
    for _ in 0..60 {
        rig.reported(report(hour(1), minute.micros()));
    }
    assert_eq!(rig.locked("u1"), 40_000);
    rig.settle(hour(1), Pay::Pass);
    assert_eq!((rig.available("n1"), rig.available("u1")), (39_999, 60_001));
}

#[test]
fn duplicate_usage_locks_once() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 100_000);
    let identities = [
        UsageIdentity::Usage(client("r1")),
        UsageIdentity::Source(client("uptime"), client("r1")),
    ];
    for identity in identities {
        let wanted = ReportUsage {
            identity,
            ..report(hour(1), 3_600_000_000)
        };
        let first = rig.reported(wanted.clone());
        assert_eq!(rig.reported(wanted.clone()), first);
        let other = ReportUsage {
            used: VcpuMicros::from_micros(1),
            ..wanted
        };
        assert_eq!(rig.run(Command::ReportUsage(other)), Err(Refusal::IdReused));
    }
    assert_eq!(rig.locked("u1"), 80_000);
}

#[test]
fn unpaid_usage_is_remembered() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 39_999);
    let wanted = report(hour(1), 3_600_000_000);
    let refused = rig.run(Command::ReportUsage(wanted.clone()));
    assert_eq!(refused, Err(Refusal::InsufficientFunds));
    let changes = rig.written.last().expect("written");
    assert_eq!(changes.usage.len(), 1);
    assert_eq!(changes.usage[0].state, UsageState::Uncollected);
    assert_eq!(changes.usage[0].charge, usd(40_000));
    assert!(changes.meters.is_empty() && changes.transfers.is_empty());
    rig.buy("u1", 1);
    assert_eq!(rig.reported(wanted).charge, usd(40_000), "only its own");
}

#[test]
fn cumulative_reports_take_the_larger() {
    let mut rig = Rig::with_node(3_600_000);
    rig.buy("u1", 10_000_000);
    let total = |used| ReportUsage {
        cumulative: true,
        ..report(hour(1), used)
    };
    assert_eq!(rig.reported(total(1_000_000)).charge, usd(1_000));
    assert_eq!(rig.reported(total(3_000_000)).charge, usd(2_000));
    assert_eq!(rig.reported(total(2_000_000)).charge, usd(0));
    assert_eq!(rig.locked("u1"), 3_000);
}

#[test]
fn price_is_that_of_the_period() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 1_000_000);
    rig.now_s = 3600 + 1800;
    rig.register("n1", 90_000, None);
    let whole = 3_600_000_000;
    assert_eq!(rig.reported(report(hour(1), whole)).charge, usd(40_000));
    assert_eq!(rig.reported(report(hour(2), whole)).charge, usd(90_000));
    rig.now_s = 3 * 3600;
    rig.register("n1", 10, None);
    assert_eq!(rig.reported(report(hour(2), whole)).charge, usd(90_000));
}

#[test]
fn a_node_without_price_or_unknown_cannot_be_charged_for() {
    let mut rig = Rig::with_node(1);
    rig.buy("u1", 10);
    let unknown = ReportUsage {
        node: node("n2"),
        ..report(hour(1), 1)
    };
    let refused = rig.run(Command::ReportUsage(unknown));
    assert_eq!(refused, Err(Refusal::NodePriceMissing));
}

#[test]
fn periods_of_one_account_on_one_node_are_equal_or_disjoint() {
    let mut rig = Rig::with_node(1);
    rig.buy("u1", 1_000);
    rig.buy("u2", 1_000);
    rig.reported(report(span(3_600, 7_200), 1));
    rig.reported(report(span(3_600, 7_200), 1));
    for overlapping in [
        (0, 3_601),
        (7_199, 7_201),
        (3_600, 7_199),
        (4_000, 5_000),
        (0, 9_000),
    ] {
        let wanted = report(span(overlapping.0, overlapping.1), 1);
        let refused = rig.run(Command::ReportUsage(wanted.clone()));
        assert_eq!(refused, Err(Refusal::PeriodOverlap), "{overlapping:?}");
        let other = ReportUsage {
            account: id("u2"),
            ..wanted
        };
        rig.run(Command::ReportUsage(other)).ok();
    }
    rig.reported(report(span(7_200, 9_000), 1));
    rig.reported(report(span(0, 3_600), 1));
}

#[test]
fn ancient_periods_are_finalized() {
    let mut rig = Rig::with_node(1);
    rig.buy("u1", 1_000);
    rig.now_s = 7_200 + 604_800;
    let refused = rig.run(Command::ReportUsage(report(hour(1), 1)));
    assert_eq!(refused, Err(Refusal::PeriodFinalized));
    rig.reported(report(hour(2), 1));
}

#[test]
fn locked_money_has_an_account() {
    let mut rig = Rig::with_node(40_000);
    let nobody = rig.run(Command::ReportUsage(report(hour(1), 3_600_000_000)));
    assert_eq!(nobody, Err(Refusal::InsufficientFunds));
    assert_eq!(rig.books.balance(&id("u1")), None);
    rig.buy("u1", 40_000);
    rig.reported(report(hour(1), 3_600_000_000));
    let balance = rig.balance("u1");
    assert_eq!((balance.posted, balance.available), (usd(40_000), usd(0)));
    let refused = rig.run(Command::Transfer(transfer("u1", "u2", 1)));
    assert_eq!(refused, Err(Refusal::InsufficientFunds));
}

#[test]
fn usage_counts_against_what_is_locked_ahead() {
    for (mode, paid) in [(LockMode::Metered, 30_000), (LockMode::Reserved, 40_000)] {
        let mut rig = Rig::with_node(40_000);
        rig.buy("u1", 100_000);
        rig.locked_as(lock("u1", hour(1), 1, mode));
        let reported = rig.reported(report(hour(1), 2_700_000_000));
        assert_eq!((reported.lock, rig.locked("u1")), (None, 40_000));
        rig.settle(hour(1), Pay::Pass);
        assert_eq!(rig.available("n1"), paid, "{mode:?}");
    }
}

#[test]
fn a_report_that_no_counter_holds_is_refused() {
    let mut rig = Rig::with_node(0);
    rig.buy("u1", 1);
    rig.reported(report(hour(1), i64::MAX as u64));
    let refused = rig.run(Command::ReportUsage(report(hour(1), 1)));
    assert_eq!(refused, Err(Refusal::CapacityExceeded));
    rig.register("n1", ee_protocol::money::AMOUNT_MAX_MICRO_USD, None);
    rig.now_s = 7_200;
    let refused = rig.run(Command::ReportUsage(report(hour(3), i64::MAX as u64)));
    assert_eq!(refused, Err(Refusal::InsufficientFunds));
}
