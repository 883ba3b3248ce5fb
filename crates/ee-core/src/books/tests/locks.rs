//! Locks ahead of compute, room on a node, and giving back.

use super::*;

#[test]
fn compute_is_locked_ahead() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 100_000);
    let locked = rig.locked_as(lock("u1", hour(1), 2, LockMode::Metered));
    assert_eq!(
        (locked.amount, locked.price.micros()),
        (usd(80_000), 40_000)
    );
    assert_eq!(locked.expires_at, at(7_200 + 604_800));
    assert_eq!((rig.available("u1"), rig.locked("u1")), (20_000, 80_000));
    let refused = rig.run(Command::Lock(lock("u1", hour(2), 1, LockMode::Metered)));
    assert_eq!(refused, Err(Refusal::InsufficientFunds));
}

#[test]
fn a_lock_in_a_running_period_covers_the_rest_of_it() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 100_000);
    rig.now_s = 3_600 + 2_700;
    let locked = rig.locked_as(lock("u1", hour(1), 1, LockMode::Reserved));
    assert_eq!(locked.amount, usd(10_000));
    rig.now_s = 7_200;
    let over = rig.run(Command::Lock(lock("u1", hour(1), 1, LockMode::Reserved)));
    assert_eq!(over, Err(Refusal::PeriodFinalized));
}

#[test]
fn an_amount_is_rounded_up_in_the_nodes_favour() {
    let mut rig = Rig::with_node(1);
    rig.buy("u1", 10);
    assert_eq!(
        rig.locked_as(lock("u1", span(3_600, 3_601), 1, LockMode::Metered))
            .amount,
        usd(1)
    );
}

#[test]
fn a_metered_lock_is_given_back_until_it_starts() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 100_000);
    let first = rig
        .locked_as(lock("u1", hour(1), 1, LockMode::Metered))
        .lock;
    rig.now_s = 3_599;
    rig.run(Command::ReleaseLock(ReleaseLock { lock: first }))
        .expect("released");
    assert_eq!((rig.available("u1"), rig.locked("u1")), (100_000, 0));
    let again = rig.run(Command::ReleaseLock(ReleaseLock { lock: first }));
    assert_eq!(again, Err(Refusal::LockResolved));
    let second = rig
        .locked_as(lock("u1", hour(1), 1, LockMode::Metered))
        .lock;
    rig.now_s = 3_600;
    let late = rig.run(Command::ReleaseLock(ReleaseLock { lock: second }));
    assert_eq!(late, Err(Refusal::LockStarted));
}

#[test]
fn a_reserved_lock_is_not_given_back_late() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 100_000);
    let lock_id = rig
        .locked_as(lock("u1", hour(3), 1, LockMode::Reserved))
        .lock;
    rig.now_s = 7_200;
    let late = rig.run(Command::ReleaseLock(ReleaseLock { lock: lock_id }));
    assert_eq!(
        late,
        Err(Refusal::LockStarted),
        "an hour's lock has an hour's notice"
    );
    let early = rig
        .locked_as(lock("u1", hour(5), 1, LockMode::Reserved))
        .lock;
    rig.run(Command::ReleaseLock(ReleaseLock { lock: early }))
        .expect("released");
}

#[test]
fn metered_locks_cannot_block_a_node() {
    let mut rig = Rig::new();
    rig.register("n1", 40_000, Some(4));
    rig.buy("idler", 10_000_000);
    rig.buy("tenant", 10_000_000);
    let idle = rig
        .locked_as(lock("idler", hour(5), 1, LockMode::Metered))
        .lock;
    let idle_too = rig
        .locked_as(lock("idler", hour(5), 3, LockMode::Metered))
        .lock;
    let refused = rig.run(Command::Lock(lock("tenant", hour(5), 1, LockMode::Metered)));
    assert_eq!(
        refused,
        Err(Refusal::CapacityExceeded),
        "first come, first served"
    );
    rig.locked_as(lock("tenant", hour(5), 2, LockMode::Reserved));
    assert_eq!(
        rig.books.lock_row(idle.no()).map(|lock| lock.state),
        Some(LockState::Open)
    );
    assert!(
        rig.books.lock_row(idle_too.no()).is_none(),
        "the newest gave way"
    );
    assert_eq!(rig.locked("idler"), 40_000);
    rig.now_s = 5 * 3_600;
    let running = rig.run(Command::Lock(lock(
        "tenant",
        hour(5),
        2,
        LockMode::Reserved,
    )));
    assert_eq!(running, Err(Refusal::CapacityExceeded), "what runs stays");
}

#[test]
fn a_node_holds_no_more_vcpus_at_one_instant_than_it_has() {
    let mut rig = Rig::new();
    rig.register("n1", 40_000, Some(3));
    for user in ["u1", "u2", "u3"] {
        rig.buy(user, 10_000_000);
    }
    rig.locked_as(lock("u1", span(3_600, 7_200), 2, LockMode::Reserved));
    rig.locked_as(lock("u2", span(7_200, 10_800), 2, LockMode::Reserved));
    rig.locked_as(lock("u3", span(3_600, 10_800), 1, LockMode::Reserved));
    for period in [
        span(3_600, 10_800),
        span(7_199, 7_200),
        span(10_799, 20_000),
    ] {
        let refused = rig.run(Command::Lock(lock("u4", period, 1, LockMode::Reserved)));
        assert_eq!(refused, Err(Refusal::CapacityExceeded), "{period}");
    }
    rig.locked_as(lock("u1", span(10_800, 14_400), 3, LockMode::Reserved));
}

