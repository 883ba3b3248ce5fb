//! Stages 9 to 11 over a verified quote, and the whole pipeline in order.
//!
//! The control plane calls the stages one by one, because it fetches between them; tools, tests
//! and benchmarks hold everything and call [`appraise_all`]. Both end in [`finish`].

use ee_core::attestation::{AttestationResult, BindingStrength, Failure, Provenance, Verdict};
use ee_protocol::{
    report_data::{BindingFields, Digest},
    time::Timestamp,
};

use crate::{
    allowlist::{Allowlist, Entry, check_claims, check_selected},
    binding,
    collateral::CollateralBundle,
    event_log::{self, EventLog},
    evidence::Evidence,
    platform::{VerifiedQuote, Verifier},
    policy::{self, NetworkPolicy, PolicyFacts},
    quote::ParsedQuote,
    sealed,
};

/// Reference values and where they came from.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    /// The allowlist of the release.
    pub allowlist: &'a Allowlist,
    /// The tag that was registered.
    pub release_tag: &'a str,
    /// How well its origin is proved.
    pub provenance: Provenance,
}

/// What stages 9 to 11 take.
#[derive(Debug, Clone, Copy)]
pub struct Finish<'a> {
    /// The agent's answer.
    pub evidence: &'a Evidence,
    /// Its quote, verified.
    pub verified: &'a VerifiedQuote,
    /// How firmly it is bound.
    pub binding: BindingStrength,
    /// Reference values.
    pub reference: Reference<'a>,
    /// The network's policy.
    pub policy: &'a NetworkPolicy,
    /// What the caller remembers.
    pub facts: &'a PolicyFacts,
    /// The time.
    pub now: Timestamp,
}

/// What the whole pipeline takes.
#[derive(Debug, Clone, Copy)]
pub struct AppraisalInput<'a> {
    /// The agent's answer.
    pub evidence: &'a Evidence,
    /// The challenge and the connection.
    pub binding: &'a BindingFields<'a>,
    /// Reference values.
    pub reference: Reference<'a>,
    /// Collateral of the platform family.
    pub collateral: &'a CollateralBundle,
    /// The network's policy.
    pub policy: &'a NetworkPolicy,
    /// What the caller remembers.
    pub facts: &'a PolicyFacts,
    /// The time.
    pub now: Timestamp,
}

/// Every stage in order; the first failure wins.
pub fn appraise_all(verifier: &Verifier, input: &AppraisalInput<'_>) -> Verdict {
    match run(verifier, input) {
        Ok(result) => Verdict::Pass(Box::new(result)),
        Err(failure) => Verdict::from(failure),
    }
}

fn run(verifier: &Verifier, input: &AppraisalInput<'_>) -> Result<AttestationResult, Failure> {
    let AppraisalInput {
        evidence,
        reference,
        collateral,
        policy,
        facts,
        now,
        ..
    } = *input;
    let quote = ParsedQuote::parse(&evidence.quote, policy.debug_tds)?;
    let binding = binding::check(&quote, evidence, input.binding, policy.binding_at_least)?;
    let Reference {
        allowlist,
        release_tag,
        provenance,
    } = reference;
    allowlist.check_release(release_tag, provenance, policy.provenance_at_least)?;
    check_claims(&allowlist.select(quote.registers(), now), evidence)?;
    let verified = &verifier.platform(&quote, collateral, now)?;
    finish(&Finish {
        evidence,
        verified,
        binding,
        reference,
        policy,
        facts,
        now,
    })
}

/// Stages 9 to 11. Stage 6 is repeated over the verified registers: it costs little, and a pass
/// then rests on nothing unsigned even if a caller forgot it.
pub fn finish(input: &Finish<'_>) -> Result<AttestationResult, Failure> {
    let Finish {
        evidence,
        verified,
        binding,
        reference,
        policy,
        facts,
        now,
    } = *input;
    let registers = verified.registers();
    let allowlist = reference.allowlist;
    let selection = allowlist.select(registers, now);
    check_claims(&selection, evidence)?;
    let tightened = allowlist.tcb_policy();
    let standing = policy::check(verified, policy, tightened, selection.entry(), facts, now)?;
    check_events(evidence, allowlist, verified)?;
    let entry = check_selected(&selection, registers)?;
    let described = allowlist.rtmr3_events().is_some();
    let unmet = sealed::unmet(entry, described, registers);
    sealed::check(evidence.claims.sealed, &unmet, policy.sealed)?;
    let established = Established {
        flagged: standing.flagged,
        sealed: unmet.is_empty(),
        binding,
        platform: facts.platform,
    };
    Ok(result(verified, entry, reference, established, now))
}

/// The part of stage 10 that looks at events: a log must replay to the quote's registers, and
/// RTMR3 must hold what the allowlist describes.
fn check_events(
    evidence: &Evidence,
    allowlist: &Allowlist,
    verified: &VerifiedQuote,
) -> Result<(), Failure> {
    let log = evidence
        .event_log
        .as_ref()
        .map(EventLog::parse)
        .transpose()?;
    if let Some(log) = &log {
        log.check(verified.registers())?;
    }
    match (allowlist.rtmr3_events(), log) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(event_log::missing()),
        (Some(expected), Some(log)) => log.check_described(expected, verified.registers()),
    }
}

/// What the stages found out beside the quote's own facts.
#[derive(Clone, Copy)]
struct Established {
    flagged: bool,
    sealed: bool,
    binding: BindingStrength,
    platform: Option<Digest>,
}

fn result(
    verified: &VerifiedQuote,
    entry: &Entry,
    reference: Reference<'_>,
    established: Established,
    now: Timestamp,
) -> AttestationResult {
    let Established {
        flagged,
        sealed,
        binding,
        platform,
    } = established;
    AttestationResult {
        at: now,
        trust_root: verified.trust_root().to_owned(),
        sealed,
        binding,
        pinning: entry.pinning(reference.allowlist.rtmr3_events().is_some()),
        provenance: reference.provenance,
        allowlist_digest: *reference.allowlist.digest(),
        allowlist_entry: entry.id().to_owned(),
        tcb_status: verified.tcb_status(),
        tcb_date: verified.tcb_date(),
        advisories: verified.advisories().to_vec(),
        flagged,
        tcb_eval_data_number: verified.tcb_eval_data_number(),
        evidence_digest: *verified.evidence_digest(),
        collateral_expires_at: verified.collateral_valid().until,
        platform,
    }
}
