//! The rules of the live half that an operator sets: intervals, time-outs, policy per network.
//!
//! Passed by reference to every decision; nothing here is read from anywhere.

use std::time::Duration;

use ee_protocol::{names::Network, report_data::Digest, time::Timestamp, tunnel::InnerTlsMode};

use crate::{attestation::BindingStrength, eligibility::StakeRequirement};

/// What the session, the registry and eligibility go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePolicy {
    /// Time from a passed attestation to the next challenge, at most (`EE_ATTEST_INTERVAL_SEC`).
    pub attest_interval: Duration,
    /// Seconds to answer a challenge in, from when it was sent (`EE_ATTEST_DEADLINE_SEC`).
    pub attest_deadline_s: u32,
    /// Silence that counts as a miss (`EE_HEALTH_TIMEOUT_SEC`).
    pub health_timeout: Duration,
    /// Life of a registration (`EE_REGISTRATION_TTL_DAYS`).
    pub registration_ttl: Duration,
    /// How long before its end an agent is asked to renew (`EE_REGISTRATION_WARN_DAYS`).
    pub registration_warn: Duration,
    /// Rules of production.
    pub forge1: NetworkRules,
    /// Rules of development.
    pub sandbox1: NetworkRules,
    /// Whether production demands stake (`EE_STAKE_MIN_USD`); development never does.
    pub forge1_stake: StakeRequirement,
    /// SHA-256 of the control plane's tunnel key (SPKI DER): `attest_request.cp_key`.
    pub control_key: Digest,
}

/// What one network demands of a node beyond a passed verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkRules {
    /// Whether only sealed workloads serve.
    pub sealed: Sealed,
    /// The weakest tie between quote and connection that serves.
    pub least_binding: BindingStrength,
    /// Whether tunnels carry an inner TLS session.
    pub inner_tls: InnerTlsMode,
}

/// Whether a network serves unsealed workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// Sealed only.
    Required,
    /// Unsealed ones too.
    Optional,
}

impl NetworkRules {
    /// The defaults of `forge-1` (ATTESTATION 4).
    pub const fn forge1() -> Self {
        Self {
            sealed: Sealed::Required,
            least_binding: BindingStrength::Channel,
            inner_tls: InnerTlsMode::Required,
        }
    }

    /// The defaults of `sandbox-1` (ATTESTATION 4).
    pub const fn sandbox1() -> Self {
        Self {
            sealed: Sealed::Optional,
            least_binding: BindingStrength::Nonce,
            inner_tls: InnerTlsMode::Required,
        }
    }
}

impl LivePolicy {
    /// The seed's defaults but for stake, which is demanded where there are books to hold it, for
    /// the control plane whose tunnel key has this hash.
    pub const fn with_defaults(control_key: Digest) -> Self {
        const DAY_S: u64 = 86_400;
        Self {
            attest_interval: Duration::from_secs(3_600),
            attest_deadline_s: 30,
            health_timeout: Duration::from_secs(120),
            registration_ttl: Duration::from_secs(30 * DAY_S),
            registration_warn: Duration::from_secs(3 * DAY_S),
            forge1: NetworkRules::forge1(),
            sandbox1: NetworkRules::sandbox1(),
            forge1_stake: StakeRequirement::None,
            control_key,
        }
    }

    /// The stake that a network demands.
    pub const fn stake_requirement(&self, network: Network) -> StakeRequirement {
        match network {
            Network::Forge1 => self.forge1_stake,
            Network::Sandbox1 => StakeRequirement::None,
        }
    }

    /// The rules of a network.
    pub const fn rules(&self, network: Network) -> &NetworkRules {
        match network {
            Network::Forge1 => &self.forge1,
            Network::Sandbox1 => &self.sandbox1,
        }
    }

    /// The time an agent has to answer a challenge.
    pub const fn attest_deadline(&self) -> Duration {
        Duration::from_secs(self.attest_deadline_s as u64)
    }

    /// When the warning window of a registration opens. The window is at most half of the
    /// registration's life: a longer one would ask the agent to renew as soon as it registered.
    pub fn warning_begins(&self, expires_at: Timestamp) -> Timestamp {
        expires_at.before(self.registration_warn.min(self.registration_ttl / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warning_window_never_covers_a_whole_registration() {
        let mut policy = LivePolicy::with_defaults([0; 32]);
        let end = Timestamp::from_unix_seconds(100 * 86_400);
        assert_eq!(
            policy.warning_begins(end),
            end.before(Duration::from_secs(3 * 86_400))
        );
        policy.registration_ttl = Duration::from_secs(86_400);
        assert_eq!(
            policy.warning_begins(end),
            end.before(Duration::from_secs(43_200))
        );
    }
}
