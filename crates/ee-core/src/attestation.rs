//! The outcome of appraising evidence: verdict, code, blame, result.
//!
//! RATS words (RFC 9334). The codes stand in the order of the stages that give them; the order is
//! API (ATTESTATION 1): of several defects the earliest stage speaks. ee-attest makes verdicts,
//! the session acts on them, the registry remembers the result.

use std::fmt;

use ee_protocol::{refusal::Refusal, report_data::Digest, time::Timestamp};

/// Whose fault a failure is. Only the agent's and the platform's ever cost a node anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The agent or the code it runs.
    Agent,
    /// The app's release: its allowlist.
    Release,
    /// The machine, its firmware or its operator.
    Platform,
    /// Ours, Intel's or GitHub's: the verdict is `Indeterminate`.
    Us,
}

macro_rules! codes {
    ($($blame:ident, $stage:literal: { $($variant:ident = $text:literal,)* })*) => {
        /// Which check failed. Twelve stages, cheap before costly; first failure wins.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AttestationCode {
            $($(
                #[doc = concat!("`", $text, "`, stage ", stringify!($stage), ".")]
                $variant,
            )*)*
        }

        impl AttestationCode {
            /// Every code, in order of precedence.
            pub const ALL: &[Self] = &[$($(Self::$variant,)*)*];

            /// The stable word on the wire. `measurement_mismatch` takes a subject behind a colon.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($(Self::$variant => $text,)*)*
                }
            }

            /// The stage of the pipeline, 1 to 12.
            pub const fn stage(self) -> u8 {
                match self {
                    $($(Self::$variant => $stage,)*)*
                }
            }

            /// Whose fault it is.
            pub const fn blame(self) -> Blame {
                match self {
                    $($(Self::$variant => Blame::$blame,)*)*
                }
            }
        }
    };
}

codes! {
    Agent, 1: {
        MissingQuoteOrMeasurements = "missing_quote_or_measurements",
        EvidenceMalformed = "evidence_malformed",
        EvidenceTooLarge = "evidence_too_large",
    }
    Agent, 2: {
        UnexpectedAttestation = "unexpected_attestation",
        NonceMismatch = "nonce_mismatch",
        AttestationTimeout = "attestation_timeout",
        AgentError = "agent_error",
    }
    Agent, 3: {
        QuoteMalformed = "quote_malformed",
        QuoteUnsupported = "quote_unsupported",
        QuoteTrailingData = "quote_trailing_data",
        TdDebug = "td_debug",
        TdAttributesForbidden = "td_attributes_forbidden",
        ServiceTdForbidden = "service_td_forbidden",
    }
    Agent, 4: {
        ReportDataMismatch = "report_data_mismatch",
        WorkloadDigestMismatch = "workload_digest_mismatch",
        BindingRequired = "binding_required",
        BindingMismatch = "binding_mismatch",
        NodeTokenRequired = "node_token_required",
        NodeTokenInvalid = "node_token_invalid",
    }
    Us, 5: {
        AllowlistUnavailable = "allowlist_unavailable",
    }
    Release, 5: {
        AllowlistNotFound = "allowlist_not_found",
        AllowlistInvalid = "allowlist_invalid",
        AllowlistMissingMeasurements = "allowlist_missing_measurements",
        AllowlistRepoMoved = "allowlist_repo_moved",
        AllowlistDigestChanged = "allowlist_digest_changed",
        AllowlistRevoked = "allowlist_revoked",
        ProvenanceInsufficient = "provenance_insufficient",
    }
    Agent, 6: {
        ClaimMismatch = "measurement_mismatch",
    }
    Us, 7: {
        CollateralUnavailable = "collateral_unavailable",
        CollateralInvalid = "collateral_invalid",
        CollateralNotYetValid = "collateral_not_yet_valid",
        CollateralExpired = "collateral_expired",
        ClockUntrusted = "clock_untrusted",
    }
    Platform, 8: {
        PlatformChainInvalid = "platform_chain_invalid",
        PlatformRevoked = "platform_revoked",
        QeInvalid = "qe_invalid",
        QuoteSignatureInvalid = "quote_signature_invalid",
        TcbLevelNone = "tcb_level_none",
        TdxModuleInvalid = "tdx_module_invalid",
        TcbRevoked = "tcb_revoked",
        QuoteUnverified = "quote_unverified",
    }
    Platform, 9: {
        TcbStatusRefused = "tcb_status_refused",
        TcbGraceOver = "tcb_grace_over",
        TcbTooOld = "tcb_too_old",
        TcbEvalTooLow = "tcb_eval_too_low",
        AdvisoryRefused = "advisory_refused",
        TdAttributesRefused = "td_attributes_refused",
        PlatformRefused = "platform_refused",
    }
    Agent, 10: {
        EventLogInvalid = "event_log_invalid",
        EventLogMismatch = "event_log_mismatch",
        RegisterMismatch = "measurement_mismatch",
    }
    Agent, 11: {
        SealedClaimMismatch = "sealed_claim_mismatch",
        SealedRequired = "sealed_required",
    }
    Us, 12: {
        LogUnavailable = "log_unavailable",
    }
}

impl fmt::Display for AttestationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why evidence was refused or could not be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The check that failed.
    pub code: AttestationCode,
    /// What `measurement_mismatch` is about: `rtmr2`, `agent_dir_sha256`, …
    pub subject: Option<String>,
    /// Explanations for a person; may be empty where the code says it all.
    pub refusals: Vec<Refusal>,
}

impl Failure {
    /// A failure that the code alone explains.
    pub fn new(code: AttestationCode) -> Self {
        Self {
            code,
            subject: None,
            refusals: Vec::new(),
        }
    }

