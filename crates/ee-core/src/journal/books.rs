//! How the parts of commands and outcomes are written. Numbers are for ever: what is in old
//! journals is read for ever, so a change of meaning is a new variant with a new number.

use ee_protocol::money::MicroUsd;

use super::canonical::{Canonical, Malformed, Reader, canonical_choice, canonical_struct};
use crate::books::{
    AccountNo, EntryId, EntryNo, Policy, Principal, Refusal, Seq,
    command::UsageIdentity,
    principal::Role,
    rows::{
        BreachCause, DayRevenue, Decision, Dependency, LockMode, Reason, ReasonRow, ReportState,
        SettlementState, SlashReason, StakeTier, Track, UsageState, Verdict,
    },
};

/// Closed sets of words, written as their number.
macro_rules! words {
    ($($name:ty, $what:literal;)*) => {$(
        impl Canonical for $name {
            fn write(&self, out: &mut Vec<u8>) {
                self.number().write(out);
            }

            fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
                let found = u8::read(input)?;
                Self::from_number(found).ok_or(Malformed::Choice {
                    what: $what,
                    found: found.into(),
                })
            }
        }
    )*};
}

words! {
    BreachCause, "a breach";
    Decision, "a decision";
    Dependency, "a dependency";
    LockMode, "a lock's mode";
    Reason, "a reason";
    ReportState, "a report's state";
    SettlementState, "a settlement's state";
    SlashReason, "a reason of a slash";
    StakeTier, "a tier";
    Track, "a track";
    UsageState, "a usage row's state";
    Verdict, "a verdict";
}

canonical_choice! { Principal, u8, "a principal" {
    0 => System,
    1 => Role(role),
    2 => Account(id),
    3 => Node(id),
}}

impl Canonical for Role {
    fn write(&self, out: &mut Vec<u8>) {
        (*self as u8).write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let found = u8::read(input)?;
        Self::from_number(found).ok_or(Malformed::Choice {
            what: "a role",
            found: found.into(),
        })
    }
}

impl Canonical for Refusal {
    fn write(&self, out: &mut Vec<u8>) {
        self.number().write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let found = u16::read(input)?;
        Self::from_number(found).ok_or(Malformed::Choice {
            what: "a refusal",
            found,
        })
    }
}

impl Canonical for AccountNo {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        u32::read(input).map(Self)
    }
}

impl Canonical for Seq {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        u64::read(input).map(Self)
    }
}

impl Canonical for EntryId {
    fn write(&self, out: &mut Vec<u8>) {
        self.at().write(out);
        self.no().write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (at, no) = (Canonical::read(input)?, Canonical::read(input)?);
        Ok(Self::new(at, no))
    }
}

canonical_choice! { UsageIdentity, u8, "what makes a report unrepeatable" {
    0 => None,
    1 => Usage(id),
    2 => Source(source, id),
}}

canonical_struct! {
    EntryNo { seq, idx }
    ReasonRow { reason, first, last, count, excused_ms }
    DayRevenue { day, paid }
    Policy {
        rules,
        period_s,
        lock_lead_s,
        settlement_grace_s,
        settlement_deadline_s,
        payout_hold_s,
        abuse_decision_s,
        unbonding_s,
        slash_delay_s,
        health_timeout_s,
        attest_deadline_s,
        attestation_timeout_s,
        stake_min,
    }
}

/// The least stakes of the tiers, in their order.
impl Canonical for [MicroUsd; 3] {
    fn write(&self, out: &mut Vec<u8>) {
        for one in self {
            one.write(out);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok([
            MicroUsd::read(input)?,
            MicroUsd::read(input)?,
            MicroUsd::read(input)?,
        ])
    }
}
