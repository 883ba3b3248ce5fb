//! The eight gates, one at a time and together.

use ee_protocol::{
    names::{AgentId, AppName, Network, NodeId, ReleaseTag},
    time::Timestamp,
};
use proptest::prelude::*;

use super::*;
use crate::{
    attestation::BindingStrength,
    books::funding::StakeStanding,
    registry::{Invalid, Passed},
    session::rig::{policy, seconds, start},
};

fn passed(at: Timestamp) -> Passed {
    Passed {
        at,
        sealed: true,
        binding: BindingStrength::Channel,
        result: None,
    }
}

fn node() -> Node {
    Node {
        id: NodeId::parse("n1").unwrap(),
        app: AppName::parse("myapp").unwrap(),
        agent_id: AgentId::parse("n1").unwrap(),
        release_tag: ReleaseTag::parse("v1").unwrap(),
        network: Network::Forge1,
        registered_at: start(),
        expires_at: start().after(policy().registration_ttl),
        attestation: AttestationState::Valid(passed(start())),
        health: Some(HealthWord::Pass),
        last_health_at: Some(start()),
        presence: Presence::Registered,
        banned: false,
        stake: StakeStanding::Missing,
    }
}

fn invalid() -> AttestationState {
    let (reason, last_pass) = ("tcb_revoked".to_owned(), Some(passed(start())));
    AttestationState::Invalid(Invalid {
        at: start(),
        reason,
        last_pass,
    })
}

fn codes(node: &Node, now: Timestamp) -> Vec<GateCode> {
    assess(node, &policy(), now).reasons().collect()
}

#[test]
fn each_gate_closes_with_its_code() {
    type Change = fn(&mut Node);
    let cases: [(Change, &[GateCode]); 11] = [
        (|_| {}, &[]),
        (
            |n| n.presence = Presence::Released,
            &[GateCode::NotRegistered],
        ),
        (|n| n.expires_at = start(), &[GateCode::RegistrationExpired]),
        (
            |n| n.attestation = AttestationState::Unknown,
            &[GateCode::AttestationUnknown],
        ),
        (
            |n| n.attestation = invalid(),
            &[GateCode::AttestationInvalid],
        ),
        (
            |n| n.health = Some(HealthWord::Fail),
            &[GateCode::HealthFail],
        ),
        (|n| n.health = None, &[GateCode::HealthTimeout]),
        (
            |n| {
                let sealed = false;
                n.attestation = AttestationState::Valid(Passed {
                    sealed,
                    ..passed(start())
                });
            },
            &[GateCode::SealedRequired],
        ),
        (
            |n| {
                let binding = BindingStrength::Nonce;
                n.attestation = AttestationState::Valid(Passed {
                    binding,
                    ..passed(start())
                });
            },
            &[GateCode::BindingRequired],
        ),
        (
            |n| n.presence = Presence::AdminDrains,
            &[GateCode::Draining],
        ),
        (|n| n.banned = true, &[GateCode::Banned]),
    ];
    for (change, expected) in cases {
        let mut node = node();
        change(&mut node);
        assert_eq!(codes(&node, start()), expected);
    }
}

#[test]
fn sandbox_serves_unsealed_nodes_bound_by_nonce() {
    let passed = Passed {
        sealed: false,
        binding: BindingStrength::Nonce,
        ..passed(start())
    };
    let mut node = Node {
        network: Network::Sandbox1,
        attestation: AttestationState::Valid(passed.clone()),
        ..node()
    };
    assert_eq!(codes(&node, start()), []);
    let unbound = Passed {
        binding: BindingStrength::None,
        ..passed
    };
    node.attestation = AttestationState::Valid(unbound);
    assert_eq!(codes(&node, start()), [GateCode::BindingRequired]);
}

#[test]
fn first_request_after_attest_is_served() {
    // A passed attestation is the first pass of health: nothing waits for a heartbeat.
    assert!(assess(&node(), &policy(), start()).eligible().is_ok());
}

#[test]
fn warning_window_serves() {
    let mut node = node();
    let last_moment = node.expires_at.before(std::time::Duration::from_micros(1));
    node.attestation = AttestationState::Valid(passed(last_moment));
    node.last_health_at = Some(last_moment);
    assert!(last_moment > policy().warning_begins(node.expires_at));
    assert_eq!(codes(&node, last_moment), []);
    assert_eq!(
        codes(&node, node.expires_at),
        [GateCode::RegistrationExpired]
    );
}

