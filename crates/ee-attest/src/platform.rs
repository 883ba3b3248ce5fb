//! Stages 7 and 8: collateral counts now, and the quote comes from the platform it names.
//!
//! The proof is dcap-qvl's `verify` under the root that the verifier was made with. Its result
//! is kept per platform (see `cache`), so that the next quote of a known platform costs one
//! signature. [`VerifiedQuote`] has no public constructor: forgetting to verify does not compile.

mod cache;
mod classify;
#[cfg(test)]
mod matrix_tests;
mod tcb;

use std::sync::Arc;

use dcap_qvl::verify::{QuoteVerifier, VerifiedReport};
use ee_core::attestation::{Failure, TcbStatus};
use ee_protocol::{
    report_data::{Digest, sha256},
    time::Timestamp,
};
use ring::hmac;

use self::{cache::Cache, tcb::Platform};
use crate::{
    chain::unix_seconds,
    collateral::{CollateralBundle, check_dates, invalid},
    crypto::{self, Backend},
    der::Certificate,
    pck::PckLeaf,
    quote::{DebugTds, ParsedQuote, PckCa},
    registers::Registers,
    root::TrustRoot,
    window::Window,
};

/// Platforms whose verdict is kept (ATTESTATION 11): 64 MiB at most.
const VERDICTS_MAX: usize = 65_536;

/// Limits of a verifier.
#[derive(Debug, Clone, Copy)]
pub struct VerifierLimits {
    /// Platforms whose verdict is kept.
    pub verdicts_max: usize,
}

impl Default for VerifierLimits {
    fn default() -> Self {
        Self {
            verdicts_max: VERDICTS_MAX,
        }
    }
}

/// What full verification established about a platform; the same for all its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PlatformVerdict {
    tcb_status: TcbStatus,
    tcb_date: Timestamp,
    advisories: Vec<String>,
    eval_data_number: u32,
    level_id: String,
    advice: String,
    fmspc: [u8; 6],
    ca: PckCa,
    /// Every date of collateral, chains and root.
    window: Window,
    /// PPID and platform instance id: name a machine, leave only as an HMAC.
    machine: Vec<u8>,
}

/// A quote whose chain and signatures hold. Made by [`Verifier::platform`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedQuote {
    registers: Registers,
    evidence_digest: Digest,
    trust_root: Arc<str>,
    platform: Arc<PlatformVerdict>,
}

impl VerifiedQuote {
    /// The registers, signed by the platform.
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// SHA-256 of the signed body.
    pub fn evidence_digest(&self) -> &Digest {
        &self.evidence_digest
    }

    /// The platform's TCB status.
    pub fn tcb_status(&self) -> TcbStatus {
        self.platform.tcb_status
    }

    /// The date of the matched TCB level.
    pub fn tcb_date(&self) -> Timestamp {
        self.platform.tcb_date
    }

    /// Advisories that apply, in Intel's order.
    pub fn advisories(&self) -> &[String] {
        &self.platform.advisories
    }

    /// The lower evaluation data number of TCB info and QE identity.
    pub fn tcb_eval_data_number(&self) -> u32 {
        self.platform.eval_data_number
    }

    /// A stable name of (platform family, TCB level): the key of "first seen out of date".
    pub fn level_id(&self) -> &str {
        &self.platform.level_id
    }

    /// What would bring the platform up to date; empty if it is.
    pub fn advice(&self) -> &str {
        &self.platform.advice
    }

    /// The platform family.
    pub fn fmspc(&self) -> [u8; 6] {
        self.platform.fmspc
    }

    /// The authority that issued the PCK certificate.
    pub fn ca(&self) -> PckCa {
        self.platform.ca
    }

    /// When collateral and certificates behind the verdict count.
    pub fn collateral_valid(&self) -> Window {
        self.platform.window
    }

    /// A pseudonym of the machine under a local key; its real ids go nowhere.
    pub fn platform_identity(&self, key: &[u8]) -> Digest {
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, key),
            &self.platform.machine,
        );
        let mut identity = [0; 32];
        identity.copy_from_slice(tag.as_ref());
        identity
    }

    /// Name of the root that the chain ends at.
    pub fn trust_root(&self) -> &str {
        &self.trust_root
    }
}

/// Verifies quotes under one root. Share it by `Arc`; work is CPU-bound and lock-free but for
/// short look-ups.
pub struct Verifier {
    root: TrustRoot,
    root_name: Arc<str>,
    root_validity: Window,
    debug_tds: DebugTds,
    full: QuoteVerifier<Backend>,
    cache: Cache,
}

impl Verifier {
    /// A verifier under `root`.
    pub fn new(root: TrustRoot, limits: VerifierLimits) -> Self {
        let validity = Certificate::read(root.der())
            .map_or(Window::ALWAYS, |certificate| certificate.validity);
        Self {
            full: QuoteVerifier::new_with_config(root.der().to_vec()),
            root_name: root.name().into(),
            root_validity: validity,
            root,
            debug_tds: DebugTds::Refused,
            cache: Cache::new(limits.verdicts_max),
        }
    }

    /// The same verifier with a rule of its own for debuggable TDs (development networks).
    #[must_use]
    pub fn with_debug_tds(mut self, debug_tds: DebugTds) -> Self {
        let allow = debug_tds == DebugTds::Allowed;
        self.full = QuoteVerifier::new_with_config(self.root.der().to_vec()).allow_debug(allow);
        self.debug_tds = debug_tds;
        self.cache.forget_all();
        self
    }

    /// The root that chains must end at.
    pub fn root(&self) -> &TrustRoot {
        &self.root
    }

    /// Whether this verifier lets debuggable TDs pass the form stage.
    pub fn debug_tds(&self) -> DebugTds {
        self.debug_tds
    }

