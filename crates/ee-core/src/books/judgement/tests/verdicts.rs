//! From facts to verdicts, from verdicts to money (LEDGER 7, 8).

use ee_protocol::names::Network;

use super::{passed_hour, rig::*, settled};
use crate::books::{Command, Outcome, Refusal, command::*, rows::*};

#[test]
fn a_period_settles_by_itself_after_its_grace() {
    let mut rig = passed_hour();
    rig.tick();
    assert_eq!(rig.settlement(), None, "grace runs");
    rig.until(HOUR.1 + GRACE_S);
    assert!(rig.books.is_due(at(HOUR.1 + GRACE_S)));
    let done = rig.tick();
    assert_eq!((done.judged, done.resolved, done.more), (1, 1, false));
    assert_eq!(settled(&rig), (Verdict::Pass, SettlementState::Settled));
    assert_eq!((rig.posted("n1"), rig.posted("u1")), (40_000, 960_000));
    assert_eq!(rig.tick().judged, 0, "once");
}

#[test]
fn second_finalize_repeats_the_verdict() {
    let mut rig = passed_hour();
    let first = rig.finalize().expect("settled");
    assert_eq!(
        (first.verdict, first.settled, first.failed),
        (Verdict::Pass, 1, 0)
    );
    rig.fails("n1");
    let second = rig.finalize().expect("repeated");
    assert_eq!(
        (second.verdict, second.settled, second.posted),
        (Verdict::Pass, 0, first.posted)
    );
    assert_eq!(rig.posted("n1"), 40_000);
}

#[test]
fn future_cannot_be_settled() {
    let mut rig = Rig::new();
    rig.lock_hour("u1");
    rig.until(HOUR.1 - 1);
    assert_eq!(rig.finalize(), Err(Refusal::PeriodOpen));
    // At its end, but the observer has not said that all is told.
    rig.unwatched_until(HOUR.1);
    assert_eq!(rig.finalize(), Err(Refusal::PeriodOpen));
    rig.until(HOUR.1 + 5);
    assert!(rig.finalize().is_ok());
}

#[test]
fn agent_fail_at_noon_fails() {
    let mut rig = Rig::new();
    rig.lock_hour("u1");
    rig.until(HOUR.0 + 1_800);
    rig.fails("n1");
    rig.attested("n1");
    rig.until(HOUR.1 + 5);
    let settled = rig.finalize().expect("judged");
    assert_eq!((settled.verdict, settled.failed), (Verdict::Fail, 1));
    assert_eq!(settled.reasons[0].reason, Reason::HealthFail);
    assert_eq!((rig.posted("n1"), rig.posted("u1")), (0, 1_000_000));
}

#[test]
fn our_stop_fails_nobody() {
    let mut rig = Rig::new();
    rig.lock_hour("u1");
    rig.until(HOUR.0 + 600);
    let (epoch, now) = (rig.epoch(), at(HOUR.0 + 600));
    rig.run(Command::Drained(Drained { epoch, at: now }))
        .expect("drained");
    rig.run(Command::ObserverStop(ObserverStop { epoch, at: now }))
        .expect("stopped");
    rig.unwatched_until(HOUR.0 + 900);
    rig.restart();
    rig.until(HOUR.0 + 1_000);
    rig.attested("n1");
    rig.until(HOUR.1 + 5);
    assert_eq!(rig.finalize().expect("judged").verdict, Verdict::Pass);
}

#[test]
fn our_crash_pays_nothing_unseen() {
    let mut rig = Rig::new();
    rig.lock_hour("u1");
    rig.until(HOUR.0 + 600);
    rig.unwatched_until(HOUR.1 - 300);
    rig.restart();
    rig.attested("n1");
    rig.until(HOUR.1 + 5);
    let judged = rig.finalize().expect("judged");
    assert_eq!(
        judged.verdict,
        Verdict::Inconclusive,
        "900 s of 3 600 were seen"
    );
    assert_eq!(
        (judged.state, rig.posted("n1")),
        (SettlementState::Awaiting, 0)
    );
    rig.unwatched_until(HOUR.1 + DEADLINE_S);
    assert_eq!(rig.tick().resolved, 1);
    assert_eq!(rig.posted("n1"), 10_000, "the quarter that was seen");
    assert_eq!(rig.posted("u1"), 990_000);
}

#[test]
fn uptime_may_vouch_for_what_we_did_not_see() {
    let mut rig = Rig::new();
    rig.lock_hour("u1");
    rig.until(HOUR.0 + 600);
    rig.unwatched_until(HOUR.1 - 300);
    rig.restart();
    rig.attested("n1");
    rig.until(HOUR.1 + 5);
    assert_eq!(rig.finalize().map(|s| s.verdict), Ok(Verdict::Inconclusive));
    for track in [Track::Health, Track::Attestation] {
        let (from, until) = (at(HOUR.0 + 600), at(HOUR.0 + 1_900));
        let facts = ReportFacts {
            node: node("n1"),
            track,
            from,
            until,
        };
        rig.run(Command::ReportFacts(facts)).expect("taken");
    }
    rig.tick();
    assert_eq!(settled(&rig), (Verdict::Pass, SettlementState::Settled));
    assert_eq!(rig.posted("n1"), 40_000);
}

