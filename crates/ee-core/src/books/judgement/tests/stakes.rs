//! Stake, slashes, bans, abuse and what is paid back (LEDGER 8 to 10).

use ee_protocol::{money::MicroUsd, names::Network};

use super::{ee_account, passed_hour, rig::*, settled};
use crate::books::{Command, Outcome, Policy, Principal, Refusal, command::*, rows::*};

#[test]
fn node_cannot_set_its_stake() {
    let mut rig = Rig::new();
    let Command::RegisterNode(mut command) = register("n1", 50_000) else {
        panic!("a registration");
    };
    command.stake = Some(usd(1_000));
    command.tier = Some(StakeTier::Premium);
    let own = Principal::node(&node("n1"));
    rig.run_as(&own, Command::RegisterNode(command.clone()))
        .expect("registered");
    let shown = rig
        .books
        .node_shown(&(&node("n1")).into(), at(0))
        .expect("known");
    assert_eq!(
        (shown.stake, shown.row.tier),
        (MicroUsd::ZERO, StakeTier::Economy)
    );
    assert_eq!(shown.price.map(|price| price.micros()), Some(50_000));
    rig.run(Command::RegisterNode(command)).expect("registered");
    assert_eq!(rig.posted("n1#stake"), 1_000);
    assert_eq!(rig.posted("sys:external_stake"), -1_000);
}

#[test]
fn absent_fields_stay() {
    let mut rig = Rig::new();
    let Command::RegisterNode(mut command) = register("n1", 40_000) else {
        panic!("a registration");
    };
    (command.stake, command.tier, command.vcpus) =
        (Some(usd(9)), Some(StakeTier::Standard), Some(16));
    rig.run(Command::RegisterNode(command.clone()))
        .expect("registered");
    (command.stake, command.tier, command.vcpus, command.price) = (None, None, None, None);
    rig.run(Command::RegisterNode(command.clone()))
        .expect("registered");
    let shown = rig
        .books
        .node_shown(&(&node("n1")).into(), at(0))
        .expect("known");
    assert_eq!((shown.stake, shown.row.tier), (usd(9), StakeTier::Standard));
    assert_eq!(
        (shown.vcpus(), shown.price.map(|p| p.micros())),
        (Some(16), Some(40_000))
    );
    command.allow_update = false;
    assert_eq!(
        rig.run(Command::RegisterNode(command)),
        Err(Refusal::NodeExists)
    );
}

#[test]
fn forge_demands_stake_and_sandbox_does_not() {
    let mut rig = Rig::new();
    rig.lock_hour("u1");
    rig.until(HOUR.0 + 100);
    rig.seen("n1", Network::Forge1);
    rig.until(HOUR.0 + 200);
    rig.deposit("u1", 5).expect("deposited");
    rig.until(HOUR.1 + 5);
    let settled = rig.finalize().expect("judged");
    let missing = &settled.reasons[0];
    assert_eq!(
        (settled.verdict, missing.reason),
        (Verdict::Fail, Reason::StakeMissing)
    );
    assert_eq!(
        (missing.first, missing.last),
        (at(HOUR.0 + 100), at(HOUR.0 + 200))
    );
}

#[test]
fn pending_abuse_defers_but_an_admin_does_not_wait() {
    let mut rig = passed_hour();
    let report = rig.file_abuse(Some(HOUR));
    rig.until(HOUR.1 + GRACE_S);
    assert_eq!(rig.tick().judged, 0, "a report is undecided");
    let settled = rig.finalize().expect("settled");
    assert_eq!(
        (settled.verdict, settled.pending_abuse),
        (Verdict::Pass, vec![report])
    );
}

#[test]
fn pending_abuse_defers_for_a_while_only() {
    let mut rig = passed_hour();
    rig.file_abuse(Some(HOUR));
    let patience = 259_200;
    rig.unwatched_until(HOUR.1 + 5 + patience - 1);
    assert_eq!(rig.tick().judged, 0);
    rig.unwatched_until(HOUR.1 + 5 + patience);
    assert_eq!(rig.tick().judged, 1);
}

