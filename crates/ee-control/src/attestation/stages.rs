//! The pure stages between the fetches: sync, for the pool.

use std::sync::Arc;

use ee_attest::{
    Evidence, Finish, NetworkPolicy, ParsedQuote, PolicyFacts, Reference, VerifiedQuote,
    allowlist::check_claims, binding, explain, finish as finish_appraisal,
};
use ee_core::{
    attestation::{AttestationCode, AttestationResult, BindingStrength, Failure},
    session::VerificationRequest,
};
use ee_protocol::{
    report_data::{BindingFields, Role, node_proof_under},
    time::Timestamp,
};
use subtle::ConstantTimeEq;

use super::row;
use crate::reference_values::{Lookup, PinnedRelease};

/// Evidence that passed stages 1 to 4.
pub(super) struct Opened {
    pub(super) evidence: Evidence,
    pub(super) quote: ParsedQuote,
    pub(super) binding: BindingStrength,
}

/// Everything the last stages take.
pub(super) struct Finished {
    pub(super) opened: Arc<Opened>,
    pub(super) verified: Arc<VerifiedQuote>,
    pub(super) reference: PinnedRelease,
    pub(super) facts: PolicyFacts,
    pub(super) now: Timestamp,
}

/// Stages 1, 3 and 4 (2, the challenge, is the session's), then the node's proof.
pub(super) fn open(
    request: &VerificationRequest,
    policy: &NetworkPolicy,
) -> Result<Opened, Failure> {
    let evidence = Evidence::parse(&request.response)?;
    let quote = ParsedQuote::parse(&evidence.quote, policy.debug_tds)?;
    let registration = &request.registration;
    let fields = BindingFields {
        role: Role::Agent,
        nonce: &request.nonce,
        reason: request.reason.as_str(),
        network: registration.network.as_str(),
        repo: registration.repo.as_str(),
        release_tag: registration.release_tag.as_str(),
        app_name: registration.app_name.as_str(),
        agent_id: registration.agent_id.as_str(),
        node_id: registration.node_id.as_str(),
        binding: &request.binding,
    };
    let binding = binding::check(&quote, &evidence, &fields, policy.binding_at_least)?;
    check_node_proof(request, &evidence)?;
    Ok(Opened {
        evidence,
        quote,
        binding,
    })
}

/// A node with live tokens must prove that it holds one; the token itself never travels.
fn check_node_proof(request: &VerificationRequest, evidence: &Evidence) -> Result<(), Failure> {
    if request.node_keys.is_empty() {
        return Ok(());
    }
    let node = request.registration.node_id.as_str();
    let refused = |code: AttestationCode, hint: &str| {
        Err(
            Failure::new(code).explained(row(code, "node_proof", hint).compared(
                format!("a proof for node {node}"),
                match evidence.node_proof {
                    Some(_) => "a proof by another token",
                    None => "none",
                },
            )),
        )
    };
    let Some(proof) = evidence.node_proof else {
        let hint = "this node id is registered: set EE_NODE_TOKEN on the agent, or choose \
                    another node id";
        return refused(AttestationCode::NodeTokenRequired, hint);
    };
    let proves = |key| {
        let expected = node_proof_under(key, &request.nonce, &evidence.report_data);
        bool::from(expected.ct_eq(&proof))
    };
    if request.node_keys.iter().any(proves) {
        return Ok(());
    }
    let hint = "EE_NODE_TOKEN is not a live token of this node: issue a new one";
    refused(AttestationCode::NodeTokenInvalid, hint)
}

/// Stages 5 and 6 with what is known of the release; `None` if it must be fetched first, which
/// evidence earns by passing stages 7 and 8.
pub(super) fn known_reference(
    known: Lookup,
    opened: &Opened,
    policy: &NetworkPolicy,
    now: Timestamp,
) -> Result<Option<PinnedRelease>, Failure> {
    match known {
        Lookup::Refused(failure) => Err(failure),
        Lookup::Unpinned => Ok(None),
        Lookup::Pinned(pinned) => {
            check_reference(opened, &pinned, policy, now)?;
            Ok(Some(pinned))
        }
    }
}

/// The rest of stage 5, and stage 6.
pub(super) fn check_reference(
    opened: &Opened,
    reference: &PinnedRelease,
    policy: &NetworkPolicy,
    now: Timestamp,
) -> Result<(), Failure> {
    let PinnedRelease {
        release,
        allowlist,
        provenance,
    } = reference;
    allowlist.check_release(
        release.tag.as_str(),
        *provenance,
        policy.provenance_at_least,
    )?;
    let selection = allowlist.select(opened.quote.registers(), now);
    check_claims(&selection, &opened.evidence)
}

/// Stages 9 to 11.
pub(super) fn finish(
    finished: &Finished,
    policy: &NetworkPolicy,
) -> Result<AttestationResult, Failure> {
    let Finished {
        opened,
        verified,
        reference,
        facts,
        now,
    } = finished;
    finish_appraisal(&Finish {
        evidence: &opened.evidence,
        verified,
        reference: Reference {
            allowlist: &reference.allowlist,
            release_tag: reference.release.tag.as_str(),
            provenance: reference.provenance,
        },
        binding: opened.binding,
        policy,
        facts,
        now: *now,
    })
}

/// Says of which other pinned release the measurements are, if there is one.
pub(super) fn with_sibling(
    failure: Failure,
    finished: &Finished,
    siblings: &[PinnedRelease],
) -> Failure {
    let others: Vec<_> = siblings
        .iter()
        .map(|sibling| (sibling.release.tag.as_str(), sibling.allowlist.as_ref()))
        .collect();
    explain::with_release_hint(
        failure,
        finished.verified.registers(),
        &others,
        finished.now,
    )
}
