//! What is said of a node, word for word.

use super::*;
use crate::session::rig::{seconds, start};

const REACH: Reach = Reach {
    health: Duration::from_secs(120),
    attestation: Duration::from_secs(3_630),
};

fn node() -> ProvenNode {
    ProvenNode::by_token(NodeId::parse("n1").expect("a node id"))
}

/// A watch that has watched an attested node since second 0.
fn watching() -> Watch {
    let mut watch = Watch::new(REACH, start());
    watch.attested(&node(), FirstPass::Health, start());
    let opened = told(&mut watch);
    assert_eq!(opened, ["start 0", "attestation open 0", "health open 0"]);
    watch
}

fn at(second: u64) -> Timestamp {
    start().after(seconds(second))
}

/// Beats every 5 s in (from, until].
fn beats(watch: &mut Watch, from: u64, until: u64) {
    for second in (from + 5..=until).step_by(5) {
        watch.beat(at(second));
    }
}

/// The notices but beats, in short.
fn told(watch: &mut Watch) -> Vec<String> {
    std::iter::from_fn(|| watch.poll())
        .filter(|notice| !matches!(notice, Notice::Beat { .. }))
        .map(|notice| word(&notice))
        .collect()
}

fn word(notice: &Notice) -> String {
    let second = |at: &Timestamp| at.since(start()).as_secs();
    let name = |track: &Track| match track {
        Track::Health => "health",
        Track::Attestation => "attestation",
    };
    match notice {
        Notice::Start { at } => format!("start {}", second(at)),
        Notice::Beat { watermark } => format!("beat {}", second(watermark)),
        Notice::Drained { at } => format!("drained {}", second(at)),
        Notice::Stop { at } => format!("stop {}", second(at)),
        Notice::TrackOpen { track, at, .. } => format!("{} open {}", name(track), second(at)),
        Notice::TrackClose { track, at, .. } => format!("{} close {}", name(track), second(at)),
        Notice::Breach { breach, at, .. } => format!("{breach:?} {}", second(at)),
        Notice::Waiting { dependency, at, .. } => format!("waits {dependency:?} {}", second(at)),
        Notice::Dependency {
            dependency,
            state,
            at,
        } => {
            format!("{dependency:?} {state:?} {}", second(at))
        }
    }
}

#[test]
fn heartbeats_that_pass_are_not_facts() {
    let mut watch = watching();
    for minute in 1..50 {
        beats(&mut watch, minute * 60 - 60, minute * 60);
        watch.passed(&node(), at(minute * 60));
    }
    assert_eq!(told(&mut watch), [""; 0]);
}

#[test]
fn blip_is_no_miss() {
    let mut watch = watching();
    beats(&mut watch, 0, 115);
    watch.left(&node(), at(30));
    watch.attested(&node(), FirstPass::Health, at(119));
    beats(&mut watch, 115, 235);
    assert_eq!(told(&mut watch), [""; 0]);
}

#[test]
fn silence_is_a_miss_where_the_last_pass_runs_out() {
    let mut watch = watching();
    beats(&mut watch, 0, 200);
    assert_eq!(told(&mut watch), ["health close 120", "HealthTimeout 120"]);
    watch.passed(&node(), at(201));
    assert_eq!(told(&mut watch), ["health open 201"]);
}

#[test]
fn one_failure_is_one_breach() {
    let mut watch = watching();
    for second in [10, 15, 20] {
        watch.failed(&node(), at(second));
    }
    assert_eq!(told(&mut watch), ["health close 10", "HealthFail 10"]);
    watch.passed(&node(), at(25));
    watch.failed(&node(), at(30));
    assert_eq!(
        told(&mut watch),
        ["health open 25", "health close 30", "HealthFail 30"]
    );
}

#[test]
fn refused_evidence_cuts_the_attestation() {
    let mut watch = watching();
    watch.rejected(&node(), at(10));
    assert_eq!(
        told(&mut watch),
        ["attestation close 10", "AttestRejected 10"]
    );
}

#[test]
fn a_pass_that_runs_out_while_its_successor_waits_is_no_breach() {
    let mut watch = watching();
    watch.dependency(Dependency::Pccs, DependencyState::Down, at(3));
    for second in (0..=3_660).step_by(5) {
        watch.passed(&node(), at(second));
        if second == 3_600 {
            watch.waiting(&node(), Dependency::Pccs, at(second));
        }
        watch.beat(at(second));
    }
    watch.attested(&node(), FirstPass::AttestationOnly, at(3_661));
    let told = told(&mut watch);
    assert_eq!(told[0], "Pccs Down 3");
    assert_eq!(
        told[1..],
        [
            "waits Some(Pccs) 3600",
            "attestation close 3630",
            "waits None 3661",
            "attestation open 3661",
        ]
    );
}

#[test]
fn what_a_silent_observer_missed_is_cut_and_said_again() {
    let mut watch = watching();
    watch.passed(&node(), at(5));
    watch.beat(at(5));
    watch.beat(at(100));
    assert_eq!(
        told(&mut watch),
        ["start 100", "health open 100", "attestation open 100"],
        "the pass at 5 holds until 125"
    );
    watch.beat(at(300));
    assert_eq!(
        told(&mut watch),
        ["start 300", "attestation open 300"],
        "no miss is said"
    );
}

#[test]
fn a_lost_notice_begins_a_new_epoch() {
    let mut watch = watching();
    watch.failed(&node(), at(3));
    watch.restart(at(4));
    assert_eq!(told(&mut watch), ["start 4", "attestation open 4"]);
}

#[test]
fn our_end_is_said() {
    let mut watch = watching();
    watch.drained(at(3));
    watch.stopped(at(8));
    assert_eq!(told(&mut watch), ["drained 3", "stop 8"]);
}