#[test]
fn health_counts_to_the_microsecond() {
    let node = node();
    let end = start().after(policy().health_timeout);
    assert_eq!(
        codes(&node, end.before(std::time::Duration::from_micros(1))),
        []
    );
    assert_eq!(codes(&node, end), [GateCode::HealthTimeout]);
    assert_eq!(
        assess(&node, &policy(), start())
            .eligible()
            .unwrap()
            .valid_until(),
        end
    );
}

#[test]
fn a_pass_counts_for_interval_and_deadline() {
    let mut node = node();
    let end = start().after(seconds(3_600 + 30));
    node.last_health_at = Some(end);
    assert_eq!(codes(&node, end.before(seconds(1))), []);
    assert_eq!(codes(&node, end), [GateCode::AttestationStale]);
}

#[test]
fn while_no_verdict_can_be_reached_the_last_pass_stands_a_day() {
    let mut node = node();
    node.attestation = AttestationState::Waiting(passed(start()));
    let end = start().after(WAITING_MAX);
    node.last_health_at = Some(end);
    assert_eq!(codes(&node, end.before(seconds(1))), []);
    assert_eq!(codes(&node, end), [GateCode::AttestationStale]);
}

#[test]
fn order_of_codes_is_the_order_of_gates() {
    let words: Vec<&str> = GateCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(
        words,
        [
            "not_registered",
            "registration_expired",
            "attestation_unknown",
            "attestation_invalid",
            "attestation_stale",
            "health_fail",
            "health_timeout",
            "sealed_required",
            "binding_required",
            "stake_missing",
            "stake_insufficient",
            "draining",
            "banned",
        ]
    );
    assert!(GateCode::ALL.is_sorted() && Gate::ALL.is_sorted());
}

fn any_node() -> impl Strategy<Value = Node> {
    let attestation = prop_oneof![
        Just(AttestationState::Unknown),
        Just(invalid()),
        (0_u64..200_000, any::<bool>()).prop_map(|(at, sealed)| {
            AttestationState::Valid(Passed {
                sealed,
                ..passed(start().after(seconds(at)))
            })
        }),
        (0_u64..200_000)
            .prop_map(|at| { AttestationState::Waiting(passed(start().after(seconds(at)))) }),
    ];
    let health = prop_oneof![
        Just(None),
        Just(Some(HealthWord::Pass)),
        Just(Some(HealthWord::Fail))
    ];
    let presence = prop_oneof![
        Just(Presence::Registered),
        Just(Presence::AgentDrains),
        Just(Presence::Released)
    ];
    (
        attestation,
        health,
        0_u64..200_000,
        0_u64..200_000,
        presence,
        any::<bool>(),
    )
        .prop_map(|(attestation, health, beat, ends, presence, banned)| Node {
            attestation,
            health,
            last_health_at: Some(start().after(seconds(beat))),
            expires_at: start().after(seconds(ends)),
            presence,
            banned,
            ..node()
        })
}

proptest! {
    /// Codes come in order, `reason` is the first, and a node is eligible exactly if there is
    /// none; what is eligible now is so until `valid_until`, and not a moment longer.
    #[test]
    fn gates_agree_with_eligibility_and_its_end(node in any_node(), at in 0_u64..200_000) {
        let (policy, now) = (policy(), start().after(seconds(at)));
        let assessment = assess(&node, &policy, now);
        let reasons: Vec<GateCode> = assessment.reasons().collect();
        prop_assert!(reasons.is_sorted());
        prop_assert_eq!(assessment.reason(), reasons.first().copied());
        match assessment.eligible() {
            Err(code) => prop_assert_eq!(Some(code), assessment.reason()),
            Ok(eligible) => {
                prop_assert!(reasons.is_empty());
                let end = eligible.valid_until();
                prop_assert!(now < end);
                let before = end.before(std::time::Duration::from_micros(1));
                prop_assert!(assess(&node, &policy, before).eligible().is_ok());
                prop_assert!(assess(&node, &policy, end).eligible().is_err());
            }
        }
    }
}
