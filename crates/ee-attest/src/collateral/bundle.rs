//! The four items that verifying one quote takes, parsed once.

use std::sync::Arc;

use dcap_qvl::{QeIdentity, QuoteCollateralV3, TcbInfo};
use ee_core::attestation::Failure;
use ee_protocol::{
    report_data::{Digest, sha256},
    time::Timestamp,
};
use serde_json::Value;

use super::{
    AGENT_COLLATERAL_BYTES_MAX,
    checks::{self, SignedText},
    invalid,
    item::CollateralItem,
};
use crate::{
    der::{Certificate, RevocationList},
    quote::PckCa,
    root::TrustRoot,
    window::Window,
};

const CERTIFICATE_END: &str = "-----END CERTIFICATE-----";

/// Four verified items that belong together.
#[derive(Debug, Clone, Copy)]
pub struct BundleItems<'a> {
    /// TCB info of the platform family.
    pub tcb_info: &'a CollateralItem,
    /// Identity of the TDX quoting enclave.
    pub qe_identity: &'a CollateralItem,
    /// Revocation list of the PCK authority.
    pub pck_crl: &'a CollateralItem,
    /// Revocation list of the root.
    pub root_crl: &'a CollateralItem,
}

/// Collateral for one platform family and authority. Cheap to clone; parsed, not yet verified:
/// `Verifier::platform` verifies all of it under its root.
#[derive(Debug, Clone)]
pub struct CollateralBundle(Arc<Content>);

#[derive(Debug)]
struct Content {
    raw: QuoteCollateralV3,
    /// The same without the certificates that no path needs: what dcap-qvl verifies with.
    lean: QuoteCollateralV3,
    digest: Digest,
    tcb_info: TcbInfo,
    qe_identity: QeIdentity,
    fmspc: [u8; 6],
    ca: PckCa,
    tcb_chain: Vec<Vec<u8>>,
    qe_chain: Vec<Vec<u8>>,
    pck_chain: Vec<Vec<u8>>,
    dates: Vec<(&'static str, Window)>,
}

impl CollateralBundle {
    /// From dcap-qvl's `QuoteCollateralV3` JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(json)
            .map_err(|error| invalid("bundle", error.to_string()))
            .and_then(Self::from_raw)
    }

    /// From the `collateral` of an `attest_response`: one more untrusted mirror.
    pub fn from_value(value: &Value) -> Result<Self, Failure> {
        let text = value.to_string();
        if text.len() > AGENT_COLLATERAL_BYTES_MAX {
            return Err(invalid("bundle", format!("{} bytes", text.len())));
        }
        Self::from_json(text.as_bytes())
    }

    /// From items that were verified on arrival.
    pub fn from_items(items: BundleItems<'_>) -> Result<Self, Failure> {
        let BundleItems {
            tcb_info,
            qe_identity,
            pck_crl,
            root_crl,
        } = items;
        let chain = |item: &CollateralItem| item.issuer_chain_pem().unwrap_or_default().to_owned();
        let (tcb_text, tcb_signature) = tcb_info.signed_text()?;
        let (qe_text, qe_signature) = qe_identity.signed_text()?;
        Self::from_raw(QuoteCollateralV3 {
            pck_crl_issuer_chain: chain(pck_crl),
            root_ca_crl: root_crl.list()?.to_vec(),
            pck_crl: pck_crl.list()?.to_vec(),
            tcb_info_issuer_chain: chain(tcb_info),
            tcb_info: tcb_text.to_owned(),
            tcb_info_signature: tcb_signature.to_vec(),
            qe_identity_issuer_chain: chain(qe_identity),
            qe_identity: qe_text.to_owned(),
            qe_identity_signature: qe_signature.to_vec(),
            pck_certificate_chain: None,
        })
    }

