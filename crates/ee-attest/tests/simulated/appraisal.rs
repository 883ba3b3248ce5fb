//! Stages 4, 6, 10 and 11 and the whole pipeline in order.

use ee_attest::{DebugTds, NetworkPolicy, SealedRule};
use ee_core::attestation::{AttestationCode, BindingStrength, Pinning, Verdict};
use ee_protocol::{
    names::Network,
    report_data::{Binding, BindingFields, ReportData, Role},
};
use ee_testbed::{
    dates::DatedItem,
    image::DemoImage,
    platform::{Flaw, SimOptions, SimPlatform},
    quote::QuoteVersion,
    tcb::SimStatus,
};
use serde_json::{Value, json};

use crate::rig::{Attempt, CHANNEL, NOW_S, SEED, fields, reason_of};

fn attempt(change: impl FnOnce(&mut Attempt)) -> String {
    let mut attempt = Attempt::default();
    change(&mut attempt);
    attempt.reason()
}

fn on_sandbox(change: impl FnOnce(&mut Attempt)) -> String {
    let mut attempt = Attempt::on_sandbox();
    change(&mut attempt);
    attempt.reason()
}

#[test]
fn the_released_image_passes_on_both_networks() {
    for version in QuoteVersion::ALL {
        for policy in [Network::Forge1, Network::Sandbox1].map(NetworkPolicy::of) {
            assert_eq!(
                attempt(|it| (it.version, it.policy) = (version, policy)),
                "pass"
            );
        }
    }
    let result = Attempt::default().result();
    assert!(result.sealed && !result.flagged);
    assert_eq!(
        (result.binding, result.pinning),
        (BindingStrength::Channel, Pinning::Full)
    );
    assert_eq!(
        (result.trust_root.as_str(), result.allowlist_entry.as_str()),
        ("simulated", "")
    );
    assert_eq!(result.tcb_eval_data_number, 19);
}

#[test]
fn another_shape_of_the_release_passes_and_a_rebuild_does_not() {
    let shape = DemoImage::new(SEED).on_other_shape();
    let on_shape = |it: &mut Attempt| (it.td, it.event_log) = (shape.td(), Some(shape.event_log()));
    assert_eq!(attempt(on_shape), "pass");
    let rogue = DemoImage::new(SEED).rogue();
    let rebuilt = |it: &mut Attempt| (it.td, it.event_log) = (rogue.td(), Some(rogue.event_log()));
    assert_eq!(attempt(rebuilt), "measurement_mismatch:rtmr2");
}

#[test]
fn every_register_off_by_a_bit_is_named() {
    type Change = fn(&mut ee_testbed::td::Td);
    let changes: [(&str, Change); 9] = [
        ("mrtd", |td| td.mrtd[0] ^= 1),
        ("rtmr0", |td| td.rtmr[0][47] ^= 1),
        ("rtmr1", |td| td.rtmr[1][47] ^= 1),
        ("rtmr2", |td| td.rtmr[2][47] ^= 1),
        ("rtmr3", |td| td.rtmr[3][47] ^= 1),
        ("mr_config_id", |td| td.mr_config_id[0] ^= 1),
        ("mr_owner", |td| td.mr_owner[0] ^= 1),
        ("mr_owner_config", |td| td.mr_owner_config[0] ^= 1),
        ("xfam", |td| td.xfam[0] ^= 1),
    ];
    for (register, change) in changes {
        let reason = attempt(|it| {
            change(&mut it.td);
            it.event_log = None;
        });
        assert_eq!(reason, format!("measurement_mismatch:{register}"));
    }
}

#[test]
fn quote_from_another_session_is_refused() {
    let attempt = Attempt::default();
    let evidence = attempt.evidence();
    let verdict = |fields: BindingFields<'_>| reason_of(attempt.verdict_of(&evidence, &fields));
    let base = fields(&CHANNEL);
    assert_eq!(verdict(base), "pass");
    let other = |exporter: u8, agent: u8, control: u8| Binding::TlsExporter {
        exporter: [exporter; 32],
        agent_spki: [agent; 32],
        control_spki: [control; 32],
    };
    for binding in [
        other(8, 2, 3),
        other(1, 8, 3),
        other(1, 2, 8),
        other(1, 3, 2),
    ] {
        assert_eq!(
            verdict(BindingFields {
                binding: &binding,
                ..base
            }),
            "binding_mismatch"
        );
    }
    for fields in [
        BindingFields {
            role: Role::ControlPlane,
            ..base
        },
        BindingFields {
            reason: "periodic",
            ..base
        },
        BindingFields {
            network: "sandbox-1",
            ..base
        },
        BindingFields {
            repo: "easyenclave/other",
            ..base
        },
        BindingFields {
            release_tag: "v0.1.1",
            ..base
        },
        BindingFields {
            app_name: "other",
            ..base
        },
        BindingFields {
            agent_id: "agent-2",
            ..base
        },
        BindingFields {
            node_id: "node-2",
            ..base
        },
    ] {
        assert_eq!(verdict(fields), "binding_mismatch", "{fields:?}");
    }
}