    /// Stages 7 and 8.
    pub fn platform(
        &self,
        quote: &ParsedQuote,
        bundle: &CollateralBundle,
        now: Timestamp,
    ) -> Result<VerifiedQuote, Failure> {
        check_dates(bundle.dates(), now)?;
        check_dates([("trust root", self.root_validity)], now)?;
        if (quote.fmspc(), quote.ca()) != (bundle.fmspc(), bundle.ca()) {
            self.chain_ends_at_root(quote, now)?;
            let family = hex::encode(bundle.fmspc());
            return Err(invalid(
                "bundle",
                format!("another platform family or CA: {family}"),
            ));
        }
        let generation = self.generation(bundle);
        let key = cache::key(&generation, quote);
        if let Some(known) = self
            .cache
            .get(&key)
            .filter(|known| known.window.contains(now))
        {
            return match classify::body_signature_holds(quote) {
                true => Ok(self.verified(quote, known)),
                false => Err(classify::signature_invalid()),
            };
        }
        let verdict = Arc::new(self.verify_in_full(quote, bundle, now)?);
        self.cache.insert(key, generation, Arc::clone(&verdict));
        Ok(self.verified(quote, verdict))
    }

    /// Stages 3, 7 and 8 over raw bytes: for tools and benchmarks. The second call for a
    /// platform is the warm path.
    pub fn verify_quote(
        &self,
        bytes: &[u8],
        bundle: &CollateralBundle,
        now: Timestamp,
    ) -> Result<VerifiedQuote, Failure> {
        self.platform(&ParsedQuote::parse(bytes, self.debug_tds)?, bundle, now)
    }

    /// Whether chain and signatures hold, whatever our own form rules say: status and advisories
    /// if they do. For tools that explain a refused quote; it proves nothing to anybody else.
    pub fn chain_and_signatures(
        &self,
        bytes: &[u8],
        bundle: &CollateralBundle,
        now: Timestamp,
    ) -> Option<(TcbStatus, Vec<String>)> {
        let report = self
            .full
            .verify(bytes, bundle.lean(), unix_seconds(now))
            .ok()?;
        Some((TcbStatus::parse(&report.status)?, report.advisory_ids))
    }

    /// Whether the PCK chain ends at our root: asked before collateral for an unknown platform
    /// family is fetched, so that strangers cannot make us fetch (ATTESTATION 5.7).
    pub fn chain_ends_at_root(&self, quote: &ParsedQuote, now: Timestamp) -> Result<(), Failure> {
        classify::chain_ends_at_root(&self.root, quote, now)
    }

    /// Drops the verdicts that a replaced bundle had decided.
    pub fn forget(&self, bundle: &CollateralBundle) {
        self.cache.forget(&self.generation(bundle));
    }

    /// Forgets every verdict and, in the whole process, every remembered signature.
    pub fn forget_all(&self) {
        self.cache.forget_all();
        crypto::forget_all();
    }

    fn generation(&self, bundle: &CollateralBundle) -> cache::Generation {
        let mut input = [0; 65];
        input[..32].copy_from_slice(self.root.digest());
        input[32..64].copy_from_slice(bundle.digest());
        input[64] = u8::from(self.debug_tds == DebugTds::Allowed);
        sha256(&input)
    }

    fn verified(&self, quote: &ParsedQuote, platform: Arc<PlatformVerdict>) -> VerifiedQuote {
        VerifiedQuote {
            registers: quote.registers().clone(),
            evidence_digest: *quote.evidence_digest(),
            trust_root: Arc::clone(&self.root_name),
            platform,
        }
    }

    fn verify_in_full(
        &self,
        quote: &ParsedQuote,
        bundle: &CollateralBundle,
        now: Timestamp,
    ) -> Result<PlatformVerdict, Failure> {
        let explain = || classify::failure(&self.root, quote, bundle, now);
        let report = self
            .full
            .verify(quote.bytes(), bundle.lean(), unix_seconds(now))
            .map_err(|_| explain())?;
        self.verdict(quote, bundle, &report, now)
            .ok_or_else(explain)
    }

    /// Adds dates, level and identity to dcap-qvl's report; `None` where the two disagree.
    fn verdict(
        &self,
        quote: &ParsedQuote,
        bundle: &CollateralBundle,
        report: &VerifiedReport,
        now: Timestamp,
    ) -> Option<PlatformVerdict> {
        let path = classify::validity(quote)?;
        let window = bundle.window().and(self.root_validity).and(path);
        let pck = quote.pck();
        let qe_isv_svn = classify::qe_isv_svn(quote);
        let platform = Platform {
            bundle,
            pck,
            registers: quote.registers(),
            qe_isv_svn,
        };
        let matched = platform.matched().ok()?;
        let (status, tcb_date) = (TcbStatus::parse(&report.status)?, matched.date()?);
        let agreed = matched.platform_status() == report.platform_status.status
            && pck.ppid == report.ppid
            && window.contains(now);
        let advice = if status == TcbStatus::UpToDate {
            String::new()
        } else {
            platform.advice()
        };
        agreed.then(|| PlatformVerdict {
            tcb_status: status,
            tcb_date,
            advisories: report.advisory_ids.clone(),
            eval_data_number: bundle.eval_data_number(),
            level_id: matched.id(pck.fmspc),
            advice,
            fmspc: pck.fmspc,
            ca: quote.ca(),
            window,
            machine: machine(pck),
        })
    }
}

/// What names the machine, length before each part.
fn machine(pck: &PckLeaf) -> Vec<u8> {
    [&pck.ppid.len().to_be_bytes()[..], &pck.ppid, &pck.instance].concat()
}
