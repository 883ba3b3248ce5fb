//! Quotes v4 and v5 in Intel's layout, made as the quoting enclave makes them.

use ring::digest;

use crate::{
    keys::SimKey,
    tcb::{PCE_SVN, QE_PRODUCT, QE_SIGNER},
    td::Td,
};

const TEE_TDX: u32 = 0x81;
const ECDSA_P256: u16 = 2;
const QE_VENDOR_INTEL: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
const CERTIFICATION_QE_REPORT: u16 = 6;
const CERTIFICATION_PCK_CHAIN: u16 = 5;
const QE_REPORT_LEN: usize = 384;
/// `INIT` and `MODE64BIT` of an enclave's attributes.
const QE_ATTRIBUTES: u8 = 0x11;
const QE_ATTRIBUTE_DEBUG: u8 = 0x02;
/// Bytes that TD 1.5ex adds after a TD 1.5 body.
const TD15_EX_LEN: usize = 237;

/// Version of the quote and type of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuoteVersion {
    /// Version 4: TD 1.0 body.
    V4,
    /// Version 5, body type 2: TD 1.0.
    V5Td10,
    /// Version 5, body type 3: TD 1.5.
    V5Td15,
    /// Version 5, body type 4: TD 1.5 with service TD details.
    V5Td15Ex,
}

impl QuoteVersion {
    /// Every version.
    pub const ALL: [Self; 4] = [Self::V4, Self::V5Td10, Self::V5Td15, Self::V5Td15Ex];

    /// Whether the body carries the current TCB beside the launch TCB.
    pub const fn has_current_tcb(self) -> bool {
        match self {
            Self::V4 | Self::V5Td10 => false,
            Self::V5Td15 | Self::V5Td15Ex => true,
        }
    }

    const fn number(self) -> u16 {
        match self {
            Self::V4 => 4,
            Self::V5Td10 | Self::V5Td15 | Self::V5Td15Ex => 5,
        }
    }

    /// Type and size that v5 states before the body.
    const fn body_type(self) -> Option<(u16, u32)> {
        match self {
            Self::V4 => None,
            Self::V5Td10 => Some((2, 584)),
            Self::V5Td15 => Some((3, 648)),
            Self::V5Td15Ex => Some((4, 885)),
        }
    }
}

/// Security versions of the TDX module in a body.
#[derive(Debug, Clone, Copy)]
pub struct TeeTcb {
    /// When the TD was launched.
    pub launch: [u8; 16],
    /// Now (TD 1.5).
    pub current: [u8; 16],
}

/// The quoting enclave as it reports itself.
#[derive(Debug, Clone, Copy)]
pub struct QeShape {
    /// MRSIGNER.
    pub signer: [u8; 32],
    /// ISVPRODID.
    pub product: u16,
    /// ISVSVN.
    pub svn: u16,
    /// Whether it runs in debug mode.
    pub debug: bool,
}

impl QeShape {
    /// The genuine enclave with the given version.
    pub const fn genuine(svn: u16) -> Self {
        Self {
            signer: QE_SIGNER,
            product: QE_PRODUCT,
            svn,
            debug: false,
        }
    }
}

/// Header and body: the bytes that the attestation key signs.
pub fn signed_part(
    td: &Td,
    version: QuoteVersion,
    tcb: &TeeTcb,
    qe_svn: u16,
    report_data: &[u8; 64],
) -> Vec<u8> {
    // Room for the whole quote: certificates make up most of it.
    let mut out = Vec::with_capacity(8 * 1024);
    out.extend(version.number().to_le_bytes());
    out.extend(ECDSA_P256.to_le_bytes());
    out.extend(TEE_TDX.to_le_bytes());
    out.extend(qe_svn.to_le_bytes());
    out.extend(PCE_SVN.to_le_bytes());
    out.extend(QE_VENDOR_INTEL);
    out.extend([0; 20]);
    if let Some((kind, size)) = version.body_type() {
        out.extend(kind.to_le_bytes());
        out.extend(size.to_le_bytes());
    }
    push_td10(&mut out, td, &tcb.launch, report_data);
    if version.has_current_tcb() {
        out.extend(tcb.current);
        out.extend(td.mr_service_td);
    }
    if version == QuoteVersion::V5Td15Ex {
        out.extend([0; TD15_EX_LEN]);
    }
    out
}

fn push_td10(out: &mut Vec<u8>, td: &Td, tee_tcb_svn: &[u8; 16], report_data: &[u8; 64]) {
    out.extend(tee_tcb_svn);
    out.extend(td.mr_seam);
    out.extend(td.mr_signer_seam);
    out.extend(td.seam_attributes);
    out.extend(td.td_attributes);
    out.extend(td.xfam);
    out.extend(td.mrtd);
    out.extend(td.mr_config_id);
    out.extend(td.mr_owner);
    out.extend(td.mr_owner_config);
    out.extend(td.rtmr.as_flattened());
    out.extend(report_data);
}

/// Appends length, signature, attestation key and `certification`.
pub fn push_auth(out: &mut Vec<u8>, signature: [u8; 64], key: &SimKey, certification: &[u8]) {
    let length = length_of(64 + 64 + certification.len());
    out.extend(length.to_le_bytes());
    out.extend(signature);
    out.extend(key.public_xy());
    out.extend(certification);
}

/// The certification data that vouches for the attestation key: QE report, its signature by the PCK
/// key, the authentication data and the PCK chain.
pub fn certification(
    report: &[u8; QE_REPORT_LEN],
    report_signature: [u8; 64],
    authentication: &[u8; 32],
    pck_chain: &str,
) -> Vec<u8> {
    let mut inner = Vec::with_capacity(QE_REPORT_LEN + 128 + pck_chain.len());
    inner.extend(report);
    inner.extend(report_signature);
    inner.extend(32u16.to_le_bytes());
    inner.extend(authentication);
    inner.extend(CERTIFICATION_PCK_CHAIN.to_le_bytes());
    inner.extend(length_of(pck_chain.len()).to_le_bytes());
    inner.extend(pck_chain.as_bytes());
    let mut out = Vec::with_capacity(inner.len() + 6);
    out.extend(CERTIFICATION_QE_REPORT.to_le_bytes());
    out.extend(length_of(inner.len()).to_le_bytes());
    out.extend(inner);
    out
}

/// The quoting enclave's report about its attestation key.
pub fn qe_report(shape: &QeShape, key: &SimKey, authentication: &[u8; 32]) -> [u8; QE_REPORT_LEN] {
    let mut report = [0; QE_REPORT_LEN];
    report[48] = QE_ATTRIBUTES | if shape.debug { QE_ATTRIBUTE_DEBUG } else { 0 };
    report[56] = 0xe7;
    report[64..96].fill(0x4e);
    report[128..160].copy_from_slice(&shape.signer);
    report[256..258].copy_from_slice(&shape.product.to_le_bytes());
    report[258..260].copy_from_slice(&shape.svn.to_le_bytes());
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&key.public_xy());
    hash.update(authentication);
    report[320..352].copy_from_slice(hash.finish().as_ref());
    report
}

/// The quote with `count` zero bytes after it, as clouds pad.
pub fn padded(mut quote: Vec<u8>, count: usize) -> Vec<u8> {
    quote.resize(quote.len() + count, 0);
    quote
}

fn length_of(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("certification data is far below 4 GiB")
}
