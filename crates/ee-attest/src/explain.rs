//! Hints that need more than one release: which one a quote does belong to.

use ee_core::attestation::{AttestationCode as Code, Failure};
use ee_protocol::time::Timestamp;

use crate::{
    allowlist::{Allowlist, Selection},
    registers::{RegisterName, Registers},
};

/// The tag of another pinned release whose allowlist these registers match.
pub fn release_with<'a>(
    registers: &Registers,
    others: &[(&'a str, &Allowlist)],
    now: Timestamp,
) -> Option<&'a str> {
    let matches = |allowlist: &Allowlist| match allowlist.select(registers, now) {
        Selection::Entry(entry) => RegisterName::ALL
            .into_iter()
            .any(|register| entry.pinned(register).is_some()),
        Selection::None(_) => false,
    };
    others
        .iter()
        .find(|(_, allowlist)| matches(allowlist))
        .map(|(tag, _)| *tag)
}

/// Adds "equals v0.1.2: rebuild, or register that tag" to a mismatch of registers.
#[must_use]
pub fn with_release_hint(
    mut failure: Failure,
    registers: &Registers,
    others: &[(&str, &Allowlist)],
    now: Timestamp,
) -> Failure {
    if failure.code != Code::RegisterMismatch {
        return failure;
    }
    if let Some(tag) = release_with(registers, others, now) {
        for refusal in &mut failure.refusals {
            refusal.hint = format!("Equals {tag}: rebuild, or register that tag.");
        }
    }
    failure
}
