//! Stage 9: statuses, grace, evaluation numbers, advisories, attributes, platforms.

use std::collections::BTreeSet;

use ee_attest::{NetworkPolicy, PolicyFacts};
use ee_testbed::{
    platform::{SimOptions, SimPlatform},
    quote::QuoteVersion,
    tcb::SimStatus,
};
use serde_json::json;

use crate::rig::{Attempt, NOW_S, SEED, at};

const DAY_S: u64 = 86_400;

fn platform(status: SimStatus) -> SimPlatform {
    SimPlatform::new(SEED, SimOptions::default().with_status(status))
}

fn reason(status: SimStatus, policy: NetworkPolicy, change: impl FnOnce(&mut Attempt)) -> String {
    let version = QuoteVersion::V5Td15;
    let mut attempt = Attempt {
        platform: platform(status),
        policy,
        version,
        ..Attempt::default()
    };
    change(&mut attempt);
    attempt.reason()
}

#[test]
fn statuses_are_judged_by_network() {
    use SimStatus as S;
    for status in S::ALL {
        let on = |policy| reason(status, policy, |_| ());
        let production = match status {
            S::UpToDate | S::TdRelaunchAdvised => "pass",
            S::OutOfDate | S::OutOfDateConfigurationNeeded => "pass",
            S::Revoked => "tcb_revoked",
            S::SwHardeningNeeded
            | S::ConfigurationNeeded
            | S::ConfigurationAndSwHardeningNeeded
            | S::TdRelaunchAdvisedConfigurationNeeded => "tcb_status_refused",
        };
        let sandbox = if status == S::Revoked {
            "tcb_revoked"
        } else {
            "pass"
        };
        assert_eq!(on(NetworkPolicy::forge_1()), production, "{status:?}");
        assert_eq!(on(NetworkPolicy::sandbox_1()), sandbox, "{status:?}");
    }
}

#[test]
fn reservations_show_in_the_result() {
    let flagged = |status, policy| {
        let version = QuoteVersion::V5Td15;
        let platform = platform(status);
        Attempt {
            platform,
            policy,
            version,
            ..Attempt::default()
        }
        .result()
        .flagged
    };
    assert!(!flagged(SimStatus::UpToDate, NetworkPolicy::forge_1()));
    assert!(!flagged(
        SimStatus::TdRelaunchAdvised,
        NetworkPolicy::forge_1()
    ));
    assert!(flagged(SimStatus::OutOfDate, NetworkPolicy::forge_1()));
    assert!(flagged(
        SimStatus::ConfigurationNeeded,
        NetworkPolicy::sandbox_1()
    ));
}

#[test]
fn grace_counts_from_our_first_sight_and_ends_on_the_day() {
    let since = |age_s: u64| {
        reason(SimStatus::OutOfDate, NetworkPolicy::forge_1(), |it| {
            it.facts.out_of_date_since = Some(at(NOW_S - age_s));
        })
    };
    assert_eq!(since(0), "pass");
    assert_eq!(since(14 * DAY_S - 1), "pass");
    assert_eq!(since(14 * DAY_S), "tcb_grace_over");
}

#[test]
fn no_grace_for_levels_older_than_two_years() {
    let later = reason(SimStatus::OutOfDate, NetworkPolicy::forge_1(), |it| {
        it.now_s = NOW_S + 3 * 365 * DAY_S;
    });
    assert_eq!(later, "tcb_too_old");
}

#[test]
fn old_evaluation_with_fresh_lists_is_refused() {
    let newest = |newest_evaluation: u32| {
        reason(SimStatus::UpToDate, NetworkPolicy::forge_1(), |it| {
            it.facts = PolicyFacts {
                newest_evaluation,
                ..it.facts
            };
        })
    };
    assert_eq!(newest(20), "pass", "TCB info and QE identity differ by one");
    assert_eq!(newest(21), "tcb_eval_too_low");
    let sandbox = reason(SimStatus::UpToDate, NetworkPolicy::sandbox_1(), |it| {
        it.facts.newest_evaluation = 99;
    });
    assert_eq!(sandbox, "pass");
}