#[test]
fn quote_without_our_nonce_is_refused() {
    let attempt = Attempt::default();
    let other = BindingFields {
        nonce: &[8; 32],
        ..fields(&CHANNEL)
    };
    assert_eq!(
        reason_of(attempt.verdict_of(&attempt.evidence(), &other)),
        "binding_mismatch"
    );
}

#[test]
fn unbound_and_nonce_bound_quotes_are_too_weak_for_production() {
    let nonce_only = fields(&Binding::None).digest();
    assert_eq!(
        attempt(|it| it.binding_digest = [0; 32]),
        "binding_required"
    );
    assert_eq!(
        attempt(|it| it.binding_digest = nonce_only),
        "binding_required"
    );
    assert_eq!(on_sandbox(|it| it.binding_digest = nonce_only), "pass");
    assert_eq!(
        on_sandbox(|it| it.binding_digest = [0; 32]),
        "binding_required"
    );
    let unbound = on_sandbox(|it| {
        it.binding_digest = [0; 32];
        it.policy.binding_at_least = BindingStrength::None;
    });
    assert_eq!(unbound, "pass");
}

#[test]
fn report_data_and_workload_must_be_the_quotes() {
    let attempt = Attempt::default();
    let mut evidence = attempt.evidence();
    evidence.report_data = ReportData([1; 64]);
    let verdict = attempt.verdict_of(&evidence, &fields(&CHANNEL));
    assert_eq!(reason_of(verdict), "report_data_mismatch");
    let mut evidence = attempt.evidence();
    evidence.claims.vm_image_id.push('x');
    let verdict = attempt.verdict_of(&evidence, &fields(&CHANNEL));
    assert_eq!(reason_of(verdict), "workload_digest_mismatch");
}

#[test]
fn claimed_measurements_that_differ_from_the_release_are_named() {
    let other = "ab".repeat(32);
    let dir = |it: &mut Attempt| it.claims.agent_dir_sha256.clone_from(&other);
    assert_eq!(attempt(dir), "measurement_mismatch:agent_dir_sha256");
    let py = |it: &mut Attempt| it.claims.agent_py_sha256.clone_from(&other);
    assert_eq!(attempt(py), "measurement_mismatch:agent_py_sha256");
    let vm = |it: &mut Attempt| it.claims.vm_image_id.push('x');
    assert_eq!(attempt(vm), "measurement_mismatch:vm_image_id");
    assert_eq!(
        attempt(|it| it.claims.sealed = false),
        "measurement_mismatch:sealed"
    );
}

#[test]
fn event_logs_must_replay() {
    let log = |change: fn(&mut Vec<Value>)| {
        attempt(|it| {
            let Some(Value::Array(events)) = &mut it.event_log else {
                panic!("a log")
            };
            change(events);
        })
    };
    assert_eq!(log(|_| ()), "pass");
    assert_eq!(log(|events| events.swap(2, 3)), "event_log_mismatch");
    assert_eq!(
        log(|events| events.truncate(events.len() - 1)),
        "event_log_mismatch"
    );
    assert_eq!(
        log(|events| events[0]["digest"] = json!("00".repeat(48))),
        "event_log_mismatch"
    );
    assert_eq!(
        log(|events| events[4]["event_payload"] = json!("00")),
        "event_log_invalid"
    );
    assert_eq!(
        log(|events| events[0]["imr"] = json!(9)),
        "event_log_invalid"
    );
    assert_eq!(attempt(|it| it.event_log = None), "pass");
}

#[test]
fn described_application_register_needs_its_events() {
    let image = DemoImage::new(SEED);
    let described = image.allowlist_with_events();
    assert_eq!(attempt(|it| it.allowlist = described.clone()), "pass");
    let without_log = attempt(|it| {
        it.allowlist = described.clone();
        it.event_log = None;
    });
    assert_eq!(without_log, "event_log_invalid");
    let more_than_described = attempt(|it| {
        it.allowlist = described.clone();
        let events = it.allowlist["rtmr3_events"].as_array_mut().expect("events");
        events.pop();
    });
    assert_eq!(more_than_described, "event_log_mismatch");
    let hidden = attempt(|it| {
        it.allowlist = described.clone();
        it.allowlist["rtmr3_events"] = json!([]);
        it.event_log = Some(json!([]));
    });
    assert_eq!(hidden, "event_log_mismatch");
}

#[test]
fn sealed_variable_seals_nothing() {
    let unpin = |register: &'static str| {
        move |it: &mut Attempt| it.allowlist["measurements"][register] = Value::Null
    };
    for register in ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"] {
        assert_eq!(
            attempt(unpin(register)),
            "sealed_claim_mismatch",
            "{register}"
        );
    }
    for register in [
        "mr_config_id",
        "mr_owner",
        "mr_owner_config",
        "td_attributes",
    ] {
        assert_eq!(
            attempt(unpin(register)),
            "pass",
            "{register} is zero or base"
        );
    }
    let prototype = DemoImage::new(SEED).allowlist_1_0();
    assert_eq!(
        on_sandbox(|it| it.allowlist = prototype),
        "sealed_claim_mismatch"
    );
}