    /// Names what the failure is about.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Adds an explanation.
    #[must_use]
    pub fn explained(mut self, refusal: Refusal) -> Self {
        self.refusals.push(refusal);
        self
    }

    /// The word in `status.reason`: `code` or `code:subject`.
    pub fn reason(&self) -> String {
        match &self.subject {
            Some(subject) => format!("{}:{subject}", self.code),
            None => self.code.to_string(),
        }
    }
}

/// What appraisal of evidence comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The evidence holds.
    Pass(Box<AttestationResult>),
    /// It does not, and that is the agent's, the release's or the platform's to mend.
    Fail(Failure),
    /// It could not be judged, through no fault of the agent.
    Indeterminate(Failure),
}

impl From<Failure> for Verdict {
    /// Blame decides: what is our own or an upstream's fault is never held against an agent.
    fn from(failure: Failure) -> Self {
        match failure.code.blame() {
            Blame::Us => Self::Indeterminate(failure),
            Blame::Agent | Blame::Release | Blame::Platform => Self::Fail(failure),
        }
    }
}

/// How firmly the quote is tied to this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BindingStrength {
    /// Not at all: the prototype's agents.
    None,
    /// To the challenge's nonce.
    Nonce,
    /// To the inner TLS session.
    Channel,
}

impl BindingStrength {
    /// The word in status payloads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Nonce => "nonce",
            Self::Channel => "channel",
        }
    }
}

/// What the allowlist entry pinned of the measured registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinning {
    /// No register: claims only, sandbox only, never sealed.
    None,
    /// Some registers.
    Partial,
    /// All that `sealed` demands.
    Full,
}

impl Pinning {
    /// The word in results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Partial => "partial",
            Self::Full => "full",
        }
    }
}

/// Where the reference values came from, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provenance {
    /// The operator's own directory; counts as a release.
    Local,
    /// A GitHub release.
    Release,
    /// A GitHub release that cannot be changed any more.
    ReleaseImmutable,
}

impl Provenance {
    /// The word in results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Release => "release",
            Self::ReleaseImmutable => "release-immutable",
        }
    }
}

/// The status of a platform's TCB, as Intel's TCB info and QE identity give it, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    missing_docs,
    reason = "the names are Intel's own (PCS v4 API, tcbStatus)"
)]
pub enum TcbStatus {
    UpToDate,
    SWHardeningNeeded,
    ConfigurationNeeded,
    ConfigurationAndSWHardeningNeeded,
    TDRelaunchAdvised,
    TDRelaunchAdvisedConfigurationNeeded,
    OutOfDate,
    OutOfDateConfigurationNeeded,
    Revoked,
}

impl TcbStatus {
    /// Every status, best first.
    pub const ALL: [Self; 9] = [
        Self::UpToDate,
        Self::SWHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSWHardeningNeeded,
        Self::TDRelaunchAdvised,
        Self::TDRelaunchAdvisedConfigurationNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::Revoked,
    ];

    /// Intel's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SWHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSWHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::TDRelaunchAdvised => "TDRelaunchAdvised",
            Self::TDRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::Revoked => "Revoked",
        }
    }

    /// Reads Intel's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a passed appraisal established. Made by ee-attest from a `VerifiedQuote` only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationResult {
    /// When the evidence was appraised.
    pub at: Timestamp,
    /// Name of the trust root: `intel` in every production binary.
    pub trust_root: String,
    /// Whether the workload is sealed: decided by registers, never by its claim.
    pub sealed: bool,
    /// How firmly the quote is tied to the connection.
    pub binding: BindingStrength,
    /// What the matched entry pinned.
    pub pinning: Pinning,
    /// Where the reference values came from.
    pub provenance: Provenance,
    /// SHA-256 of the allowlist that matched.
    pub allowlist_digest: Digest,
    /// Which entry matched; empty for the top-level one.
    pub allowlist_entry: String,
    /// The platform's TCB status.
    pub tcb_status: TcbStatus,
    /// The date of the matched TCB level.
    pub tcb_date: Timestamp,
    /// Intel's advisories that apply, in Intel's order.
    pub advisories: Vec<String>,
    /// Passed with a reservation (policy says "flagged").
    pub flagged: bool,
    /// The lower evaluation data number of TCB info and QE identity.
    pub tcb_eval_data_number: u32,
    /// Identity of the evidence: SHA-256 of the quote's signed body.
    pub evidence_digest: Digest,
    /// When the collateral behind the verdict first expires.
    pub collateral_expires_at: Timestamp,
    /// The machine's pseudonym, which bans hold on to; none in what was read back from the store,
    /// for only a session that joins tells it.
    pub platform: Option<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_in_order_of_stages() {
        let stages: Vec<u8> = AttestationCode::ALL
            .iter()
            .map(|code| code.stage())
            .collect();
        assert!(stages.is_sorted(), "{stages:?}");
        assert!(AttestationCode::ALL.is_sorted());
    }

    #[test]
    fn our_own_fault_is_never_a_fail() {
        for code in AttestationCode::ALL {
            let verdict = Verdict::from(Failure::new(*code));
            let indeterminate = matches!(verdict, Verdict::Indeterminate(_));
            assert_eq!(indeterminate, code.blame() == Blame::Us, "{code}");
        }
    }

    #[test]
    fn a_subject_follows_the_code() {
        let failure = Failure::new(AttestationCode::RegisterMismatch).about("rtmr2");
        assert_eq!(failure.reason(), "measurement_mismatch:rtmr2");
    }

    #[test]
    fn intels_spelling_of_statuses_round_trips() {
        for status in TcbStatus::ALL {
            assert_eq!(TcbStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(TcbStatus::parse("uptodate"), None);
    }
}
