//! The worked example of ROUTING 2, row by row, and what trust can never do.

use proptest::prelude::*;

use super::*;

const TODAY: u32 = 20_000;
/// Health windows of 120 s in a day.
const WINDOWS: u64 = 720;

fn clean(days: u32, pass: u64) -> Record {
    let day = Day {
        ok: WINDOWS,
        pass,
        ..Day::default()
    };
    Record {
        days: (0..days).map(|back| (TODAY - back, day)).collect(),
        abuse: Vec::new(),
    }
}

fn evidence(tcb: TcbStatus, age: u64) -> Evidence {
    Evidence { tcb, age }
}

fn dollars(stake: i64) -> Backing {
    Backing {
        stake: MicroUsd::from_micros(stake * 1_000_000),
        demanded: MicroUsd::from_micros(50_000_000),
    }
}

fn price(micros: i64) -> Price {
    Price::new(MicroUsd::from_micros(micros)).expect("a price")
}

/// A, H, B, S, N, T and E at a price.
fn row(trust: &Trust, posted: i64) -> ([u16; 6], i64) {
    let Trust {
        attestation,
        health,
        settlement,
        stake,
        tenure,
        total,
    } = *trust;
    let factors = [attestation, health, settlement, stake, tenure, total];
    (factors, trust.effective(price(posted)).micros())
}

#[test]
fn weights_are_the_documented_ones() {
    assert_eq!(HEALTH_WEIGHT.iter().sum::<u64>(), 10_798);
    assert_eq!(VERDICT_WEIGHT.iter().sum::<u64>(), 39_188);
}

#[test]
fn the_worked_example_of_routing() {
    let mut record = clean(60, 22);
    for day in record.days.values_mut() {
        day.fail = 2;
    }
    let today = record.days.get_mut(&TODAY).expect("today");
    (today.ok, today.miss) = (WINDOWS - 3, 3);
    let hardening = evidence(TcbStatus::SWHardeningNeeded, 5);
    let n3 = Trust::of(&record, TODAY, hardening, dollars(50));
    assert_eq!(row(&n3, 34_000), ([945, 999, 916, 975, 1_000, 843], 40_333));

    let fresh = |age| evidence(TcbStatus::UpToDate, age);
    let n1 = Trust::of(&clean(120, 24), TODAY, fresh(3), dollars(200));
    assert_eq!(
        row(&n1, 40_000),
        ([985, 999, 998, 1_000, 1_000, 982], 40_734)
    );

    let n2 = Trust::of(&clean(1, 24), TODAY, fresh(1), dollars(100));
    assert_eq!(row(&n2, 36_000), ([995, 998, 970, 1_000, 907, 873], 41_238));

    let mut abused = clean(200, 24);
    abused.abuse.push(TODAY - 89);
    let n4 = Trust::of(&abused, TODAY, fresh(0), dollars(100));
    assert_eq!(
        row(&n4, 30_000),
        ([1_000, 999, 698, 1_000, 1_000, 697], 43_042)
    );
    abused.abuse = vec![TODAY - 90];
    let forgiven = Trust::of(&abused, TODAY, fresh(0), dollars(100));
    assert_eq!(forgiven.settlement, 998, "90 days ago");
}

#[test]
fn nothing_is_known_of_a_newcomer() {
    let nothing = Record::default();
    let none = Backing {
        stake: MicroUsd::ZERO,
        demanded: MicroUsd::ZERO,
    };
    let new = Trust::of(&nothing, TODAY, evidence(TcbStatus::UpToDate, 0), none);
    assert_eq!(
        row(&new, 40_000),
        ([1_000, 950, 900, 1_000, 900, 769], 52_016)
    );
}

#[test]
fn the_worst_node_is_bounded() {
    let day = Day {
        miss: WINDOWS,
        fail: 24,
        ..Day::default()
    };
    let record = Record {
        days: (0..90).map(|back| (TODAY - back, day)).collect(),
        abuse: vec![TODAY; 1_000],
    };
    let worst = Trust::of(
        &record,
        TODAY,
        evidence(TcbStatus::OutOfDate, 99),
        dollars(0),
    );
    assert_eq!(row(&worst, 1_000), ([760, 500, 300, 950, 900, 250], 4_000));
    let dearest = Price::new(MicroUsd::from_micros(AMOUNT_MAX_MICRO_USD)).expect("a price");
    assert_eq!(
        worst.effective(dearest),
        dearest,
        "no price is beyond the most"
    );
}

proptest! {
    /// No better record makes a node dearer, no worse one cheaper.
    #[test]
    fn trust_is_monotone(
        ok in 0..WINDOWS, miss in 0..WINDOWS, pass in 0..24u64, fail in 0..24u64,
        back in 0..120u32, abuse in 0..3usize, posted in 0..10_000_000i64, which in 0..5u8,
    ) {
        let record = |ok, miss, pass, fail, abuse| Record {
            days: [(TODAY - back, Day { ok, miss, pass, fail })].into(),
            abuse: vec![TODAY - back; abuse],
        };
        let fresh = evidence(TcbStatus::UpToDate, 0);
        let of = |record: &Record| Trust::of(record, TODAY, fresh, dollars(60));
        let before = of(&record(ok, miss, pass, fail, abuse));
        let (better, worse) = match which {
            0 => (record(ok + 1, miss, pass, fail, abuse), None),
            1 => (record(ok, miss, pass + 1, fail, abuse), None),
            2 => (record(ok, miss, pass, fail, abuse), Some(record(ok, miss + 1, pass, fail, abuse))),
            3 => (record(ok, miss, pass, fail, abuse), Some(record(ok, miss, pass, fail + 1, abuse))),
            _ => (record(ok, miss, pass, fail, abuse), Some(record(ok, miss, pass, fail, abuse + 1))),
        };
        prop_assert!(of(&better).total >= before.total);
        let posted = price(posted);
        prop_assert!(of(&better).effective(posted) <= before.effective(posted));
        if let Some(worse) = worse {
            prop_assert!(of(&worse).total <= before.total);
        }
        prop_assert!((250..=1_000).contains(&before.total));
        prop_assert!(before.effective(posted) >= posted);
    }
}