    /// A chain in the bundle would override the quote's in dcap-qvl: it is dropped.
    fn from_raw(raw: QuoteCollateralV3) -> Result<Self, Failure> {
        let raw = QuoteCollateralV3 {
            pck_certificate_chain: None,
            ..raw
        };
        let (tcb_info, tcb_dates) = checks::read_tcb_info(&raw.tcb_info)?;
        let (qe_identity, qe_dates) = checks::read_qe_identity(&raw.qe_identity)?;
        let chain = |name, text: &str| checks::read_chain(name, text);
        let (tcb_chain, tcb_chain_dates) = chain("tcb-info", &raw.tcb_info_issuer_chain)?;
        let (qe_chain, qe_chain_dates) = chain("qe-identity", &raw.qe_identity_issuer_chain)?;
        let (pck_chain, pck_chain_dates) = chain("pck-crl", &raw.pck_crl_issuer_chain)?;
        let list = |name, der: &[u8]| {
            let list = RevocationList::read(der).ok_or_else(|| invalid(name, "no list"))?;
            Ok::<_, Failure>(list.validity)
        };
        let dates = vec![
            ("tcb-info", tcb_dates),
            ("qe-identity", qe_dates),
            ("pck-crl", list("pck-crl", &raw.pck_crl)?),
            ("root-crl", list("root-crl", &raw.root_ca_crl)?),
            ("tcb-info signer", tcb_chain_dates),
            ("qe-identity signer", qe_chain_dates),
            ("pck-crl issuer", pck_chain_dates),
        ];
        let mut fmspc = [0; 6];
        hex::decode_to_slice(&tcb_info.fmspc, &mut fmspc)
            .map_err(|_| invalid("tcb-info", "an FMSPC of another length"))?;
        let ca = Certificate::read(&pck_chain[0])
            .and_then(|issuer| checks::authority(&issuer))
            .ok_or_else(|| invalid("pck-crl", "neither Platform nor Processor CA"))?;
        let canonical = serde_json::to_vec(&raw).expect("text and bytes can be written");
        Ok(Self(Arc::new(Content {
            digest: sha256(&canonical),
            lean: lean(&raw),
            raw,
            tcb_info,
            qe_identity,
            fmspc,
            ca,
            tcb_chain,
            qe_chain,
            pck_chain,
            dates,
        })))
    }

    /// Verifies every signature under `root` and remembers those that hold, so that platforms
    /// seen for the first time cost three checks in place of nine.
    pub fn verify(&self, root: &TrustRoot, now: Timestamp) -> Result<(), Failure> {
        let raw = &self.0.raw;
        let root_list = checks::root_list(root, &raw.root_ca_crl)?;
        let tcb_info = SignedText {
            name: "tcb-info",
            text: &raw.tcb_info,
            signature: &raw.tcb_info_signature,
            chain: &self.0.tcb_chain,
        };
        tcb_info.verify(root, Some(&root_list), now)?;
        let qe_identity = SignedText {
            name: "qe-identity",
            text: &raw.qe_identity,
            signature: &raw.qe_identity_signature,
            chain: &self.0.qe_chain,
        };
        qe_identity.verify(root, Some(&root_list), now)?;
        checks::verify_pck_list(root, &raw.pck_crl, &self.0.pck_chain[0], now)
    }

    /// The platform family.
    pub fn fmspc(&self) -> [u8; 6] {
        self.0.fmspc
    }

    /// The authority whose certificates the list covers.
    pub fn ca(&self) -> PckCa {
        self.0.ca
    }

    /// When every item and every certificate behind it counts.
    pub fn window(&self) -> Window {
        self.0
            .dates
            .iter()
            .fold(Window::ALWAYS, |all, (_, window)| all.and(*window))
    }

    /// Evaluation data number of the TCB info.
    pub fn tcb_evaluation(&self) -> u32 {
        self.0.tcb_info.tcb_evaluation_data_number
    }

    /// The lower evaluation data number of TCB info and QE identity.
    pub fn eval_data_number(&self) -> u32 {
        self.tcb_evaluation()
            .min(self.0.qe_identity.tcb_evaluation_data_number)
    }

    /// dcap-qvl's `QuoteCollateralV3` JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0.raw).expect("text and bytes can be written")
    }

    /// SHA-256 over all items.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    pub(crate) fn raw(&self) -> &QuoteCollateralV3 {
        &self.0.raw
    }

    pub(crate) fn lean(&self) -> &QuoteCollateralV3 {
        &self.0.lean
    }

    pub(crate) fn tcb_info(&self) -> &TcbInfo {
        &self.0.tcb_info
    }

    pub(crate) fn qe_identity(&self) -> &QeIdentity {
        &self.0.qe_identity
    }

    pub(crate) fn dates(&self) -> impl Iterator<Item = (&str, Window)> {
        self.0.dates.iter().copied()
    }
}

/// Signers stand directly below the root (dcap-qvl demands it), and the root is ours: of their
/// chains only the leaf is of use, so parsing the rest is saved.
fn lean(raw: &QuoteCollateralV3) -> QuoteCollateralV3 {
    let leaf = |chain: &str| match chain.find(CERTIFICATE_END) {
        Some(at) => chain[..at + CERTIFICATE_END.len()].to_owned(),
        None => chain.to_owned(),
    };
    QuoteCollateralV3 {
        tcb_info_issuer_chain: leaf(&raw.tcb_info_issuer_chain),
        qe_identity_issuer_chain: leaf(&raw.qe_identity_issuer_chain),
        pck_crl_issuer_chain: String::new(),
        ..raw.clone()
    }
}
