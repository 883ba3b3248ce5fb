//! Signatures and chains of single pieces of collateral.

use dcap_qvl::{QeIdentity, TcbInfo};
use ee_core::attestation::Failure;
use ee_protocol::time::Timestamp;
use rustls_pki_types::CertificateDer;
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};

use super::invalid;
use crate::{
    chain,
    crypto::{self, REMEMBERING},
    der::{self, Certificate, RevocationList},
    pem,
    quote::PckCa,
    root::TrustRoot,
    window::Window,
};

/// TCB info or QE identity: the exact text, its raw signature, the signer's chain.
pub(crate) struct SignedText<'a> {
    /// Which of the two, for refusals.
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    pub(crate) signature: &'a [u8],
    pub(crate) chain: &'a [Vec<u8>],
}

impl SignedText<'_> {
    /// The signer stands directly below the root, is not revoked, and signed this text.
    pub(crate) fn verify(
        &self,
        root: &TrustRoot,
        root_list: Option<&CertRevocationList<'static>>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let fail = |what: String| invalid(self.name, what);
        let lists = root_list.map_or(&[][..], std::slice::from_ref);
        let between = chain::verify(root, self.chain, lists, now, REMEMBERING)
            .map_err(|error| fail(format!("signer's chain: {error}")))?;
        if between != 0 {
            return Err(fail(
                "a signer that the root did not issue itself".to_owned(),
            ));
        }
        let signature = crypto::der_signature(self.signature)
            .ok_or_else(|| fail("a signature of another length".to_owned()))?;
        let leaf = CertificateDer::from_slice(&self.chain[0]);
        EndEntityCert::try_from(&leaf)
            .and_then(|leaf| leaf.verify_signature(REMEMBERING, self.text.as_bytes(), &signature))
            .map_err(|error| fail(format!("signature: {error}")))
    }
}

/// The root's own revocation list, verified.
pub(crate) fn root_list(
    root: &TrustRoot,
    list: &[u8],
) -> Result<CertRevocationList<'static>, Failure> {
    let info = &root.anchor().subject_public_key_info;
    OwnedCertRevocationList::from_der_verified(list, info, &[REMEMBERING])
        .map(CertRevocationList::from)
        .map_err(|error| invalid("root-crl", error.to_string()))
}

/// A PCK authority's list: signed by an authority of that name, which the root issued.
pub(crate) fn verify_pck_list(
    root: &TrustRoot,
    list: &[u8],
    issuer: &[u8],
    now: Timestamp,
) -> Result<(), Failure> {
    let fail = |what: &str| invalid("pck-crl", what);
    let issuer = Certificate::read(issuer).ok_or_else(|| fail("an unreadable issuer"))?;
    if !issuer.validity.contains(now) {
        return Err(fail("an issuer outside its validity"));
    }
    let root_key = der::public_key(&root.anchor().subject_public_key_info)
        .ok_or_else(|| fail("a root without a key"))?;
    REMEMBERING
        .verify_signature(root_key, issuer.signed, issuer.signature)
        .map_err(|_| fail("an issuer that the root did not sign"))?;
    let names = RevocationList::read(list).ok_or_else(|| fail("an unreadable list"))?;
    if names.issuer != issuer.subject {
        return Err(fail("a list of another issuer"));
    }
    OwnedCertRevocationList::from_der_verified(list, issuer.public_key_info, &[REMEMBERING])
        .map(|_| ())
        .map_err(|error| fail(&error.to_string()))
}

/// The authority that a certificate's subject names.
pub(crate) fn authority(certificate: &Certificate<'_>) -> Option<PckCa> {
    let named = |word: &[u8]| {
        certificate
            .subject
            .windows(word.len())
            .any(|part| part == word)
    };
    match (named(b"Platform"), named(b"Processor")) {
        (true, false) => Some(PckCa::Platform),
        (false, true) => Some(PckCa::Processor),
        (true, true) | (false, false) => None,
    }
}

/// The certificates of a chain, and the time in which all of them are valid.
pub(crate) fn read_chain(name: &str, text: &str) -> Result<(Vec<Vec<u8>>, Window), Failure> {
    let fail = || invalid(name, "an unreadable issuer chain");
    let chain = pem::certificates(text.as_bytes()).ok_or_else(fail)?;
    let mut window = Window::ALWAYS;
    for der in &chain {
        window = window.and(Certificate::read(der).ok_or_else(fail)?.validity);
    }
    Ok((chain, window))
}

/// TCB info parsed, its levels in the order in which Intel's library and dcap-qvl match them.
pub(crate) fn read_tcb_info(text: &str) -> Result<(TcbInfo, Window), Failure> {
    let name = "tcb-info";
    let mut info: TcbInfo =
        serde_json::from_str(text).map_err(|error| invalid(name, error.to_string()))?;
    info.tcb_levels.sort_by(|a, b| {
        let key = |level: &dcap_qvl::TcbLevel| {
            let tcb = &level.tcb;
            (
                tcb.sgx_components.clone(),
                tcb.pce_svn,
                tcb.tdx_components.clone(),
            )
        };
        key(b).cmp(&key(a))
    });
    let window = json_window(name, &info.issue_date, &info.next_update)?;
    Ok((info, window))
}

/// QE identity parsed.
pub(crate) fn read_qe_identity(text: &str) -> Result<(QeIdentity, Window), Failure> {
    let name = "qe-identity";
    let identity: QeIdentity =
        serde_json::from_str(text).map_err(|error| invalid(name, error.to_string()))?;
    let window = json_window(name, &identity.issue_date, &identity.next_update)?;
    Ok((identity, window))
}

fn json_window(name: &str, issued: &str, next: &str) -> Result<Window, Failure> {
    let date =
        |text| Timestamp::parse_rfc3339(text).ok_or_else(|| invalid(name, "an unreadable date"));
    Ok(Window {
        from: date(issued)?,
        until: date(next)?,
    })
}