#[test]
fn pccs_outage_is_no_miss() {
    let mut rig = Rig::new();
    rig.lock_hour("u1");
    rig.until(HOUR.0 + 600);
    let (epoch, dependency, now) = (rig.epoch(), Dependency::Pccs, at(HOUR.0 + 600));
    rig.run(Command::DependencyDown(DependencyDown {
        epoch,
        dependency,
        at: now,
    }))
    .expect("down");
    let waits = |dependency, at| {
        Command::Waiting(Waiting {
            epoch,
            node: node("n1"),
            dependency,
            at,
        })
    };
    rig.run(waits(Some(dependency), now)).expect("waits");
    let track = Track::Attestation;
    rig.run(Command::TrackClose(TrackClose {
        epoch,
        node: node("n1"),
        track,
        at: now,
    }))
    .expect("closed");
    rig.until(HOUR.0 + 1_200);
    let now = at(HOUR.0 + 1_200);
    rig.run(Command::DependencyUp(DependencyUp {
        epoch,
        dependency,
        at: now,
    }))
    .expect("up");
    rig.run(waits(None, now)).expect("over");
    rig.run(Command::TrackOpen(TrackOpen {
        epoch,
        node: node("n1"),
        track,
        at: now,
    }))
    .expect("opened");
    rig.until(HOUR.1 + 5);
    assert_eq!(
        rig.finalize().map(|settled| settled.verdict),
        Ok(Verdict::Pass)
    );
}

#[test]
fn stranger_cannot_fail_a_node() {
    let mut rig = passed_hour();
    // An epoch that is over, or never was, says nothing.
    for epoch in [0, 7] {
        let (node, cause, at) = (node("n1"), BreachCause::AttestRejected, at(HOUR.0 + 5));
        let told = rig.run(Command::Breach(Breach {
            epoch,
            node,
            cause,
            at,
        }));
        assert_eq!(told, Ok(Outcome::EpochOver));
    }
    assert_eq!(
        rig.finalize().map(|settled| settled.verdict),
        Ok(Verdict::Pass)
    );
}

#[test]
fn failed_register_leaves_no_row() {
    let mut rig = Rig::new();
    rig.run(register("u1", 1)).expect_err("u1 is a user");
    assert!(rig.books.node_shown(&(&node("u1")).into(), at(0)).is_none());
    let epoch = rig.epoch();
    let open = TrackOpen {
        epoch,
        node: node("n9"),
        track: Track::Health,
        at: at(0),
    };
    rig.run(Command::TrackOpen(open)).expect("ignored");
    assert!(rig.books.node_no(&node("n9")).is_none());
}

#[test]
fn node_that_never_connected_earns_nothing() {
    let mut rig = Rig::new();
    rig.run(register("n2", 40_000)).expect("registered");
    rig.lock("u1", "n2", HOUR, None);
    rig.until(HOUR.1 + 5);
    let command = Finalize {
        period: period(HOUR),
        node: None,
    };
    let Ok(Outcome::Finalized(nodes)) = rig.run(Command::Finalize(command)) else {
        panic!("finalized");
    };
    let reasons: Vec<Reason> = nodes[0].reasons.iter().map(|row| row.reason).collect();
    assert_eq!(reasons, [Reason::HealthMiss, Reason::NoEvidence]);
    assert_eq!(rig.posted("u1"), 1_000_000);
}

#[test]
fn registration_that_ends_is_a_gap_in_standing() {
    let mut rig = Rig::new();
    rig.lock_hour("u1");
    let (network, expires_at) = (Network::Sandbox1, at(HOUR.1 - 60));
    let seen = NodeSeen {
        node: node("n1"),
        network,
        vcpus: None,
        platform: None,
        expires_at,
    };
    rig.run(Command::NodeSeen(seen)).expect("seen");
    rig.until(HOUR.1 + 5);
    let settled = rig.finalize().expect("judged");
    assert_eq!(settled.reasons[0].reason, Reason::RegistrationExpired);
}

#[test]
fn half_done_settlement_goes_on_where_it_stopped() {
    let mut rig = Rig::new();
    rig.purchase("u1", 1_000_000_000);
    for _ in 0..45 {
        // Locks without vCPUs of their own: shortfalls of usage.
        rig.report("u1", HOUR, 100);
    }
    rig.until(HOUR.1 + 5);
    let first = rig.settle_some(20);
    assert_eq!(
        (first.state, first.settled),
        (SettlementState::Settling, 20)
    );
    let posted = rig.posted("n1");
    rig.restore();
    assert_eq!(settled(&rig).1, SettlementState::Settling);
    let done = rig.tick();
    assert_eq!((done.judged, done.resolved), (0, 25));
    assert_eq!(settled(&rig), (Verdict::Pass, SettlementState::Settled));
    assert!(rig.posted("n1") > posted);
    assert_eq!(rig.posted("n1"), 45 * 4_000);
}

#[test]
fn what_nothing_needs_is_forgotten() {
    let mut rig = passed_hour();
    rig.until(HOUR.1 + GRACE_S);
    rig.tick();
    let month = 31 * 86_400;
    rig.unwatched_until(HOUR.1 + DEADLINE_S + month + 3_600);
    assert!(rig.books.is_due(at(HOUR.1 + DEADLINE_S + month + 3_600)));
    rig.tick();
    assert_eq!(rig.settlement(), None);
    assert_eq!(
        rig.finalize().map(|told| told.posted),
        Ok(usd(0)),
        "the store knows it still"
    );
}

#[test]
fn no_verdict_before_all_is_told() {
    let policy = crate::books::Policy {
        settlement_grace_s: 0,
        ..crate::books::Policy::documented()
    };
    let mut rig = Rig::with(policy);
    rig.lock_hour("u1");
    rig.until(HOUR.1 - 5);
    rig.unwatched_until(HOUR.1);
    assert_eq!(rig.tick().judged, 0, "the last 5 seconds are not told");
    rig.until(HOUR.1 + 5);
    assert_eq!(rig.tick().judged, 1);
}
