//! Stage 3, form: a quote's bytes become a `ParsedQuote`, or are refused cheaply.
//!
//! Quotes are malleable: trailing bytes, padding and lengths that nobody checks leave room for
//! many spellings of one quote. The canonical form is accepted only: used = end of body + 4 +
//! length of the authentication data, nested lengths that fill their container exactly, and
//! nothing but zero padding behind, which is cut (some clouds pad). What is read here is
//! unsigned and serves to refuse early; a pass needs a `VerifiedQuote` over the same bytes.

use ee_core::attestation::{AttestationCode as Code, Failure};
use ee_protocol::{
    refusal::Refusal,
    report_data::{Digest, ReportData, sha256},
};

pub use crate::pck::PckCa;
use crate::{
    attributes::TdAttributes,
    pck::{self, PckLeaf},
    registers::Registers,
};

/// Bytes of a quote without its padding (ATTESTATION 11): real ones are below 5 300.
pub const QUOTE_USED_BYTES_MAX: usize = 16 * 1024;

const HEADER: usize = 48;
const TEE_TDX: u32 = 0x81;
const KEY_TYPE_ECDSA_P256: u16 = 2;
const INTEL_QE_VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
const BODY_TD10: u16 = 2;
const BODY_TD15: u16 = 3;
const BODY_TD15_EX: u16 = 4;
const CERTIFICATION_QE_REPORT: u16 = 6;
const CERTIFICATION_PCK_CHAIN: u16 = 5;
/// Signature and attestation key before the certification data.
const SIGNATURE_AND_KEY: usize = 128;
/// QE report, its signature and the length of the QE's authentication data.
const QE_REPORT: usize = 384;
const QE_AUTHENTICATION: usize = 32;

/// Whether quotes of debuggable TDs get past the form stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DebugTds {
    /// Never: production, and the default everywhere.
    Refused,
    /// A development network that sets `allow_debug`.
    Allowed,
}

/// Offsets into the canonical bytes (ATTESTATION 3, "Layout").
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// First byte of MRTD.
    pub(crate) measured: usize,
    /// First byte behind REPORTDATA.
    pub(crate) measured_end: usize,
    /// First byte behind the signed body.
    pub(crate) end: usize,
    /// Where the QE report begins.
    qe_report: usize,
    /// Where the PCK chain's text begins.
    chain: usize,
}

/// A TDX quote in canonical form. Nothing in it is verified.
#[derive(Debug, Clone)]
pub struct ParsedQuote {
    bytes: Vec<u8>,
    layout: Layout,
    registers: Registers,
    pck: PckLeaf,
    evidence_digest: Digest,
}

impl ParsedQuote {
    /// Checks the form of a quote and cuts its padding.
    pub fn parse(bytes: &[u8], debug_tds: DebugTds) -> Result<Self, Failure> {
        let (shift, body_end) = body(bytes)?;
        let layout = layout(bytes, shift, body_end)?;
        let used = canonical(bytes, body_end)?;
        let registers = read_registers(bytes, shift, body_end);
        check_attributes(&registers, debug_tds)?;
        let pck = pck::leaf(&bytes[layout.chain..used])?;
        Ok(Self {
            evidence_digest: sha256(&bytes[..layout.end]),
            bytes: bytes[..used].to_vec(),
            layout,
            registers,
            pck,
        })
    }

    /// The canonical bytes: without padding.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The unverified registers.
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// The unverified report data.
    pub fn report_data(&self) -> &ReportData {
        &self.registers.report_data
    }

    /// The platform family that the PCK certificate names.
    pub fn fmspc(&self) -> [u8; 6] {
        self.pck.fmspc
    }

    /// The authority that the PCK certificate names.
    pub fn ca(&self) -> PckCa {
        self.pck.ca
    }

    /// Identity of the evidence for replay and audit: SHA-256 of the signed body, because the
    /// rest of a quote can be respelled by anybody.
    pub fn evidence_digest(&self) -> &Digest {
        &self.evidence_digest
    }

    /// The quote format's version: 4 or 5.
    pub fn version(&self) -> u16 {
        u16_at(&self.bytes, 0)
    }

