//! Tightening a policy, the network's or the app's, never turns a fail into a pass.

use std::{collections::BTreeSet, time::Duration};

use ee_attest::{
    Allowlist, DebugTds, Evidence, Finish, NetworkPolicy, PolicyFacts, Reference, SealedRule,
    TdAttributes, VerifiedQuote, finish, policy::OutOfDateGrace,
};
use ee_core::attestation::{BindingStrength, Provenance, TcbStatus};
use ee_testbed::{
    image::DemoImage,
    platform::{SimOptions, SimPlatform},
    quote::QuoteVersion,
    tcb::SimStatus,
};
use serde_json::{Value, json};

use crate::{
    noise::Noise,
    rig::{Attempt, NOW_S, SEED, at, bundle, now, verifier},
};

/// Pairs of policies in the normal run.
const PAIRS: usize = 10_000;
const DAY_S: u64 = 86_400;
const ADVISORIES: [&str; 2] = ["INTEL-SA-00001", "INTEL-SA-00002"];

/// Evidence of one platform, verified once.
struct Sample {
    evidence: Evidence,
    verified: VerifiedQuote,
}

fn samples() -> Vec<Sample> {
    let statuses = SimStatus::ALL
        .into_iter()
        .filter(|status| *status != SimStatus::Revoked);
    statuses
        .flat_map(|status| [true, false].map(|plain| sample(status, plain)))
        .collect()
}

fn sample(status: SimStatus, plain: bool) -> Sample {
    let mut options = SimOptions::default().with_status(status);
    if !plain {
        options.pki.tcb.advisories = vec![ADVISORIES[0].to_owned()];
    }
    let mut attempt = Attempt {
        platform: SimPlatform::new(SEED, options),
        version: QuoteVersion::V5Td15,
        ..Attempt::default()
    };
    if !plain {
        attempt.td = attempt.td.with_attribute_bit(30);
    }
    let evidence = attempt.evidence();
    let verifier = verifier(&attempt.platform);
    let verified = verifier
        .verify_quote(&evidence.quote, &bundle(&attempt.platform), now())
        .expect("a genuine quote");
    Sample { evidence, verified }
}

fn some_statuses(noise: &mut Noise) -> BTreeSet<TcbStatus> {
    TcbStatus::ALL
        .into_iter()
        .filter(|_| !noise.once_in(3))
        .collect()
}

fn any_policy(noise: &mut Noise, sample: &Sample) -> NetworkPolicy {
    let mut policy = match noise.once_in(2) {
        true => NetworkPolicy::forge_1(),
        false => NetworkPolicy::sandbox_1(),
    };
    policy.statuses = some_statuses(noise);
    policy.flagged_statuses = some_statuses(noise);
    policy.out_of_date_grace = (!noise.once_in(3)).then(|| OutOfDateGrace {
        after_first_seen: days(noise, 30),
        tcb_age_max: days(noise, 1_000),
    });
    policy.evaluation_lag_max = (!noise.once_in(3)).then(|| low(noise, 4));
    policy.td_attributes = match noise.once_in(2) {
        true => TdAttributes::BASE,
        false => TdAttributes::BASE.with(TdAttributes::PKS),
    };
    if noise.once_in(2) {
        let module = sample.verified.registers().mr_seam;
        policy.mr_seam_allowed = Some(BTreeSet::from([module]));
    }
    policy
}

fn low(noise: &mut Noise, bound: usize) -> u32 {
    u32::try_from(noise.below(bound)).expect("small")
}

fn days(noise: &mut Noise, bound: usize) -> Duration {
    Duration::from_secs(u64::from(low(noise, bound)) * DAY_S)
}

