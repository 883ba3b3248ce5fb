//! What the operator set, as far as the books decide by it. Changes come as `SetPolicy` and hold
//! for periods that start later (LEDGER 4).

use std::time::Duration;

use ee_protocol::money::MicroUsd;

use super::rows::StakeTier;

/// The newest rules that this program knows; older journals replay under their own number.
/// 2: ticks forget idempotency keys; a settlement goes in chunks of 500 locks, before of 2 000.
pub const RULES: u16 = 2;

/// Settings of the books. Times in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Version of behaviour: guards each change of the machine, so old journals replay.
    pub rules: u16,
    /// `EE_PERIOD_SEC`: length of a billing period.
    pub period_s: u32,
    /// `EE_LOCK_LEAD_SEC`: how long before a period its locks are renewed.
    pub lock_lead_s: u32,
    /// `EE_SETTLEMENT_GRACE_SEC`: from the end of a period to its settlement.
    pub settlement_grace_s: u32,
    /// `EE_SETTLEMENT_DEADLINE_SEC`: from the end of a period to the forced verdict.
    pub settlement_deadline_s: u32,
    /// `EE_PAYOUT_HOLD_SEC`: how long pay rests in `#held`.
    pub payout_hold_s: u32,
    /// `EE_ABUSE_DECISION_SEC`: how long an undecided report defers a settlement.
    pub abuse_decision_s: u32,
    /// `EE_UNBONDING_SEC`: how long withdrawn stake stays slashable.
    pub unbonding_s: u32,
    /// `EE_SLASH_DELAY_SEC`: from filing to execution of an automatic slash.
    pub slash_delay_s: u32,
    /// `EE_HEALTH_TIMEOUT_SEC`: how long a health pass holds.
    pub health_timeout_s: u32,
    /// `EE_ATTEST_DEADLINE_SEC`: how long an answer to a challenge may take.
    pub attest_deadline_s: u32,
    /// Attestation interval plus deadline: how long a valid attestation holds.
    pub attestation_timeout_s: u32,
    /// Least stake of premium, standard and economy nodes on forge-1; none elsewhere.
    pub stake_min: [MicroUsd; 3],
}

impl Policy {
    /// The documented defaults.
    pub const fn documented() -> Self {
        Self {
            rules: RULES,
            period_s: 3600,
            lock_lead_s: 300,
            settlement_grace_s: 3600,
            settlement_deadline_s: 604_800,
            payout_hold_s: 0,
            abuse_decision_s: 259_200,
            unbonding_s: 604_800,
            slash_delay_s: 86_400,
            health_timeout_s: 120,
            attest_deadline_s: 30,
            attestation_timeout_s: 3630,
            stake_min: [MicroUsd::from_micros(1); 3],
        }
    }

    /// How long a node that lost us may take to come back: the A of LEDGER 7.
    pub fn comeback(&self) -> Duration {
        seconds(self.health_timeout_s.max(self.attest_deadline_s))
    }

    /// Length of a billing period.
    pub fn period(&self) -> Duration {
        seconds(self.period_s)
    }

    /// How long before a period its locks are renewed.
    pub fn lock_lead(&self) -> Duration {
        seconds(self.lock_lead_s)
    }

    /// From the end of a period to its settlement.
    pub fn grace(&self) -> Duration {
        seconds(self.settlement_grace_s)
    }

    /// From the end of a period to the forced verdict.
    pub fn deadline(&self) -> Duration {
        seconds(self.settlement_deadline_s)
    }

    /// How long pay rests.
    pub fn payout_hold(&self) -> Duration {
        seconds(self.payout_hold_s)
    }

    /// How long an undecided report defers a settlement.
    pub fn abuse_decision(&self) -> Duration {
        seconds(self.abuse_decision_s)
    }

    /// How long withdrawn stake stays slashable.
    pub fn unbonding(&self) -> Duration {
        seconds(self.unbonding_s)
    }

    /// From filing to execution of an automatic slash.
    pub fn slash_delay(&self) -> Duration {
        seconds(self.slash_delay_s)
    }

    /// The least stake of a tier on forge-1.
    pub const fn stake_min(&self, tier: StakeTier) -> MicroUsd {
        let [premium, standard, economy] = self.stake_min;
        match tier {
            StakeTier::Premium => premium,
            StakeTier::Standard => standard,
            StakeTier::Economy => economy,
        }
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}