    /// The kind of TD report inside.
    pub fn body_name(&self) -> &'static str {
        match (self.registers.tee_tcb_svn2.is_some(), self.layout.end) {
            (false, _) => "TD10",
            (true, 702) => "TD15",
            (true, _) => "TD15ex",
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// The bytes that the attestation key signs.
    pub(crate) fn signed_body(&self) -> &[u8] {
        &self.bytes[..self.layout.end]
    }

    /// The signature over the body, raw r and s.
    pub(crate) fn body_signature(&self) -> &[u8] {
        &self.bytes[self.layout.end + 4..][..64]
    }

    /// The attestation key, raw x and y.
    pub(crate) fn attestation_key(&self) -> &[u8] {
        &self.bytes[self.layout.end + 68..][..64]
    }

    /// The quoting enclave's report.
    pub(crate) fn qe_report(&self) -> &[u8] {
        &self.bytes[self.layout.qe_report..][..QE_REPORT]
    }

    /// The PCK key's signature over the QE report, raw r and s.
    pub(crate) fn qe_report_signature(&self) -> &[u8] {
        &self.bytes[self.layout.qe_report + QE_REPORT..][..64]
    }

    /// The quoting enclave's authentication data.
    pub(crate) fn qe_authentication(&self) -> &[u8] {
        &self.bytes[self.layout.qe_report + QE_REPORT + 66..][..QE_AUTHENTICATION]
    }

    /// What the PCK certificate names.
    pub(crate) fn pck(&self) -> &PckLeaf {
        &self.pck
    }

    /// The PCK chain's text.
    pub(crate) fn pck_chain(&self) -> &[u8] {
        &self.bytes[self.layout.chain..]
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

/// Callers have checked the length: the offsets are those of a layout that fits.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}

pub(crate) fn malformed(actual: impl Into<String>) -> Failure {
    refused(
        Code::QuoteMalformed,
        "a complete TDX quote",
        actual,
        "Send the quote exactly as the platform gave it.",
    )
}

pub(crate) fn unsupported(expected: &str, actual: impl Into<String>) -> Failure {
    refused(
        Code::QuoteUnsupported,
        expected,
        actual,
        "Quote with Intel's TDX quoting enclave, version 4 or 5, with the PCK chain inside.",
    )
}

fn refused(code: Code, expected: &str, actual: impl Into<String>, hint: &str) -> Failure {
    Failure::new(code)
        .explained(Refusal::new(code.as_str(), "quote", hint).compared(expected, actual))
}

/// How far fields lie behind those of version 4, and where the body ends.
fn body(bytes: &[u8]) -> Result<(usize, usize), Failure> {
    if bytes.len() < HEADER + 6 {
        return Err(malformed(format!("{} bytes", bytes.len())));
    }
    let (version, tee) = (u16_at(bytes, 0), u32_at(bytes, 4));
    if tee != TEE_TDX || !(version == 4 || version == 5) {
        return Err(unsupported(
            "version 4 or 5, TEE type 0x81 (TDX)",
            format!("version {version}, TEE type {tee:#x}"),
        ));
    }
    let key_type = u16_at(bytes, 2);
    if key_type != KEY_TYPE_ECDSA_P256 || bytes[12..28] != INTEL_QE_VENDOR {
        return Err(unsupported(
            "an ECDSA P-256 key of Intel's quoting enclave",
            "another",
        ));
    }
    if version == 4 {
        return Ok((0, 632));
    }
    let (kind, size) = (u16_at(bytes, HEADER), u32_at(bytes, HEADER + 2));
    let (length, end) = match kind {
        BODY_TD10 => (584, 638),
        BODY_TD15 => (648, 702),
        BODY_TD15_EX => (885, 939),
        other => {
            return Err(unsupported(
                "body type 2, 3 or 4",
                format!("body type {other}"),
            ));
        }
    };
    if size != length {
        return Err(malformed(format!(
            "a body of type {kind} with {size} bytes"
        )));
    }
    Ok((6, end))
}

/// Offsets behind the body; every nested length must fill its container.
fn layout(bytes: &[u8], shift: usize, end: usize) -> Result<Layout, Failure> {
    let qe_report = end + 4 + SIGNATURE_AND_KEY + 6;
    let chain = qe_report + QE_REPORT + 64 + 2 + QE_AUTHENTICATION + 6;
    if bytes.len() < chain {
        return Err(malformed(format!("{} bytes", bytes.len())));
    }
    let authentication = u32_at(bytes, end);
    let used = usize::try_from(authentication)
        .ok()
        .and_then(|length| length.checked_add(end + 4));
    let Some(used) = used.filter(|used| *used <= bytes.len() && *used > chain) else {
        return Err(malformed(format!(
            "{authentication} bytes announced behind the body"
        )));
    };
    if used > QUOTE_USED_BYTES_MAX {
        return Err(malformed(format!("{used} bytes")));
    }
    let outer = (u16_at(bytes, qe_report - 6), u32_at(bytes, qe_report - 4));
    let inner = (u16_at(bytes, chain - 6), u32_at(bytes, chain - 4));
    if outer.0 != CERTIFICATION_QE_REPORT || inner.0 != CERTIFICATION_PCK_CHAIN {
        return Err(unsupported(
            "certification data of type 6 with type 5 inside",
            format!("types {} and {}", outer.0, inner.0),
        ));
    }
    let fills = |length: u32, from: usize| usize::try_from(length).ok() == used.checked_sub(from);
    let authentication_length = usize::from(u16_at(bytes, qe_report + QE_REPORT + 64));
    if authentication_length != QE_AUTHENTICATION
        || !fills(outer.1, qe_report)
        || !fills(inner.1, chain)
    {
        return Err(malformed("lengths that do not agree"));
    }
    Ok(Layout {
        measured: 184 + shift,
        measured_end: 632 + shift,
        end,
        qe_report,
        chain,
    })
}

/// The length of the quote without padding; the layout has been checked.
fn canonical(bytes: &[u8], end: usize) -> Result<usize, Failure> {
    let authentication = usize::try_from(u32_at(bytes, end)).expect("checked by layout");
    let used = end + 4 + authentication;
    let trailing = &bytes[used..];
    if trailing.iter().all(|byte| *byte == 0) {
        return Ok(used);
    }
    Err(refused(
        Code::QuoteTrailingData,
        "nothing but zero padding behind the quote",
        format!("{} bytes that are not all zero", trailing.len()),
        "Cut what follows the quote.",
    ))
}

fn read_registers(bytes: &[u8], shift: usize, end: usize) -> Registers {
    let at = |offset: usize| offset + shift;
    let td15 = end > 638;
    Registers {
        tee_tcb_svn: array(bytes, at(48)),
        mr_seam: array(bytes, at(64)),
        mr_signer_seam: array(bytes, at(112)),
        seam_attributes: array(bytes, at(160)),
        td_attributes: TdAttributes::from_bytes(array(bytes, at(168))),
        xfam: array(bytes, at(176)),
        mrtd: array(bytes, at(184)),
        mr_config_id: array(bytes, at(232)),
        mr_owner: array(bytes, at(280)),
        mr_owner_config: array(bytes, at(328)),
        rtmr: std::array::from_fn(|index| array(bytes, at(376 + 48 * index))),
        report_data: ReportData(array(bytes, at(568))),
        tee_tcb_svn2: td15.then(|| array(bytes, 638)),
        mr_service_td: td15.then(|| array(bytes, 654)),
    }
}

/// The attribute bits that no policy can allow, and service TDs.
fn check_attributes(registers: &Registers, debug_tds: DebugTds) -> Result<(), Failure> {
    let attributes = registers.td_attributes;
    if attributes.debug() && debug_tds == DebugTds::Refused {
        return Err(refused(
            Code::TdDebug,
            "a TD that is not debuggable",
            attributes.to_string(),
            "Start the TD without the DEBUG attribute: the host can read a debuggable one.",
        ));
    }
    if !attributes.forbidden().is_empty() || !attributes.sept_ve_disable() {
        let actual = format!("{attributes} ({})", attributes.names());
        return Err(refused(
            Code::TdAttributesForbidden,
            "SEPT_VE_DISABLE set; no profiling, migration, service TD or reserved bits",
            actual,
            "Start the TD with attributes 0000001000000000.",
        ));
    }
    if registers
        .mr_service_td
        .is_some_and(|register| register != [0; 48])
    {
        return Err(refused(
            Code::ServiceTdForbidden,
            "no service TD",
            "a bound service TD",
            "Start the TD without service TDs: they could migrate or change it.",
        ));
    }
    Ok(())
}
