//! A simulated platform, the demo image, and everything a verification of it takes.

use ee_attest::{
    Allowlist, AppraisalInput, CollateralBundle, Evidence, NetworkPolicy, PolicyFacts, Reference,
    TrustRoot, VerifiedQuote, Verifier, VerifierLimits, appraise_all,
};
use ee_core::attestation::{AttestationResult, Failure, Provenance, Verdict};
use ee_protocol::{
    report_data::{Binding, BindingFields, ReportData, Role, WorkloadClaims},
    time::Timestamp,
};
use ee_testbed::{
    image::DemoImage,
    platform::{SimOptions, SimPlatform},
    quote::QuoteVersion,
    td::Td,
};

/// 2026-05-28, inside every default window.
pub const NOW_S: u64 = 1_780_000_000;
pub const SEED: u64 = 7;

pub fn now() -> Timestamp {
    at(NOW_S)
}

pub fn at(unix_s: u64) -> Timestamp {
    Timestamp::from_unix_seconds(i64::try_from(unix_s).expect("a date of this millennium"))
}

pub fn good() -> SimPlatform {
    SimPlatform::new(SEED, SimOptions::default())
}

pub fn root(platform: &SimPlatform) -> TrustRoot {
    TrustRoot::new("simulated", platform.root_der()).expect("a certificate")
}

pub fn verifier(platform: &SimPlatform) -> Verifier {
    Verifier::new(root(platform), VerifierLimits::default())
}

/// A verifier that remembers no platform.
pub fn cold_verifier(platform: &SimPlatform) -> Verifier {
    Verifier::new(root(platform), VerifierLimits { verdicts_max: 0 })
}

pub fn bundle(platform: &SimPlatform) -> CollateralBundle {
    bundle_at(platform, NOW_S)
}

pub fn bundle_at(platform: &SimPlatform, unix_s: u64) -> CollateralBundle {
    let json = platform.collateral(unix_s).to_json();
    CollateralBundle::from_json(json.as_bytes()).expect("a bundle")
}

pub fn quote(platform: &SimPlatform, version: QuoteVersion) -> Vec<u8> {
    platform.quote(&Td::default(), version, &[7; 64])
}

/// Stages 3, 7 and 8.
pub fn verify(platform: &SimPlatform, quote: &[u8]) -> Result<VerifiedQuote, Failure> {
    verifier(platform).verify_quote(quote, &bundle(platform), now())
}

pub fn reason<T>(result: Result<T, Failure>) -> String {
    match result {
        Ok(_) => "pass".to_owned(),
        Err(failure) => {
            assert!(
                !failure.refusals.is_empty(),
                "{} explains nothing",
                failure.reason()
            );
            assert!(
                failure
                    .refusals
                    .iter()
                    .all(|refusal| !refusal.hint.is_empty())
            );
            failure.reason()
        }
    }
}

pub const NONCE: [u8; 32] = [9; 32];

pub const CHANNEL: Binding = Binding::TlsExporter {
    exporter: [1; 32],
    agent_spki: [2; 32],
    control_spki: [3; 32],
};

pub fn fields(binding: &Binding) -> BindingFields<'_> {
    BindingFields {
        role: Role::Agent,
        nonce: &NONCE,
        reason: "register",
        network: "forge-1",
        repo: DemoImage::REPO,
        release_tag: DemoImage::TAG,
        app_name: "hello",
        agent_id: "agent-1",
        node_id: "agent-1",
        binding,
    }
}

/// One attempt to pass; the default one does, on forge-1.
pub struct Attempt {
    pub platform: SimPlatform,
    pub image: DemoImage,
    pub td: Td,
    pub version: QuoteVersion,
    pub claims: WorkloadClaims,
    pub binding_digest: [u8; 32],
    pub event_log: Option<serde_json::Value>,
    pub allowlist: serde_json::Value,
    pub provenance: Provenance,
    pub policy: NetworkPolicy,
    pub facts: PolicyFacts,
    pub now_s: u64,
}

impl Default for Attempt {
    fn default() -> Self {
        let image = DemoImage::new(SEED);
        Self {
            platform: good(),
            td: image.td(),
            version: QuoteVersion::V4,
            claims: image.claims(),
            binding_digest: fields(&CHANNEL).digest(),
            event_log: Some(image.event_log()),
            allowlist: image.allowlist(),
            image,
            provenance: Provenance::Release,
            policy: NetworkPolicy::forge_1(),
            facts: PolicyFacts {
                newest_evaluation: 20,
                ..PolicyFacts::default()
            },
            now_s: NOW_S,
        }
    }
}

impl Attempt {
    pub fn on_sandbox() -> Self {
        Self {
            policy: NetworkPolicy::sandbox_1(),
            ..Self::default()
        }
    }

    pub fn evidence(&self) -> Evidence {
        let report_data = ReportData::new(&self.claims.digest(), &self.binding_digest);
        let quote = self.platform.quote(&self.td, self.version, &report_data.0);
        Evidence::from_parts(
            quote,
            report_data,
            self.claims.clone(),
            self.event_log.clone(),
        )
    }

    pub fn verdict(&self) -> Verdict {
        self.verdict_of(&self.evidence(), &fields(&CHANNEL))
    }

    pub fn verdict_of(&self, evidence: &Evidence, fields: &BindingFields<'_>) -> Verdict {
        let text = serde_json::to_vec(&self.allowlist).expect("JSON");
        let allowlist = match Allowlist::parse(&text) {
            Ok(allowlist) => allowlist,
            Err(failure) => return failure.into(),
        };
        let verifier = verifier(&self.platform).with_debug_tds(self.policy.debug_tds);
        let input = AppraisalInput {
            evidence,
            binding: fields,
            reference: Reference {
                allowlist: &allowlist,
                release_tag: self.image.tag(),
                provenance: self.provenance,
            },
            collateral: &bundle_at(&self.platform, self.now_s),
            policy: &self.policy,
            facts: &self.facts,
            now: at(self.now_s),
        };
        appraise_all(&verifier, &input)
    }

    pub fn reason(&self) -> String {
        reason_of(self.verdict())
    }

    pub fn result(&self) -> AttestationResult {
        match self.verdict() {
            Verdict::Pass(result) => *result,
            Verdict::Fail(failure) | Verdict::Indeterminate(failure) => {
                panic!("refused: {failure:?}")
            }
        }
    }
}

pub fn reason_of(verdict: Verdict) -> String {
    match verdict {
        Verdict::Pass(_) => "pass".to_owned(),
        Verdict::Fail(failure) | Verdict::Indeterminate(failure) => reason::<()>(Err(failure)),
    }
}