#[test]
fn authorised_abuse_fails_the_period() {
    let mut rig = passed_hour();
    let report = rig.file_abuse(Some(HOUR));
    rig.decide_abuse(report, Decision::Authorize)
        .expect("decided");
    let settled = rig.finalize().expect("settled");
    assert_eq!(settled.reasons[0].reason, Reason::AbuseAuthorized);
    assert_eq!(rig.posted("u1"), 1_000_000);
}

#[test]
fn late_abuse_claws_back() {
    let mut rig = passed_hour();
    rig.purchase("u2", 1_000_000);
    rig.report("u2", HOUR, 250);
    rig.finalize().expect("settled");
    assert_eq!(rig.posted("n1"), 50_000);
    // The node spent most of it: what is missing becomes a claim.
    let (from, to) = (ee_account("n1"), ee_account("u3"));
    let spend = Transfer {
        id: None,
        from,
        to,
        amount: amount(35_000),
        open_account: true,
    };
    rig.run(Command::Transfer(spend)).expect("spent");
    let report = rig.file_abuse(Some(HOUR));
    let filed = rig
        .decide_abuse(report, Decision::Authorize)
        .expect("decided");
    assert_eq!(
        (filed.state, filed.moved),
        (ReportState::Authorized, usd(15_000))
    );
    assert_eq!(
        (rig.posted("n1"), rig.posted("u1"), rig.posted("u2")),
        (0, 972_000, 993_000)
    );
    assert_eq!(
        rig.decide_abuse(report, Decision::Authorize)
            .map(|f| f.moved),
        Ok(usd(0))
    );
    // Later earnings pay the claims first.
    let next = (HOUR.1 + 3_600, HOUR.1 + 7_200);
    rig.lock("u2", "n1", next, None);
    rig.until(next.1 + GRACE_S);
    rig.tick();
    assert_eq!((rig.posted("u1"), rig.posted("n1")), (1_000_000, 5_000));
    assert_eq!(
        rig.posted("u2"),
        960_000,
        "repaid 7 000 of the first, paid 40 000 for the second"
    );
}

#[test]
fn stake_and_unbonding_pay_users_back_too() {
    let mut rig = passed_hour();
    rig.deposit("u1", 30_000).expect("deposited");
    rig.withdraw(20_000).expect("unbonds");
    rig.finalize().expect("settled");
    let (from, to) = (ee_account("n1"), ee_account("u3"));
    let spend = Transfer {
        id: None,
        from,
        to,
        amount: amount(40_000),
        open_account: true,
    };
    rig.run(Command::Transfer(spend)).expect("spent");
    let report = rig.file_abuse(Some(HOUR));
    let filed = rig
        .decide_abuse(report, Decision::Authorize)
        .expect("decided");
    assert_eq!(filed.moved, usd(30_000));
    assert_eq!((rig.posted("n1#stake"), rig.posted("n1#unbonding")), (0, 0));
    assert_eq!(rig.posted("u1"), 1_000_000 - 40_000);
}

#[test]
fn decided_stays_decided() {
    let mut rig = passed_hour();
    let report = rig.file_abuse(Some(HOUR));
    rig.decide_abuse(report, Decision::Deny).expect("denied");
    assert!(rig.decide_abuse(report, Decision::Deny).is_ok());
    let other = rig.decide_abuse(report, Decision::Authorize);
    assert_eq!(other, Err(Refusal::ReportAlreadyDecided));
    let report = rig.file_abuse(None);
    rig.decide_abuse(report, Decision::Authorize)
        .expect("authorised");
    let overturned = rig
        .decide_abuse(report, Decision::Overturn)
        .expect("overturned");
    assert_eq!(
        (overturned.state, overturned.moved),
        (ReportState::Overturned, usd(0))
    );
}