/// Longer ago than any period is long; found by fuzzing.
#[test]
fn a_lock_of_an_ancient_period_is_refused() {
    let mut rig = Rig::new();
    rig.register("n1", 40_000, Some(3));
    rig.buy("u1", 10_000_000);
    rig.now_s = 40 * 86_400;
    for (mode, vcpus, refusal) in [
        (LockMode::Metered, 1, Refusal::PeriodFinalized),
        (LockMode::Reserved, 3, Refusal::PeriodFinalized),
        (LockMode::Reserved, 4, Refusal::CapacityExceeded),
    ] {
        let refused = rig.run(Command::Lock(lock("u1", hour(1), vcpus, mode)));
        assert_eq!(refused, Err(refusal));
    }
}

#[test]
fn a_stranger_gives_nobodys_lock_back() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 100_000);
    let lock_id = rig
        .locked_as(lock("u1", hour(1), 1, LockMode::Metered))
        .lock;
    let stranger = Principal::Account(id("u2"));
    let release = Command::ReleaseLock(ReleaseLock { lock: lock_id });
    assert_eq!(
        rig.run_as(&stranger, release.clone()),
        Err(Refusal::LockNotFound)
    );
    rig.run_as(&Principal::Account(id("u1")), release)
        .expect("its own");
    let unknown = EntryId::new(at(9), EntryNo::LAST);
    let refused = rig.run(Command::ReleaseLock(ReleaseLock { lock: unknown }));
    assert_eq!(refused, Err(Refusal::LockNotFound));
}

#[test]
fn a_period_given_back_whole_may_be_another() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 1_000_000);
    let lock_id = rig
        .locked_as(lock("u1", hour(1), 1, LockMode::Metered))
        .lock;
    let overlapping = lock("u1", span(3_600, 9_000), 1, LockMode::Metered);
    let refused = rig.run(Command::Lock(overlapping.clone()));
    assert_eq!(refused, Err(Refusal::PeriodOverlap));
    rig.run(Command::ReleaseLock(ReleaseLock { lock: lock_id }))
        .expect("released");
    assert_eq!(rig.written.last().expect("written").meters_gone.len(), 1);
    rig.locked_as(overlapping);
}

#[test]
fn a_refused_lock_changes_nothing() {
    let mut rig = Rig::with_node(40_000);
    let refused = rig.run(Command::Lock(lock("u1", hour(1), 1, LockMode::Metered)));
    assert_eq!(refused, Err(Refusal::InsufficientFunds));
    assert_eq!(rig.written.last(), Some(&Changes::default()));
}

#[test]
fn refusals_come_in_order_of_precedence() {
    let mut rig = Rig::new();
    rig.buy("u1", 1);
    let wanted = lock("u1", hour(1), 9, LockMode::Metered);
    let refused = |rig: &mut Rig| rig.run(Command::Lock(wanted.clone())).expect_err("refused");
    assert_eq!(refused(&mut rig), Refusal::NodeNotFound);
    let priceless = RegisterNode {
        node: node("n1"),
        price: None,
        effective_from: None,
        vcpus: Some(8),
        stake: None,
        tier: None,
        allow_update: true,
    };
    rig.run(Command::RegisterNode(priceless))
        .expect("registered");
    assert_eq!(refused(&mut rig), Refusal::NodePriceMissing);
    rig.register("n1", 40_000, None);
    assert_eq!(refused(&mut rig), Refusal::CapacityExceeded);
    rig.register("n1", 40_000, Some(9));
    assert_eq!(refused(&mut rig), Refusal::InsufficientFunds);
    rig.now_s = 7_200;
    assert_eq!(refused(&mut rig), Refusal::PeriodFinalized);
    let numbers: Vec<u16> = Refusal::ALL
        .iter()
        .map(|refusal| refusal.number())
        .collect();
    assert!(numbers.is_sorted());
}

#[test]
fn money_past_its_deadline_is_free_before_the_next_command() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 40_000);
    rig.locked_as(lock("u1", hour(1), 1, LockMode::Metered));
    rig.now_s = 7_200 + 604_800;
    rig.run(Command::Transfer(transfer("u1", "u2", 40_000)))
        .expect("given back first");
    assert_eq!(rig.available("u2"), 40_000);
}

#[test]
fn restored_books_go_on_as_if_nothing_had_been() {
    let mut rig = Rig::with_node(40_000);
    rig.buy("u1", 1_000_000);
    rig.locked_as(lock("u1", hour(1), 1, LockMode::Reserved));
    rig.reported(report(hour(1), 5_000_000_000));
    let all = |pick: fn(&Rig) -> Vec<AccountRow>| pick(&rig);
    let rows = crate::books::Rows {
        seq: rig.books.head().seq,
        at: rig.books.head().at,
        accounts: all(|rig| rig.books.accounts().cloned().collect()),
        meters: rig
            .books
            .meters
            .iter()
            .map(|(_, row)| row.clone())
            .collect(),
        locks: rig.books.locks.iter().map(|(_, row)| row.clone()).collect(),
        nodes: rig.books.nodes.iter().map(|(_, row)| row.clone()).collect(),
        prices: rig
            .books
            .prices
            .iter()
            .map(|(_, row)| row.clone())
            .collect(),
        ..crate::books::Rows::default()
    };
    rig.books = Books::restore(rows);
    assert_eq!(rig.books.changes(), Changes::default());
    assert_eq!(
        rig.reported(report(hour(1), 2_200_000_000)).charge,
        usd(24_445)
    );
    rig.settle(hour(1), Pay::Pass);
    assert_eq!(rig.available("n1"), 80_000);
}
