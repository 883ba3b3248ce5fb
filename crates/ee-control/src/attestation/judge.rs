//! How a network judges: its policy, and the verifier that follows it.

use std::sync::Arc;

use ee_attest::{NetworkPolicy, TrustRoot, Verifier, VerifierLimits};
use ee_protocol::report_data::{Digest, sha256};

/// The appraisal policy of each network.
#[derive(Debug, Clone)]
pub struct NetworkPolicies {
    /// Production.
    pub forge_1: NetworkPolicy,
    /// Development.
    pub sandbox_1: NetworkPolicy,
}

impl Default for NetworkPolicies {
    /// The documents' defaults (ATTESTATION 4).
    fn default() -> Self {
        Self {
            forge_1: NetworkPolicy::forge_1(),
            sandbox_1: NetworkPolicy::sandbox_1(),
        }
    }
}

/// A network's policy and the verifier that follows it.
pub(super) struct Judge {
    pub(super) policy: NetworkPolicy,
    /// Names the policy in the log.
    pub(super) policy_id: String,
    pub(super) verifier: Arc<Verifier>,
}

/// One verifier for both networks, unless only one of them lets debuggable TDs pass.
pub(super) fn judges(root: &TrustRoot, policies: NetworkPolicies) -> [Arc<Judge>; 2] {
    let NetworkPolicies { forge_1, sandbox_1 } = policies;
    let verifier = |policy: &NetworkPolicy| {
        let verifier = Verifier::new(root.clone(), VerifierLimits::default());
        Arc::new(verifier.with_debug_tds(policy.debug_tds))
    };
    let production = verifier(&forge_1);
    let development = match forge_1.debug_tds == sandbox_1.debug_tds {
        true => Arc::clone(&production),
        false => verifier(&sandbox_1),
    };
    let judge = |policy: NetworkPolicy, verifier| {
        let policy_id = hex::encode(policy_digest(&policy));
        Arc::new(Judge {
            policy,
            policy_id,
            verifier,
        })
    };
    [judge(forge_1, production), judge(sandbox_1, development)]
}

/// Names a policy by its content: two records with one name were judged alike.
fn policy_digest(policy: &NetworkPolicy) -> Digest {
    sha256(format!("{policy:?}").as_bytes())
}
