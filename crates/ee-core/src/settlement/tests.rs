//! The judge against the table of LEDGER 7, against the naive judge, and against itself.

use std::time::Duration;

use ee_protocol::time::Timestamp;
use proptest::prelude::*;

use super::{
    naive::{Case, any_fact, at, case},
    *,
};
use crate::books::rows::ObserverRow;
use crate::facts::{
    Dependency, Ending, Epoch, Fact, FactKind, Observers, Track, evidence::Gathering,
};
use ee_protocol::account::ClientId;

const OLD: Epoch = Epoch(41);
const NEW: Epoch = Epoch(42);
const COMEBACK: Duration = Duration::from_secs(120);

/// A time of day on the day of the example.
fn clock(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(&format!("2026-11-22T{text}Z")).expect("a time of day")
}

fn hour() -> Span {
    Span::new(clock("13:00:00"), clock("14:00:00")).expect("not empty")
}

/// Epoch 41 beats last at 13:25:00, 42 starts when it is said to.
fn observers(new_start: &str) -> Observers {
    let observer = |started, watermark, ending| ObserverRow {
        epoch: 0,
        replica: ClientId::parse("r0").expect("an id"),
        started: clock(started),
        watermark: clock(watermark),
        drained: None,
        ending,
    };
    Observers::from([
        (OLD, observer("00:00:00", "13:25:00", Ending::Lost)),
        (NEW, observer(new_start, "14:00:05", Ending::Open)),
    ])
}

/// Both tracks of the old epoch, cut by its crash, and the attestation that began them.
fn before_the_crash() -> Vec<Fact> {
    let cut = |track| {
        Fact::open(FactKind::Covered(track), OLD, clock("12:50:00"))
            .ended(clock("13:25:00"), Ending::Lost)
    };
    vec![cut(Track::Health), cut(Track::Attestation)]
}

fn attested_again(at: &str) -> Vec<Fact> {
    let open = |track| Fact::open(FactKind::Covered(track), NEW, clock(at));
    vec![open(Track::Health), open(Track::Attestation)]
}

fn told(facts: &[Fact], new_start: &str, outages: &[Fact]) -> Judgement {
    let observers = observers(new_start);
    let gathering = Gathering {
        facts,
        observers: &observers,
        outages,
        comeback: COMEBACK,
    };
    judge(&gathering.evidence(hour()))
}

fn finding(verdict: &Judgement, reason: Reason) -> Finding {
    let found = verdict.findings.iter().find(|found| found.reason == reason);
    found.cloned().expect("a finding")
}

const SECOND_US: u64 = 1_000_000;

#[test]
fn n1_reconnects_in_time_and_passes() {
    let facts = [before_the_crash(), attested_again("13:31:55")].concat();
    let verdict = told(&facts, "13:31:30", &[]);
    assert_eq!(verdict.verdict, Verdict::Pass);
    assert_eq!(verdict.covered_us, 3_185 * SECOND_US);
    assert_eq!(verdict.excused_us, 415 * SECOND_US);
    assert_eq!(verdict.findings, []);
}

#[test]
fn n2_comes_back_too_late_after_our_outage() {
    let facts = [before_the_crash(), attested_again("13:34:00")].concat();
    let verdict = told(&facts, "13:31:30", &[]);
    assert_eq!(verdict.verdict, Verdict::Fail);
    let miss = Finding {
        reason: Reason::HealthMiss,
        first: clock("13:33:30"),
        last: clock("13:34:00"),
        count: 1,
        excused_ms: 510_000,
    };
    assert_eq!(verdict.findings, [miss]);
}

#[test]
fn n3_says_that_its_backend_is_not_well() {
    let mut facts = [before_the_crash(), attested_again("13:31:55")].concat();
    facts[2] = facts[2].ended(clock("13:50:00"), Ending::Seen);
    let health = FactKind::Covered(Track::Health);
    facts.push(Fact::open(health, NEW, clock("13:51:00")));
    let fail = FactKind::Breach(Breach::HealthFail);
    facts.push(Fact::instant(fail, NEW, clock("13:50:00")));
    let verdict = told(&facts, "13:31:30", &[]);
    assert_eq!(verdict.verdict, Verdict::Fail);
    assert_eq!(
        finding(&verdict, Reason::HealthFail).first,
        clock("13:50:00")
    );
    assert_eq!(finding(&verdict, Reason::HealthFail).count, 1);
}

#[test]
fn n4_waits_for_collateral_that_is_down() {
    let mut facts = [before_the_crash(), attested_again("13:41:20")].concat();
    let waiting = Span::new(clock("13:31:40"), clock("13:41:20")).expect("not empty");
    facts.push(Fact::past(
        FactKind::Waiting(Dependency::Pccs),
        NEW,
        waiting,
    ));
    let down = Fact::past(FactKind::Down(Dependency::Pccs), NEW, waiting);
    let verdict = told(&facts, "13:31:30", &[down]);
    assert_eq!(verdict.verdict, Verdict::Pass);
    assert_eq!(verdict.covered_us, 2_620 * SECOND_US);
    // Neither the wait nor the outage excuses by itself.
    assert_eq!(told(&facts, "13:31:30", &[]).verdict, Verdict::Fail);
    let waited_for_nothing = facts.pop().map(|_| told(&facts, "13:31:30", &[down]));
    assert_eq!(waited_for_nothing.map(|v| v.verdict), Some(Verdict::Fail));
}