#[test]
fn open_report_ends() {
    let mut rig = Rig::new();
    let later = (HOUR.1, HOUR.1 + 3_600);
    rig.lock("u1", "n1", later, None);
    rig.until(HOUR.0 + 60);
    let report = rig.file_abuse(None);
    rig.until(HOUR.0 + 120);
    rig.decide_abuse(report, Decision::Authorize)
        .expect("authorised");
    rig.until(later.1 + 5);
    let command = Finalize {
        period: period(later),
        node: Some(node("n1")),
    };
    let Ok(Outcome::Finalized(nodes)) = rig.run(Command::Finalize(command)) else {
        panic!("finalized");
    };
    assert_eq!(
        nodes[0].verdict,
        Verdict::Pass,
        "the report ended with its decision"
    );
    let hour = rig.finalize().expect("judged");
    assert_eq!(hour.reasons[0].reason, Reason::AbuseAuthorized);
}

#[test]
fn pay_rests_in_hold() {
    let policy = Policy {
        payout_hold_s: 86_400,
        ..Policy::documented()
    };
    let mut rig = Rig::with(policy);
    rig.lock_hour("u1");
    rig.until(HOUR.1 + 5);
    rig.finalize().expect("settled");
    assert_eq!((rig.posted("n1"), rig.posted("n1#held")), (0, 40_000));
    rig.unwatched_until(HOUR.1 + 5 + 86_400);
    assert_eq!(rig.tick().released, 1);
    assert_eq!((rig.posted("n1"), rig.posted("n1#held")), (40_000, 0));
}

#[test]
fn withdrawn_stake_unbonds_and_is_slashable_meanwhile() {
    let mut rig = Rig::new();
    rig.deposit("u1", 1_000).expect("deposited");
    rig.withdraw(400).expect("unbonds");
    assert_eq!(
        (rig.posted("n1#stake"), rig.posted("n1#unbonding")),
        (600, 400)
    );
    rig.unwatched_until(604_800);
    assert_eq!(rig.tick().released, 1);
    assert_eq!((rig.posted("n1"), rig.posted("n1#unbonding")), (400, 0));
    rig.withdraw(100).expect("unbonds");
    let slash = rig.file_slash(SlashReason::AttestationFraud);
    let filed = rig
        .decide_slash(slash, Decision::Authorize)
        .expect("slashed");
    assert_eq!(filed.moved, usd(600));
    assert_eq!(rig.posted("sys:slash_pool"), 600);
    assert_eq!((rig.posted("n1#stake"), rig.posted("n1#unbonding")), (0, 0));
}

#[test]
fn a_ban_is_for_ever_and_for_the_platform() {
    let mut rig = Rig::new();
    let slash = rig.file_slash(SlashReason::AttestationFraud);
    rig.decide_slash(slash, Decision::Authorize)
        .expect("banned");
    assert_eq!(rig.run(register("n1", 1)), Err(Refusal::NodeBanned));
    assert_eq!(rig.deposit("u1", 5), Err(Refusal::NodeBanned));
    rig.seen("n2", Network::Sandbox1);
    let no = rig.books.node_no(&node("n2")).expect("seen");
    assert!(
        rig.books.is_banned(no),
        "the same platform under another name"
    );
    let again = rig.decide_slash(slash, Decision::Deny);
    assert_eq!(
        again,
        Err(Refusal::SlashNotFound),
        "decided rows are the store's"
    );
}

#[test]
fn stake_that_backs_locks_stays() {
    let mut rig = Rig::new();
    rig.seen("n1", Network::Forge1);
    rig.deposit("u1", 1_000).expect("deposited");
    rig.lock_hour("u1");
    assert_eq!(rig.withdraw(1_000), Err(Refusal::StakeInUse));
    rig.withdraw(999).expect("enough is left");
    assert_eq!(rig.withdraw(5), Err(Refusal::StakeInUse));
}

