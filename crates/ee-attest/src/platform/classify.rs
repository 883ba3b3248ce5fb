//! Which check of dcap-qvl failed, found by making the checks again.
//!
//! Its errors are text, and text is never parsed. Each step of the chain of trust is recomputed
//! in the order of the codes; what no step explains is `quote_unverified`, and no negative that
//! we can generate ends there.

use ee_core::attestation::{AttestationCode as Code, Failure};
use ee_protocol::{refusal::Refusal, report_data::sha256, time::Timestamp};
use rustls_pki_types::CertificateDer;
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};

use super::tcb::{NoLevel, Platform};
use crate::{
    chain,
    collateral::{CollateralBundle, invalid},
    crypto::{self, REMEMBERING},
    der::Certificate,
    pem,
    quote::ParsedQuote,
    root::TrustRoot,
    window::Window,
};

const QE_REPORT_ATTRIBUTES: usize = 48;
const QE_REPORT_MRSIGNER: usize = 128;
const QE_REPORT_PRODUCT: usize = 256;
const QE_REPORT_SVN: usize = 258;
const QE_REPORT_DATA: usize = 320;
const QE_DEBUG: u8 = 2;

/// The first check of stages 7 and 8 that a quote fails.
pub(super) fn failure(
    root: &TrustRoot,
    quote: &ParsedQuote,
    bundle: &CollateralBundle,
    now: Timestamp,
) -> Failure {
    let checks = [
        collateral,
        pck_chain,
        quoting_enclave,
        body_signature,
        levels,
    ];
    let inputs = Inputs {
        root,
        quote,
        bundle,
        now,
    };
    match checks.iter().find_map(|check| check(&inputs).err()) {
        Some(failure) => failure,
        None => platform(
            Code::QuoteUnverified,
            "platform",
            "a quote that verifies",
            "a quote that does not, for a reason unknown to us",
            "Report this with the quote: the log of the control plane has more.",
        ),
    }
}

/// Whether the PCK chain ends at the root; without collateral nothing is said of revocation.
pub(super) fn chain_ends_at_root(
    root: &TrustRoot,
    quote: &ParsedQuote,
    now: Timestamp,
) -> Result<(), Failure> {
    verify_pck_chain(root, quote, &[], now)
}

/// ISVSVN in the quoting enclave's report.
pub(super) fn qe_isv_svn(quote: &ParsedQuote) -> u16 {
    let report = quote.qe_report();
    u16::from_le_bytes([report[QE_REPORT_SVN], report[QE_REPORT_SVN + 1]])
}

struct Inputs<'a> {
    root: &'a TrustRoot,
    quote: &'a ParsedQuote,
    bundle: &'a CollateralBundle,
    now: Timestamp,
}

fn platform(code: Code, check: &str, expected: &str, actual: &str, hint: &str) -> Failure {
    Failure::new(code)
        .explained(Refusal::new(code.as_str(), check, hint).compared(expected, actual))
}

fn collateral(inputs: &Inputs<'_>) -> Result<(), Failure> {
    let Inputs {
        root, bundle, now, ..
    } = inputs;
    bundle.verify(root, *now)?;
    let (info, identity) = (bundle.tcb_info(), bundle.qe_identity());
    if info.id != "TDX" || info.version < 3 {
        return Err(invalid("tcb-info", "TCB info that is not for TDX"));
    }
    if identity.id != "TD_QE" || !(2..=3).contains(&identity.version) {
        return Err(invalid(
            "qe-identity",
            "an identity that is not the TDX quoting enclave's",
        ));
    }
    Ok(())
}

