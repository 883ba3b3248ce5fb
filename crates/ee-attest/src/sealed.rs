//! Stage 11: whether a workload is sealed is decided by registers, never by its claim.
//!
//! Sealed means that whoever owns the machine cannot get in: everything that runs is measured
//! and pinned. Each condition names the field that an allowlist would have to add.

use ee_core::attestation::{AttestationCode as Code, Failure};
use ee_protocol::refusal::Refusal;

use crate::{
    allowlist::Entry,
    attributes::TdAttributes,
    policy::SealedRule,
    registers::{RegisterName, Registers},
};

/// A condition of `sealed` that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// The entry does not say `"sealed": true`.
    NotDeclared,
    /// The register is not pinned.
    NotPinned(RegisterName),
    /// The host passed something in that is not pinned.
    NeitherPinnedNorZero(RegisterName),
    /// Attributes beyond the base that are not pinned.
    AttributesNotExact,
}

impl Unmet {
    fn describe(self) -> (String, &'static str, String) {
        match self {
            Self::NotDeclared => (
                "sealed true in the entry".to_owned(),
                "false",
                "Add `\"sealed\": true` to the allowlist's measurements.".to_owned(),
            ),
            Self::NotPinned(register) => (
                format!("{} pinned", register.as_str()),
                "not pinned",
                format!(
                    "Add `{}` ({}) to the allowlist's measurements{}.",
                    register.as_str(),
                    register.meaning(),
                    if register == RegisterName::Rtmr3 {
                        ", or `rtmr3_events`"
                    } else {
                        ""
                    },
                ),
            ),
            Self::NeitherPinnedNorZero(register) => (
                format!("{} pinned or zero", register.as_str()),
                "neither",
                format!(
                    "Add `{}` to the allowlist's measurements.",
                    register.as_str()
                ),
            ),
            Self::AttributesNotExact => (
                format!("td_attributes {} or pinned", TdAttributes::BASE),
                "others",
                "Add `td_attributes` to the allowlist's measurements.".to_owned(),
            ),
        }
    }
}

/// The conditions of `sealed` that do not hold; none means sealed.
pub fn unmet(entry: &Entry, rtmr3_described: bool, registers: &Registers) -> Vec<Unmet> {
    let mut unmet = Vec::new();
    if !entry.sealed() {
        unmet.push(Unmet::NotDeclared);
    }
    let code = [
        RegisterName::Mrtd,
        RegisterName::Rtmr0,
        RegisterName::Rtmr1,
        RegisterName::Rtmr2,
    ];
    let not_pinned = |register: &RegisterName| entry.pinned(*register).is_none();
    unmet.extend(code.into_iter().filter(not_pinned).map(Unmet::NotPinned));
    if not_pinned(&RegisterName::Rtmr3) && !rtmr3_described {
        unmet.push(Unmet::NotPinned(RegisterName::Rtmr3));
    }
    let host = [
        RegisterName::MrConfigId,
        RegisterName::MrOwner,
        RegisterName::MrOwnerConfig,
    ];
    let not_zero =
        |register: &RegisterName| register.value(registers).iter().any(|byte| *byte != 0);
    unmet.extend(
        host.into_iter()
            .filter(|register| not_pinned(register) && not_zero(register))
            .map(Unmet::NeitherPinnedNorZero),
    );
    let exact = registers.td_attributes == TdAttributes::BASE;
    if not_pinned(&RegisterName::TdAttributes) && !exact {
        unmet.push(Unmet::AttributesNotExact);
    }
    unmet
}

/// Refuses a claim that the registers do not bear out, and unsealed workloads where the network
/// demands sealed ones.
pub fn check(claimed: bool, unmet: &[Unmet], rule: SealedRule) -> Result<(), Failure> {
    if unmet.is_empty() {
        return Ok(());
    }
    if claimed {
        return Err(refused(Code::SealedClaimMismatch, unmet));
    }
    match rule {
        SealedRule::Required => Err(refused(Code::SealedRequired, unmet)),
        SealedRule::Optional => Ok(()),
    }
}

fn refused(code: Code, unmet: &[Unmet]) -> Failure {
    unmet.iter().fold(Failure::new(code), |failure, condition| {
        let (expected, actual, hint) = condition.describe();
        failure.explained(Refusal::new(code.as_str(), "sealed", hint).compared(expected, actual))
    })
}
