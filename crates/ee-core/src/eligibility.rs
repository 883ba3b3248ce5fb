//! May this node serve now? One pure function, eight gates in a fixed order (ROUTING 1).
//!
//! The order is API: `reason` is the first code that fails, `reasons` all of them. Only this file
//! makes an [`EligibleNode`], and only such nodes enter a routing table.

use std::time::Duration;

use ee_protocol::time::Timestamp;

use crate::{
    books::funding::StakeStanding,
    policy::{LivePolicy, Sealed},
    registry::{AttestationState, Node, Presence},
    session::HealthWord,
};

/// How long the last pass stands while no verdict can be reached through no fault of the agent
/// (ATTESTATION 10).
pub const WAITING_MAX: Duration = Duration::from_secs(24 * 3_600);

/// One of the eight questions, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// An attested registration of this node for this app exists.
    Registered,
    /// The registration has not ended; the warning window passes.
    NotExpired,
    /// The last result is valid and young enough.
    Attestation,
    /// The last heartbeat passed and is young enough.
    Health,
    /// Sealed and bound as the network demands.
    NetworkPolicy,
    /// Enough stake.
    Stake,
    /// Neither the agent nor an admin drains it.
    NotDraining,
    /// Not banned.
    NotBanned,
}

impl Gate {
    /// Every gate, in order.
    pub const ALL: [Self; 8] = [
        Self::Registered,
        Self::NotExpired,
        Self::Attestation,
        Self::Health,
        Self::NetworkPolicy,
        Self::Stake,
        Self::NotDraining,
        Self::NotBanned,
    ];

    /// The word in explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::NotExpired => "not_expired",
            Self::Attestation => "attestation",
            Self::Health => "health",
            Self::NetworkPolicy => "network_policy",
            Self::Stake => "stake",
            Self::NotDraining => "not_draining",
            Self::NotBanned => "not_banned",
        }
    }
}

/// Why a gate is closed, in order of the gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GateCode {
    /// No attested registration.
    NotRegistered,
    /// The registration ended.
    RegistrationExpired,
    /// Never attested.
    AttestationUnknown,
    /// The last attestation failed.
    AttestationInvalid,
    /// The last pass is too old.
    AttestationStale,
    /// The last heartbeat says the backend is not well.
    HealthFail,
    /// No heartbeat for too long.
    HealthTimeout,
    /// The network takes sealed workloads only.
    SealedRequired,
    /// The quote is not tied to the connection firmly enough.
    BindingRequired,
    /// No stake.
    StakeMissing,
    /// Too little stake.
    StakeInsufficient,
    /// The agent or an admin drains it.
    Draining,
    /// Banned.
    Banned,
}

impl GateCode {
    /// Every code, in order.
    pub const ALL: [Self; 13] = [
        Self::NotRegistered,
        Self::RegistrationExpired,
        Self::AttestationUnknown,
        Self::AttestationInvalid,
        Self::AttestationStale,
        Self::HealthFail,
        Self::HealthTimeout,
        Self::SealedRequired,
        Self::BindingRequired,
        Self::StakeMissing,
        Self::StakeInsufficient,
        Self::Draining,
        Self::Banned,
    ];

    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRegistered => "not_registered",
            Self::RegistrationExpired => "registration_expired",
            Self::AttestationUnknown => "attestation_unknown",
            Self::AttestationInvalid => "attestation_invalid",
            Self::AttestationStale => "attestation_stale",
            Self::HealthFail => "health_fail",
            Self::HealthTimeout => "health_timeout",
            Self::SealedRequired => "sealed_required",
            Self::BindingRequired => "binding_required",
            Self::StakeMissing => "stake_missing",
            Self::StakeInsufficient => "stake_insufficient",
            Self::Draining => "draining",
            Self::Banned => "banned",
        }
    }
}

impl std::fmt::Display for GateCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The stake that a network demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StakeRequirement {
    /// None: development, and an operator who asks for none.
    None,
    /// What the books demand by the node's tier.
    Required,
}

/// A node that passes every gate, and until when. Nothing else can make one.
#[derive(Debug, Clone, Copy)]
pub struct EligibleNode<'a> {
    node: &'a Node,
    valid_until: Timestamp,
}