fn pck_chain(inputs: &Inputs<'_>) -> Result<(), Failure> {
    let Inputs {
        root,
        quote,
        bundle,
        now,
    } = inputs;
    let raw = bundle.raw();
    let info = &root.anchor().subject_public_key_info;
    let root_list =
        OwnedCertRevocationList::from_der_verified(&raw.root_ca_crl, info, &[REMEMBERING]);
    let pck_list = OwnedCertRevocationList::from_der(&raw.pck_crl);
    let (Ok(root_list), Ok(pck_list)) = (root_list, pck_list) else {
        return Err(invalid("crl", "an unreadable list"));
    };
    let lists: [CertRevocationList<'static>; 2] = [root_list.into(), pck_list.into()];
    verify_pck_chain(root, quote, &lists, *now)
}

/// When leaf and intermediates are valid, half-open. A root that the quote carries along is not
/// looked at: ours counts.
pub(super) fn validity(quote: &ParsedQuote) -> Option<Window> {
    let mut window = quote.pck().validity;
    for block in pem::blocks(quote.pck_chain())?.into_iter().skip(1) {
        let der = pem::decode(block)?;
        let Some(certificate) = Certificate::read(&der) else {
            continue;
        };
        if certificate.issuer != certificate.subject {
            window = window.and(certificate.validity);
        }
    }
    Some(window)
}

fn verify_pck_chain(
    root: &TrustRoot,
    quote: &ParsedQuote,
    lists: &[CertRevocationList<'_>],
    now: Timestamp,
) -> Result<(), Failure> {
    let chain = pem::certificates(quote.pck_chain()).unwrap_or_default();
    let outcome = chain::verify(root, &chain, lists, now, crypto::algorithm());
    let outcome = outcome.and_then(|_| match validity(quote) {
        Some(window) if window.contains(now) => Ok(()),
        Some(_) | None => Err(webpki::Error::InvalidCertValidity),
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(webpki::Error::CertRevoked) => Err(platform(
            Code::PlatformRevoked,
            "PCK chain",
            "a platform that Intel has not revoked",
            "revoked",
            "Move to another machine: Intel has revoked this one's keys.",
        )),
        Err(error) => Err(platform(
            Code::PlatformChainInvalid,
            "PCK chain",
            &format!(
                "a chain that ends at the root `{}` and is valid now",
                root.name()
            ),
            &error.to_string(),
            "Quote on a genuine TDX platform; if it is one, its owner renews the PCK certificate.",
        )),
    }
}

fn quoting_enclave(inputs: &Inputs<'_>) -> Result<(), Failure> {
    let quote = inputs.quote;
    let fail = |actual: &str| {
        let hint = "Quote with Intel's own quoting enclave of a current DCAP release.";
        let expected = "Intel's TDX quoting enclave, vouched for by the platform";
        Err(platform(
            Code::QeInvalid,
            "quoting enclave",
            expected,
            actual,
            hint,
        ))
    };
    let chain = pem::certificates(quote.pck_chain()).unwrap_or_default();
    if !signed_by_leaf(&chain, quote) {
        return fail("a report that the PCK key did not sign");
    }
    let report = quote.qe_report();
    let keyed = [quote.attestation_key(), quote.qe_authentication()].concat();
    if report[QE_REPORT_DATA..][..32] != sha256(&keyed) {
        return fail("a report about another attestation key");
    }
    let identity = inputs.bundle.qe_identity();
    if report[QE_REPORT_MRSIGNER..][..32] != identity.mrsigner {
        return fail("an enclave of another signer");
    }
    if report[QE_REPORT_PRODUCT..][..2] != identity.isvprodid.to_le_bytes() {
        return fail("another product of the signer");
    }
    if report[QE_REPORT_ATTRIBUTES] & QE_DEBUG != 0 {
        return fail("a debuggable enclave");
    }
    let masked = |actual: &[u8], expected: &[u8], mask: &[u8]| {
        actual
            .iter()
            .zip(expected)
            .zip(mask)
            .all(|((a, e), m)| a & m == e & m)
    };
    let misc = masked(
        &report[16..20],
        &identity.miscselect,
        &identity.miscselect_mask,
    );
    let attributes = &report[QE_REPORT_ATTRIBUTES..][..16];
    if !misc || !masked(attributes, &identity.attributes, &identity.attributes_mask) {
        return fail("an enclave with other attributes");
    }
    if identity
        .tcb_levels
        .iter()
        .all(|level| qe_isv_svn(quote) < level.tcb.isvsvn)
    {
        return fail("an enclave below every accepted version");
    }
    Ok(())
}

fn signed_by_leaf(chain: &[Vec<u8>], quote: &ParsedQuote) -> bool {
    let Some(leaf) = chain.first() else {
        return false;
    };
    let Some(signature) = crypto::der_signature(quote.qe_report_signature()) else {
        return false;
    };
    let leaf = CertificateDer::from_slice(leaf);
    EndEntityCert::try_from(&leaf).is_ok_and(|leaf| {
        leaf.verify_signature(crypto::algorithm(), quote.qe_report(), &signature)
            .is_ok()
    })
}

fn body_signature(inputs: &Inputs<'_>) -> Result<(), Failure> {
    if body_signature_holds(inputs.quote) {
        return Ok(());
    }
    Err(signature_invalid())
}

/// The attestation key signed this body.
pub(super) fn body_signature_holds(quote: &ParsedQuote) -> bool {
    crypto::raw_signature_holds(
        quote.attestation_key(),
        quote.signed_body(),
        quote.body_signature(),
    )
}

pub(super) fn signature_invalid() -> Failure {
    platform(
        Code::QuoteSignatureInvalid,
        "quote signature",
        "a body signed by the attestation key",
        "another body or signature",
        "Send the quote exactly as the platform gave it.",
    )
}

fn levels(inputs: &Inputs<'_>) -> Result<(), Failure> {
    let Inputs { quote, bundle, .. } = inputs;
    let qe_isv_svn = qe_isv_svn(quote);
    let platform_of = Platform {
        bundle,
        pck: quote.pck(),
        registers: quote.registers(),
        qe_isv_svn,
    };
    let Err(why) = platform_of.matched() else {
        return Ok(());
    };
    let advice = platform_of.advice();
    let (code, expected, actual) = match why {
        NoLevel::Platform => (
            Code::TcbLevelNone,
            "a TCB level that Intel lists",
            "versions below every level",
        ),
        NoLevel::Module => (
            Code::TdxModuleInvalid,
            "a TDX module that Intel lists",
            "an unknown, wrongly signed or too old TDX module",
        ),
        NoLevel::QuotingEnclave => (
            Code::QeInvalid,
            "a quoting enclave that Intel lists",
            "one below every version",
        ),
        NoLevel::Revoked => (Code::TcbRevoked, "a level that is not revoked", "Revoked"),
    };
    let hint = match advice.is_empty() {
        true => "The owner of the platform updates its firmware.".to_owned(),
        false => advice,
    };
    Err(platform(code, "platform TCB", expected, actual, &hint))
}
