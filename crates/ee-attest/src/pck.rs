//! What the PCK certificate inside a quote names: platform family and authority. Unverified.

use ee_core::attestation::Failure;

use crate::{
    der::Certificate,
    pem,
    quote::{malformed, unsupported},
};

/// The authority that issued a platform's PCK certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PckCa {
    /// Machines with several packages.
    Platform,
    /// Machines with one package.
    Processor,
}

impl PckCa {
    /// The word of the PCS query `ca=`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }
}

/// Platform family and authority of the PCK certificate, unverified.
pub(crate) fn leaf(chain: &[u8]) -> Result<([u8; 6], PckCa), Failure> {
    let no_chain = || malformed("a PCK chain that cannot be read");
    let blocks = pem::blocks(chain).ok_or_else(no_chain)?;
    let der = pem::decode(blocks[0]).ok_or_else(no_chain)?;
    let certificate = Certificate::read(&der).ok_or_else(no_chain)?;
    let fmspc = certificate.fmspc().ok_or_else(no_chain)?;
    let issued_by = |word: &[u8]| {
        certificate
            .issuer
            .windows(word.len())
            .any(|part| part == word)
    };
    match (issued_by(b"Platform"), issued_by(b"Processor")) {
        (true, false) => Ok((fmspc, PckCa::Platform)),
        (false, true) => Ok((fmspc, PckCa::Processor)),
        (true, true) | (false, false) => Err(unsupported(
            "a PCK certificate of Intel's Platform or Processor CA",
            "another CA",
        )),
    }
}
