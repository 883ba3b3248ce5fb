//! The root that every chain must end at. A constructor argument, never a setting.

use ee_protocol::report_data::{Digest, sha256};
use rustls_pki_types::{CertificateDer, TrustAnchor};

/// Intel SGX Provisioning Certification Root CA, as published by Intel.
const INTEL: &[u8] = include_bytes!("../assets/intel-sgx-root-ca.der");

/// The bytes are no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the trust root is no X.509 certificate")]
pub struct RootError;

/// A certificate authority that endorses platforms.
#[derive(Debug, Clone)]
pub struct TrustRoot {
    name: String,
    der: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    digest: Digest,
}

impl TrustRoot {
    /// Intel's production root, compiled in: the only one that production binaries contain.
    pub fn intel() -> Self {
        Self::new("intel", INTEL).expect("the compiled-in root is a certificate")
    }

    /// Another root: simulated platforms of tests, benchmarks and `easyenclave dev`.
    pub fn new(name: &str, der: &[u8]) -> Result<Self, RootError> {
        let certificate = CertificateDer::from(der.to_vec());
        let anchor = webpki::anchor_from_trusted_cert(&certificate)
            .map_err(|_| RootError)?
            .to_owned();
        Ok(Self {
            name: name.to_owned(),
            der: certificate,
            anchor,
            digest: sha256(der),
        })
    }

    /// The name that results and `/health` show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the certificate.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) fn anchor(&self) -> &TrustAnchor<'static> {
        &self.anchor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_in_root_is_intels() {
        assert_eq!(
            hex::encode(TrustRoot::intel().digest()),
            "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
        );
    }

    #[test]
    fn junk_is_no_root() {
        assert_eq!(TrustRoot::new("junk", b"junk").err(), Some(RootError));
    }
}