#[test]
fn denied_advisories_are_refused_and_others_pass() {
    let with = |denied: &str, by_app: &str| {
        let mut options = SimOptions::default();
        options.pki.tcb.advisories = vec!["INTEL-SA-00001".to_owned(), "INTEL-SA-00002".to_owned()];
        let mut attempt = Attempt {
            platform: SimPlatform::new(SEED, options),
            ..Attempt::default()
        };
        attempt.policy.denied_advisories.insert(denied.to_owned());
        attempt.allowlist["tcb_policy"] = json!({"reject_advisories": [by_app]});
        attempt.reason()
    };
    assert_eq!(with("INTEL-SA-09999", "INTEL-SA-09999"), "pass");
    assert_eq!(with("INTEL-SA-00002", "INTEL-SA-09999"), "advisory_refused");
    assert_eq!(with("INTEL-SA-09999", "INTEL-SA-00001"), "advisory_refused");
}

#[test]
fn an_app_may_tighten() {
    let tightened = |policy: serde_json::Value| {
        let mut attempt = Attempt::default();
        attempt.allowlist["tcb_policy"] = policy;
        attempt.reason()
    };
    assert_eq!(tightened(json!({"statuses": ["UpToDate"]})), "pass");
    assert_eq!(
        tightened(json!({"statuses": ["OutOfDate"]})),
        "tcb_status_refused"
    );
    assert_eq!(
        tightened(json!({"min_tcb_date": "2001-01-01T00:00:00Z"})),
        "pass"
    );
    assert_eq!(
        tightened(json!({"min_tcb_date": "2031-01-01T00:00:00Z"})),
        "tcb_too_old"
    );
    let loosened = reason(
        SimStatus::ConfigurationNeeded,
        NetworkPolicy::forge_1(),
        |it| {
            it.allowlist["tcb_policy"] = json!({"statuses": ["ConfigurationNeeded"]});
        },
    );
    assert_eq!(loosened, "tcb_status_refused", "an app cannot loosen");
}

#[test]
fn attributes_need_the_network_and_a_pin() {
    let with = |bit: u32, pinned: bool, policy: NetworkPolicy| {
        let mut attempt = Attempt {
            policy,
            ..Attempt::default()
        };
        attempt.td = attempt.td.with_attribute_bit(bit);
        let attributes = hex::encode(attempt.td.td_attributes);
        let pin = if pinned {
            json!(attributes)
        } else {
            serde_json::Value::Null
        };
        attempt.allowlist["measurements"]["td_attributes"] = pin;
        attempt.reason()
    };
    for bit in [16, 27, 30] {
        assert_eq!(
            with(bit, true, NetworkPolicy::forge_1()),
            "pass",
            "bit {bit}"
        );
        assert_eq!(
            with(bit, false, NetworkPolicy::forge_1()),
            "td_attributes_refused"
        );
    }
    for bit in [31, 63] {
        assert_eq!(
            with(bit, true, NetworkPolicy::forge_1()),
            "td_attributes_refused"
        );
        assert_eq!(
            with(bit, true, NetworkPolicy::sandbox_1()),
            "pass",
            "bit {bit}"
        );
    }
    for bit in [18, 22, 62] {
        assert_eq!(
            with(bit, true, NetworkPolicy::sandbox_1()),
            "td_attributes_refused"
        );
    }
}

#[test]
fn modules_and_platforms_can_be_refused() {
    let with = |change: fn(&mut Attempt)| {
        let mut attempt = Attempt::default();
        attempt.facts.platform = Some([4; 32]);
        change(&mut attempt);
        attempt.reason()
    };
    assert_eq!(with(|_| ()), "pass");
    let denied = with(|it| {
        it.policy.mr_seam_denied.insert(it.td.mr_seam);
    });
    assert_eq!(denied, "platform_refused");
    assert_eq!(
        with(|it| it.policy.mr_seam_allowed = Some(BTreeSet::new())),
        "platform_refused"
    );
    let denied = with(|it| {
        it.policy.platforms_denied.insert([4; 32]);
    });
    assert_eq!(denied, "platform_refused");
    let allowed = with(|it| it.policy.platforms_allowed = Some(BTreeSet::from([[4; 32]])));
    assert_eq!(allowed, "pass");
}