#[test]
fn n5_was_seen_for_less_than_half() {
    let facts = [before_the_crash(), attested_again("13:56:20")].concat();
    let verdict = told(&facts, "13:56:00", &[]);
    assert_eq!(verdict.verdict, Verdict::Inconclusive);
    assert_eq!(verdict.covered_us, 1_720 * SECOND_US);
    assert_eq!(split_without_fault(40_000, &verdict), 19_111);
    assert_eq!(
        finding(&verdict, Reason::Inconclusive).excused_ms,
        1_880_000
    );
}

#[test]
fn no_evidence_is_not_a_pass() {
    let verdict = told(&[], "13:31:30", &[]);
    assert_eq!(
        verdict.verdict,
        Verdict::Fail,
        "somebody watched and saw nothing"
    );
    assert_eq!(finding(&verdict, Reason::NoEvidence).count, 1);
    let nobody = Observers::new();
    let gathering = Gathering {
        facts: &[],
        observers: &nobody,
        outages: &[],
        comeback: COMEBACK,
    };
    let unwatched = judge(&gathering.evidence(hour()));
    assert_eq!(unwatched.verdict, Verdict::Inconclusive);
    assert_eq!(split_without_fault(40_000, &unwatched), 0);
}

#[test]
fn one_failure_is_one_breach() {
    let silent = |track| {
        Fact::open(FactKind::Covered(track), NEW, clock("12:00:00"))
            .ended(clock("13:40:00"), Ending::Seen)
    };
    let timeout = FactKind::Breach(Breach::HealthTimeout);
    let facts = [
        silent(Track::Health),
        silent(Track::Attestation),
        Fact::instant(timeout, NEW, clock("13:40:00")),
    ];
    let verdict = told(&facts, "11:00:00", &[]);
    assert_eq!(verdict.findings.len(), 1, "{:?}", verdict.findings);
    assert_eq!(finding(&verdict, Reason::HealthMiss).count, 1);
}

#[test]
fn agent_fail_at_noon_fails() {
    let mut facts = attested_again("11:00:00");
    facts.push(Fact::instant(
        FactKind::Breach(Breach::HealthFail),
        NEW,
        clock("13:59:59"),
    ));
    assert_eq!(told(&facts, "10:00:00", &[]).verdict, Verdict::Fail);
    facts.pop();
    facts.push(Fact::instant(
        FactKind::Breach(Breach::HealthFail),
        NEW,
        clock("14:00:00"),
    ));
    assert_eq!(
        told(&facts, "10:00:00", &[]).verdict,
        Verdict::Pass,
        "the next period's"
    );
}

#[test]
fn today_does_not_fail_last_month() {
    let mut facts = attested_again("11:00:00");
    let later = clock("13:00:00").after(Duration::from_secs(30 * 86_400));
    facts.push(Fact::instant(
        FactKind::Breach(Breach::AttestRejected),
        NEW,
        later,
    ));
    assert_eq!(told(&facts, "10:00:00", &[]).verdict, Verdict::Pass);
}

#[test]
fn standing_is_never_excused() {
    let mut facts = attested_again("11:00:00");
    let gap = Span::new(clock("13:26:00"), clock("13:27:00")).expect("not empty");
    facts.push(Fact::past(FactKind::Lack(Lack::Stake), Epoch::NONE, gap));
    let verdict = told(&facts, "13:31:30", &[]);
    assert_eq!(verdict.verdict, Verdict::Fail);
    assert_eq!(finding(&verdict, Reason::StakeMissing).count, 1);
}

/// From worst to best, for the node.
fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fail => 0,
        Verdict::Inconclusive => 1,
        Verdict::Pass => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_judge_sees_what_each_second_shows(case in case()) {
        let told = case.verdict();
        let (verdict, reasons, covered, excused) = case.naive();
        let found: Vec<Reason> = told.findings.iter().map(|found| found.reason).collect();
        prop_assert_eq!(told.verdict, verdict);
        prop_assert_eq!(found, reasons.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(told.covered_us, covered * SECOND_US);
        prop_assert_eq!(told.excused_us, excused * SECOND_US);
    }

    #[test]
    fn judge_is_monotone(case in case(), more in any_fact(), time in (0_i64..120, 1_i64..60)) {
        let before = case.verdict().verdict;
        let after = Case { facts: [case.facts.clone(), vec![more]].concat(), ..case.clone() }
            .verdict()
            .verdict;
        match more.kind {
            FactKind::Covered(_) | FactKind::Waiting(_) => prop_assert!(rank(after) >= rank(before)),
            FactKind::Breach(_) | FactKind::Lack(_) => prop_assert!(rank(after) <= rank(before)),
            FactKind::Down(_) => {}
        }
        let mut evidence = case.gathering().evidence(case.window());
        let excuse = Span::new(at(time.0), at(time.0 + time.1));
        evidence.excused = evidence.excused.union(&excuse.into_iter().collect());
        prop_assert!(rank(judge(&evidence).verdict) >= rank(before));
    }
}
