//! What the PCK certificate inside a quote names: platform family and authority. Unverified.

use ee_core::attestation::Failure;

use crate::{
    der::Certificate,
    pem,
    quote::{malformed, unsupported},
    window::Window,
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

/// What the leaf of a PCK chain names. Unverified, but of the same bytes that are verified later.
#[derive(Debug, Clone)]
pub(crate) struct PckLeaf {
    /// The platform family.
    pub(crate) fmspc: [u8; 6],
    /// The authority that issued it.
    pub(crate) ca: PckCa,
    /// Security versions of the processor and its microcode.
    pub(crate) cpu_svn: [u8; 16],
    /// Security version of the provisioning enclave.
    pub(crate) pce_svn: u16,
    /// Provisioning id: names the machine.
    pub(crate) ppid: Vec<u8>,
    /// Instance id of machines with several packages.
    pub(crate) instance: Vec<u8>,
    /// When the certificate is valid.
    pub(crate) validity: Window,
}

/// Reads the leaf of a PCK chain.
pub(crate) fn leaf(chain: &[u8]) -> Result<PckLeaf, Failure> {
    let unreadable = || malformed("a PCK chain that cannot be read");
    let blocks = pem::blocks(chain).ok_or_else(unreadable)?;
    let der = pem::decode(blocks[0]).ok_or_else(unreadable)?;
    let certificate = Certificate::read(&der).ok_or_else(unreadable)?;
    let ca = authority(&certificate)?;
    read(&certificate, ca).ok_or_else(unreadable)
}

/// Paths into the SGX extension: 1 PPID, 2 TCB (17 PCESVN, 18 CPUSVN), 4 FMSPC, 6 instance.
fn read(certificate: &Certificate<'_>, ca: PckCa) -> Option<PckLeaf> {
    let values = certificate.sgx_extension()?;
    let tcb = values.inside(&[2])?;
    let pce_svn = match tcb.get(&[2, 17])? {
        [low] => u16::from(*low),
        [high, low] => u16::from_be_bytes([*high, *low]),
        _ => return None,
    };
    Some(PckLeaf {
        fmspc: values.get(&[4])?.try_into().ok()?,
        ca,
        cpu_svn: tcb.get(&[2, 18])?.try_into().ok()?,
        pce_svn,
        ppid: values.get(&[1])?.to_vec(),
        instance: values.get(&[6]).unwrap_or_default().to_vec(),
        validity: certificate.validity,
    })
}

/// dcap-qvl counts unknown issuers as Processor CA; here they are refused.
fn authority(certificate: &Certificate<'_>) -> Result<PckCa, Failure> {
    let issuer = certificate.issuer;
    let named = |word: &[u8]| issuer.windows(word.len()).any(|part| part == word);
    match (named(b"Platform"), named(b"Processor")) {
        (true, false) => Ok(PckCa::Platform),
        (false, true) => Ok(PckCa::Processor),
        (true, true) | (false, false) => Err(unsupported(
            "a PCK certificate of Intel's Platform or Processor CA",
            "another CA",
        )),
    }
}