impl<'a> EligibleNode<'a> {
    /// The node.
    pub const fn node(&self) -> &'a Node {
        self.node
    }

    /// The earliest end of gates 2 to 4: from then on the node is not eligible any more.
    pub const fn valid_until(&self) -> Timestamp {
        self.valid_until
    }
}

/// Every gate of a node, answered.
#[derive(Debug, Clone)]
pub struct Assessment<'a> {
    node: &'a Node,
    codes: [Option<GateCode>; 8],
    valid_until: Timestamp,
}

impl<'a> Assessment<'a> {
    /// The node with proof of its eligibility, or the code of the first closed gate.
    pub fn eligible(&self) -> Result<EligibleNode<'a>, GateCode> {
        match self.reason() {
            None => Ok(EligibleNode {
                node: self.node,
                valid_until: self.valid_until,
            }),
            Some(code) => Err(code),
        }
    }

    /// The first closed gate's code.
    pub fn reason(&self) -> Option<GateCode> {
        self.reasons().next()
    }

    /// The codes of all closed gates, in order.
    pub fn reasons(&self) -> impl Iterator<Item = GateCode> {
        self.codes.into_iter().flatten()
    }

    /// Every gate with its code if it is closed.
    pub fn gates(&self) -> impl Iterator<Item = (Gate, Option<GateCode>)> {
        Gate::ALL.into_iter().zip(self.codes)
    }

    /// How many gates are open before the first closed one: how far down the list the node got.
    pub fn depth(&self) -> usize {
        self.codes.iter().take_while(|code| code.is_none()).count()
    }
}

/// Answers all eight gates.
pub fn assess<'a>(node: &'a Node, policy: &LivePolicy, now: Timestamp) -> Assessment<'a> {
    let attestation_until = attestation_end(node, policy);
    let health_until = node
        .last_health_at
        .map(|at| at.after(policy.health_timeout));
    let codes = [
        registered(node),
        (now >= node.expires_at).then_some(GateCode::RegistrationExpired),
        attestation(node, attestation_until, now),
        health(node, health_until, now),
        network_policy(node, policy),
        stake(policy.stake_requirement(node.network), node.stake),
        draining(node),
        node.banned.then_some(GateCode::Banned),
    ];
    let valid_until = [Some(node.expires_at), attestation_until, health_until]
        .into_iter()
        .flatten()
        .fold(Timestamp::FAR_FUTURE, Ord::min);
    Assessment {
        node,
        codes,
        valid_until,
    }
}

fn registered(node: &Node) -> Option<GateCode> {
    match node.presence {
        Presence::Registered | Presence::AgentDrains | Presence::AdminDrains => None,
        Presence::Released => Some(GateCode::NotRegistered),
    }
}

/// When the last pass stops to count.
fn attestation_end(node: &Node, policy: &LivePolicy) -> Option<Timestamp> {
    let passed = node.attestation.passed()?;
    Some(match node.attestation {
        AttestationState::Waiting(_) => passed.at.after(WAITING_MAX),
        AttestationState::Unknown | AttestationState::Valid(_) | AttestationState::Invalid(_) => {
            passed
                .at
                .after(policy.attest_interval)
                .after(policy.attest_deadline())
        }
    })
}

fn attestation(node: &Node, until: Option<Timestamp>, now: Timestamp) -> Option<GateCode> {
    match node.attestation {
        AttestationState::Unknown => Some(GateCode::AttestationUnknown),
        AttestationState::Invalid(_) => Some(GateCode::AttestationInvalid),
        AttestationState::Valid(_) | AttestationState::Waiting(_) => until
            .is_none_or(|until| now >= until)
            .then_some(GateCode::AttestationStale),
    }
}

fn health(node: &Node, until: Option<Timestamp>, now: Timestamp) -> Option<GateCode> {
    match (node.health, until) {
        (Some(HealthWord::Fail), _) => Some(GateCode::HealthFail),
        (Some(HealthWord::Pass), Some(until)) if now < until => None,
        (Some(HealthWord::Pass) | None, _) => Some(GateCode::HealthTimeout),
    }
}