#[test]
fn an_app_that_leaves_a_failed_node_costs_it_stake() {
    let mut rig = Rig::new();
    rig.deposit("u1", 100_000).expect("deposited");
    let before = (0, HOUR.0);
    rig.lock("u1", "n1", before, None);
    rig.until(HOUR.0 + GRACE_S);
    rig.tick();
    assert_eq!(rig.posted("n1"), 40_000);
    // An hour that fails; the app's next hour is on another node.
    let (hour, next) = ((HOUR.1, HOUR.1 + 3_600), (HOUR.1 + 3_600, HOUR.1 + 7_200));
    rig.run(register("n2", 40_000)).expect("registered");
    rig.bind_payer("app", "u1");
    rig.renew("app", "n1", hour);
    rig.until(hour.0 + 60);
    rig.fails("n1");
    rig.renew("app", "n2", next);
    rig.until(hour.1 + GRACE_S);
    rig.tick();
    let slash = rig.pending_slash().expect("filed by itself");
    let (reason, amount) = (slash.reason, slash.amount);
    // Economy: one mean hour of 30 days, 40 000 / 720.
    assert_eq!((reason, amount), (SlashReason::DowntimeMigration, usd(55)));
    rig.unwatched_until(hour.1 + GRACE_S + 86_400);
    rig.tick();
    assert_eq!(
        (rig.posted("n1#stake"), rig.posted("sys:slash_pool")),
        (99_945, 55)
    );
}

#[test]
fn a_miss_that_the_app_stayed_through_slashes_nothing() {
    let mut rig = Rig::new();
    rig.deposit("u1", 100_000).expect("deposited");
    rig.bind_payer("app", "u1");
    rig.renew("app", "n1", HOUR);
    rig.renew("app", "n1", (HOUR.1, HOUR.1 + 3_600));
    rig.until(HOUR.0 + 60);
    rig.fails("n1");
    rig.until(HOUR.1 + GRACE_S);
    rig.tick();
    assert_eq!(settled(&rig).0, Verdict::Fail);
    assert!(rig.pending_slash().is_none());
}

#[test]
fn a_denied_slash_takes_nothing() {
    let mut rig = Rig::new();
    rig.deposit("u1", 1_000).expect("deposited");
    let slash = rig.file_slash(SlashReason::AttestationFraud);
    rig.decide_slash(slash, Decision::Deny).expect("denied");
    assert_eq!(
        (rig.posted("n1#stake"), rig.posted("sys:slash_pool")),
        (1_000, 0)
    );
}

#[test]
fn settings_hold_for_periods_that_start_later() {
    let mut rig = Rig::new();
    rig.lock_hour("u1");
    rig.until(HOUR.0 + 60);
    let stricter = Policy {
        settlement_grace_s: 60,
        health_timeout_s: 10,
        ..Policy::documented()
    };
    rig.run(Command::SetPolicy(stricter)).expect("set");
    rig.until(HOUR.1 + 120);
    assert_eq!(rig.tick().judged, 0, "the grace of the hour is the old one");
    rig.until(HOUR.1 + GRACE_S);
    assert_eq!(rig.tick().judged, 1);
}

#[test]
fn a_second_report_claws_nothing_back_twice() {
    let mut rig = passed_hour();
    rig.finalize().expect("settled");
    let (from, to) = (ee_account("n1"), ee_account("u3"));
    let spend = Transfer {
        id: None,
        from,
        to,
        amount: amount(30_000),
        open_account: true,
    };
    rig.run(Command::Transfer(spend)).expect("spent");
    for moved in [10_000, 0] {
        let report = rig.file_abuse(Some(HOUR));
        let filed = rig.decide_abuse(report, Decision::Authorize);
        assert_eq!(filed.map(|filed| filed.moved), Ok(usd(moved)));
    }
    // Two later hours: the first pays the debt of 30 000, and nothing is owed after it.
    let hours = [1, 2].map(|hour| (HOUR.1 + hour * 3_600, HOUR.1 + (hour + 1) * 3_600));
    for hour in hours {
        rig.lock("u1", "n1", hour, None);
    }
    rig.until(hours[1].1 + GRACE_S);
    rig.tick();
    assert_eq!(rig.posted("n1"), 10_000 + 40_000);
}