#[test]
fn host_configuration_must_be_pinned_or_zero() {
    let reason = attempt(|it| {
        it.td.mr_config_id = [1; 48];
        it.allowlist["measurements"]["mr_config_id"] = Value::Null;
    });
    assert_eq!(reason, "sealed_claim_mismatch");
}

/// An image that honestly says that it is not sealed.
fn unsealed(it: &mut Attempt) {
    it.claims.sealed = false;
    it.allowlist = it.image.allowlist_1_0();
    it.allowlist["measurements"]["sealed"] = json!(false);
    it.allowlist["report_data"] = json!(hex::encode(it.claims.digest()) + &"0".repeat(64));
}

#[test]
fn unsealed_workloads_run_on_the_sandbox_only() {
    assert_eq!(attempt(unsealed), "sealed_required");
    let mut attempt = Attempt::on_sandbox();
    unsealed(&mut attempt);
    let result = attempt.result();
    assert!(!result.sealed);
    assert_eq!(result.pinning, Pinning::None);
}

#[test]
fn unmet_conditions_of_sealed_name_the_field_to_add() {
    let mut attempt = Attempt::default();
    unsealed(&mut attempt);
    let Verdict::Fail(failure) = attempt.verdict() else {
        panic!("refused")
    };
    assert_eq!(failure.code, AttestationCode::SealedRequired);
    let hints: Vec<&str> = failure
        .refusals
        .iter()
        .map(|row| row.hint.as_str())
        .collect();
    assert_eq!(hints.len(), 6, "{hints:?}");
    for field in ["sealed", "mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"] {
        assert!(
            hints.iter().any(|hint| hint.contains(field)),
            "{field}: {hints:?}"
        );
    }
}

/// Every stage spoiled from the last to the first: each earlier defect takes over the verdict.
#[test]
fn first_failing_stage_speaks() {
    let mut attempt = Attempt::default();
    let mut expect = |change: &dyn Fn(&mut Attempt), code: &str| {
        change(&mut attempt);
        assert_eq!(attempt.reason(), code);
    };
    expect(
        &|it| it.allowlist["measurements"]["mrtd"] = Value::Null,
        "sealed_claim_mismatch",
    );
    expect(&|it| it.td.rtmr[1] = [9; 48], "event_log_mismatch");
    expect(
        &|it| {
            let options = SimOptions::default().with_status(SimStatus::ConfigurationNeeded);
            it.platform = SimPlatform::new(SEED, options);
        },
        "tcb_status_refused",
    );
    expect(
        &|it| {
            let options = SimOptions::default().with_flaw(Flaw::IsvSignature);
            it.platform = SimPlatform::new(SEED, options);
        },
        "quote_signature_invalid",
    );
    expect(
        &|it| {
            let options = SimOptions::default().with_flaw(Flaw::IsvSignature);
            it.platform = SimPlatform::new(SEED, options.expired(DatedItem::TcbInfo, NOW_S));
        },
        "collateral_expired",
    );
    expect(
        &|it| it.allowlist["revoked"] = json!(true),
        "allowlist_revoked",
    );
    expect(&|it| it.binding_digest = [1; 32], "binding_mismatch");
    expect(
        &|it| it.td = it.td.clone().with_attribute_bit(0),
        "td_debug",
    );
}

#[test]
fn debuggable_tds_need_a_network_that_says_so() {
    let debug = |it: &mut Attempt| {
        it.td = it.td.clone().with_attribute_bit(0);
        it.allowlist["measurements"]["td_attributes"] = Value::Null;
        unsealed(it);
    };
    assert_eq!(on_sandbox(debug), "td_debug");
    let allowed = on_sandbox(|it| {
        debug(it);
        it.policy.debug_tds = DebugTds::Allowed;
    });
    assert_eq!(allowed, "pass");
}

#[test]
fn tightening_a_policy_never_turns_fail_into_pass() {
    type Tighten = fn(&mut NetworkPolicy);
    let tightenings: [Tighten; 6] = [
        |policy| policy.statuses.clear(),
        |policy| policy.flagged_statuses.clear(),
        |policy| policy.evaluation_lag_max = Some(0),
        |policy| policy.sealed = SealedRule::Required,
        |policy| policy.binding_at_least = BindingStrength::Channel,
        |policy| policy.platforms_allowed = Some(Default::default()),
    ];
    for status in SimStatus::ALL {
        for policy in [NetworkPolicy::forge_1(), NetworkPolicy::sandbox_1()] {
            let platform = SimPlatform::new(SEED, SimOptions::default().with_status(status));
            let loose = Attempt {
                platform,
                policy,
                ..Attempt::default()
            };
            let passes = |attempt: &Attempt| matches!(attempt.verdict(), Verdict::Pass(_));
            let before = passes(&loose);
            for tighten in tightenings {
                let mut policy = loose.policy.clone();
                tighten(&mut policy);
                let platform = loose.platform.clone();
                let tight = Attempt {
                    platform,
                    policy,
                    ..Attempt::default()
                };
                assert!(before || !passes(&tight), "{status:?}");
            }
        }
    }
}