/// One step tighter in one respect.
fn tighten(noise: &mut Noise, policy: &mut NetworkPolicy, sample: &Sample) {
    let module = sample.verified.registers().mr_seam;
    match noise.below(15) {
        0 => drop_one(noise, &mut policy.statuses),
        1 => drop_one(noise, &mut policy.flagged_statuses),
        2 => policy.out_of_date_grace = None,
        3 => {
            if let Some(grace) = &mut policy.out_of_date_grace {
                grace.after_first_seen = grace.after_first_seen.min(days(noise, 30));
                grace.tcb_age_max = grace.tcb_age_max.min(days(noise, 1_000));
            }
        }
        4 => {
            let lag = low(noise, 4);
            policy.evaluation_lag_max =
                Some(policy.evaluation_lag_max.map_or(lag, |it| it.min(lag)));
        }
        5 => {
            let id = ADVISORIES[noise.below(2)];
            policy.denied_advisories.insert(id.to_owned());
        }
        6 => policy.td_attributes = TdAttributes::BASE,
        7 => policy.pinnable_attributes = TdAttributes::from_bytes([0; 8]),
        8 => policy.debug_tds = DebugTds::Refused,
        9 => policy.mr_seam_allowed = Some(BTreeSet::new()),
        10 => {
            policy.mr_seam_denied.insert(module);
        }
        11 => policy.platforms_allowed = Some(BTreeSet::from([[9; 32]])),
        12 => {
            policy.platforms_denied.insert([4; 32]);
        }
        13 => policy.sealed = SealedRule::Required,
        _ => policy.binding_at_least = BindingStrength::Channel,
    }
}

fn drop_one(noise: &mut Noise, statuses: &mut BTreeSet<TcbStatus>) {
    let status = TcbStatus::ALL[noise.below(TcbStatus::ALL.len())];
    statuses.remove(&status);
}

fn any_facts(noise: &mut Noise) -> PolicyFacts {
    let seen = NOW_S - u64::from(low(noise, 30)) * DAY_S;
    PolicyFacts {
        out_of_date_since: (!noise.once_in(4)).then(|| at(seen)),
        newest_evaluation: 18 + low(noise, 5),
        platform: [None, Some([4; 32]), Some([9; 32])][noise.below(3)],
    }
}

/// The app's rules, and the same tightened.
fn allowlists(noise: &mut Noise, base: &Value) -> [Allowlist; 2] {
    let mut rules = json!({});
    let loose = with_rules(base, &rules);
    for _ in 0..noise.below(3) {
        match noise.below(3) {
            0 => {
                let kept: Vec<&str> = some_statuses(noise)
                    .into_iter()
                    .map(|it| it.as_str())
                    .collect();
                rules["statuses"] = json!(kept);
            }
            1 => rules["min_tcb_date"] = json!("2026-01-01T00:00:00Z"),
            _ => rules["reject_advisories"] = json!([ADVISORIES[noise.below(2)]]),
        }
    }
    [loose, with_rules(base, &rules)]
}

fn with_rules(allowlist: &Value, rules: &Value) -> Allowlist {
    let mut allowlist = allowlist.clone();
    allowlist["measurements"]["td_attributes"] = Value::Null;
    allowlist["tcb_policy"] = rules.clone();
    let text = serde_json::to_vec(&allowlist).expect("JSON");
    Allowlist::parse(&text).expect("an allowlist")
}

fn passes(
    sample: &Sample,
    policy: &NetworkPolicy,
    allowlist: &Allowlist,
    facts: &PolicyFacts,
) -> bool {
    let input = Finish {
        evidence: &sample.evidence,
        verified: &sample.verified,
        binding: BindingStrength::Channel,
        reference: Reference {
            allowlist,
            release_tag: DemoImage::TAG,
            provenance: Provenance::Release,
        },
        policy,
        facts,
        now: now(),
    };
    finish(&input).is_ok()
}

#[test]
fn no_tightening_of_any_policy_turns_a_fail_into_a_pass() {
    let mut noise = Noise(0x5eed_0010);
    let samples = samples();
    let base = DemoImage::new(SEED).allowlist();
    let (mut passed, mut lost) = (0, 0);
    for number in 0..PAIRS {
        let sample = &samples[noise.below(samples.len())];
        let policy = any_policy(&mut noise, sample);
        let facts = any_facts(&mut noise);
        let mut tight = policy.clone();
        for _ in 0..=noise.below(3) {
            tighten(&mut noise, &mut tight, sample);
        }
        let [loose_app, tight_app] = allowlists(&mut noise, &base);
        let before = passes(sample, &policy, &loose_app, &facts);
        let after = passes(sample, &tight, &tight_app, &facts);
        assert!(
            before || !after,
            "pair {number}: {policy:?} against {tight:?}"
        );
        passed += usize::from(before);
        lost += usize::from(before && !after);
    }
    assert!(passed > PAIRS / 20, "{passed}: too few pass at all");
    assert!(lost > PAIRS / 50, "{lost}: too few are affected");
}