fn network_policy(node: &Node, policy: &LivePolicy) -> Option<GateCode> {
    let rules = policy.rules(node.network);
    let passed = node.attestation.passed()?;
    if rules.sealed == Sealed::Required && !passed.sealed {
        return Some(GateCode::SealedRequired);
    }
    (passed.binding < rules.least_binding).then_some(GateCode::BindingRequired)
}

const fn stake(requirement: StakeRequirement, standing: StakeStanding) -> Option<GateCode> {
    match (requirement, standing) {
        (StakeRequirement::None, _) | (StakeRequirement::Required, StakeStanding::Met) => None,
        (StakeRequirement::Required, StakeStanding::Missing) => Some(GateCode::StakeMissing),
        (StakeRequirement::Required, StakeStanding::Insufficient) => {
            Some(GateCode::StakeInsufficient)
        }
    }
}

fn draining(node: &Node) -> Option<GateCode> {
    match node.presence {
        Presence::Registered | Presence::Released => None,
        Presence::AgentDrains | Presence::AdminDrains => Some(GateCode::Draining),
    }
}

/// The facts behind a gate's answer, for a person.
pub fn detail(gate: Gate, node: &Node, policy: &LivePolicy) -> String {
    match gate {
        Gate::Registered => format!("registered {}", node.registered_at),
        Gate::NotExpired => format!("until {}", node.expires_at),
        Gate::Attestation => attestation_detail(node, policy),
        Gate::Health => match (node.health, node.last_health_at) {
            (Some(HealthWord::Fail), _) => "the agent's probe of its backend fails".to_owned(),
            (_, Some(at)) => {
                format!(
                    "last pass {at}, good for {} s",
                    policy.health_timeout.as_secs()
                )
            }
            (_, None) => "no heartbeat since the control plane started".to_owned(),
        },
        Gate::NetworkPolicy => policy_detail(node, policy),
        Gate::Stake => match (policy.stake_requirement(node.network), node.stake) {
            (StakeRequirement::None, _) => "no stake is demanded".to_owned(),
            (StakeRequirement::Required, StakeStanding::Met) => "enough stake".to_owned(),
            (StakeRequirement::Required, StakeStanding::Missing) => "no stake".to_owned(),
            (StakeRequirement::Required, StakeStanding::Insufficient) => {
                "less stake than its tier demands".to_owned()
            }
        },
        Gate::NotDraining => match node.presence {
            Presence::Registered | Presence::Released => "not draining".to_owned(),
            Presence::AgentDrains => "the agent drains it".to_owned(),
            Presence::AdminDrains => "an admin drains it".to_owned(),
        },
        Gate::NotBanned => if node.banned { "banned" } else { "not banned" }.to_owned(),
    }
}

fn attestation_detail(node: &Node, policy: &LivePolicy) -> String {
    let until = attestation_end(node, policy).unwrap_or(Timestamp::EPOCH);
    match &node.attestation {
        AttestationState::Unknown => "never attested".to_owned(),
        AttestationState::Valid(passed) => format!("passed {}, good until {until}", passed.at),
        AttestationState::Waiting(passed) => {
            format!(
                "passed {}; the next verdict waits for us or an upstream",
                passed.at
            )
        }
        AttestationState::Invalid(invalid) => format!("refused: {}", invalid.reason),
    }
}

fn policy_detail(node: &Node, policy: &LivePolicy) -> String {
    let rules = policy.rules(node.network);
    let demanded = match rules.sealed {
        Sealed::Required => "sealed only",
        Sealed::Optional => "unsealed too",
    };
    let seen = match node.attestation.passed() {
        Some(passed) if passed.sealed => format!("sealed, binding {}", passed.binding.as_str()),
        Some(passed) => format!("unsealed, binding {}", passed.binding.as_str()),
        None => "nothing attested".to_owned(),
    };
    let least = rules.least_binding.as_str();
    format!(
        "{}: {demanded}, binding at least {least}; node: {seen}",
        node.network
    )
}

#[cfg(test)]
mod tests;
