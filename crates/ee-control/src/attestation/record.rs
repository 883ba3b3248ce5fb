//! Stage 12: the attestation log. Only a recorded verdict is acted on.

use ee_attest::PolicyFacts;
use ee_core::{
    attestation::{AttestationCode, Failure, Verdict},
    session::{Attested, VerificationRequest},
};
use ee_protocol::report_data::{Binding, sha256};
use ee_store::LogRecord;

use super::{Attestor, row};

/// A session that never passed is recorded only if it failed behind this stage: what comes
/// before costs a stranger nothing, and every record costs us a write that is never erased.
const STRANGERS_RECORDED_ABOVE: u8 = 4;

/// What a verdict rested on, as far as it came.
pub(super) struct Trail {
    pub(super) body_digest: String,
    pub(super) allowlist_digest: String,
    pub(super) generation: String,
    policy: String,
}

impl Trail {
    pub(super) fn new(policy: &str) -> Self {
        Self {
            body_digest: String::new(),
            allowlist_digest: String::new(),
            generation: String::new(),
            policy: policy.to_owned(),
        }
    }
}

impl Attestor {
    /// Records a verdict and returns it; `log_unavailable` in its place if that fails.
    ///
    /// What could not be judged is no verdict and is not recorded: an outage of days would
    /// otherwise write a record a minute for every agent.
    pub(super) async fn record(
        &self,
        request: &VerificationRequest,
        trail: Trail,
        verdict: Verdict,
    ) -> Verdict {
        let (word, code, entry) = match &verdict {
            Verdict::Indeterminate(_) => return verdict,
            Verdict::Fail(failure) if unearned(request, failure) => return verdict,
            Verdict::Fail(failure) => ("fail", failure.reason(), String::new()),
            Verdict::Pass(result) => ("pass", String::new(), result.allowlist_entry.clone()),
        };
        let registration = &request.registration;
        let record = LogRecord {
            at: request.received_at,
            agent_id: registration.agent_id.to_string(),
            node_id: registration.node_id.to_string(),
            app: registration.app_name.to_string(),
            network: registration.network.to_string(),
            session: session(&request.binding),
            nonce: hex::encode(request.nonce),
            body_digest: trail.body_digest,
            evidence_digest: evidence_digest(request),
            allowlist_digest: trail.allowlist_digest,
            entry,
            generation: trail.generation,
            policy: trail.policy,
            verdict: word.to_owned(),
            code,
        };
        match self.store.append_log(record).await {
            Ok(_) => verdict,
            Err(error) => Verdict::Indeterminate(unavailable(&error.to_string())),
        }
    }
}

/// Tells the operator a machine's pseudonym, once a session: sets of platforms in a policy are made
/// of these.
pub(super) fn note_platform(request: &VerificationRequest, facts: &PolicyFacts) {
    if let (Some(platform), Attested::No) = (facts.platform, request.attested_before) {
        let node = &request.registration.node_id;
        tracing::info!(event = "platform_verified", %node, platform = hex::encode(platform));
    }
}

/// Our own machinery is not able to judge or to record.
pub(super) fn unavailable(actual: &str) -> Failure {
    let code = AttestationCode::LogUnavailable;
    let hint = "no action needed on the agent: it is asked again; the operator looks at the \
                control plane's database and disk";
    Failure::new(code).explained(
        row(code, "attestation log", hint).compared("a durable record of the verdict", actual),
    )
}

fn unearned(request: &VerificationRequest, failure: &Failure) -> bool {
    request.attested_before == Attested::No && failure.code.stage() <= STRANGERS_RECORDED_ABOVE
}

/// Names the session by its channel, without giving the exporter away.
fn session(binding: &Binding) -> String {
    match binding {
        Binding::TlsExporter { exporter, .. } => hex::encode(sha256(exporter)),
        Binding::None => String::new(),
    }
}

/// SHA-256 of the quote's text as sent, malleable parts included.
fn evidence_digest(request: &VerificationRequest) -> String {
    request
        .response
        .quote
        .as_deref()
        .map_or_else(String::new, |quote| hex::encode(sha256(quote.as_bytes())))
}
