//! Collateral as a PCS serves it and as one bundle.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::{dates::DatedItem, pki::SimPki};

/// Header of the chain that ends TCB info.
pub const TCB_INFO_CHAIN: &str = "TCB-Info-Issuer-Chain";
/// Header of the chain that ends QE identity.
pub const QE_IDENTITY_CHAIN: &str = "SGX-Enclave-Identity-Issuer-Chain";
/// Header of the chain that ends the PCK CRL.
pub const PCK_CRL_CHAIN: &str = "SGX-PCK-CRL-Issuer-Chain";

/// Everything a verifier needs beside the quote. Fields are public so that tests can spoil them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collateral {
    /// PCK CA and root, PEM.
    pub pck_crl_issuer_chain: String,
    /// The root's CRL, DER.
    pub root_ca_crl: Vec<u8>,
    /// The PCK CA's CRL, DER.
    pub pck_crl: Vec<u8>,
    /// TCB signer and root, PEM.
    pub tcb_info_issuer_chain: String,
    /// The signed text.
    pub tcb_info: String,
    /// Raw r and s.
    pub tcb_info_signature: Vec<u8>,
    /// TCB signer and root, PEM.
    pub qe_identity_issuer_chain: String,
    /// The signed text.
    pub qe_identity: String,
    /// Raw r and s.
    pub qe_identity_signature: Vec<u8>,
}

/// One answer of a PCS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcsItem {
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// Name and percent-encoded PEM of the issuer chain header.
    pub chain_header: Option<(&'static str, String)>,
}

/// The four answers that make up a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcsItems {
    /// `{"tcbInfo":..,"signature":".."}`.
    pub tcb_info: PcsItem,
    /// `{"enclaveIdentity":..,"signature":".."}`.
    pub qe_identity: PcsItem,
    /// DER.
    pub pck_crl: PcsItem,
    /// DER.
    pub root_crl: PcsItem,
}

impl Collateral {
    /// What `pki` serves at `now`.
    pub fn issue(pki: &SimPki, now: u64) -> Self {
        let tcb = &pki.options.tcb;
        let tcb_info = tcb.tcb_info(pki.window(DatedItem::TcbInfo, now));
        let qe_identity = tcb.qe_identity(pki.window(DatedItem::QeIdentity, now));
        Self {
            pck_crl_issuer_chain: pki.pck_ca_chain(),
            root_ca_crl: pki.root_crl(now),
            pck_crl: pki.pck_crl(now),
            tcb_info_issuer_chain: pki.tcb_signer_chain(),
            tcb_info_signature: pki.tcb_signer.sign_raw(tcb_info.as_bytes()).to_vec(),
            tcb_info,
            qe_identity_issuer_chain: pki.tcb_signer_chain(),
            qe_identity_signature: pki.tcb_signer.sign_raw(qe_identity.as_bytes()).to_vec(),
            qe_identity,
        }
    }

    /// The bundle in dcap-qvl's JSON form: CRLs and signatures in hexadecimal.
    pub fn to_json(&self) -> String {
        json!({
            "pck_crl_issuer_chain": self.pck_crl_issuer_chain,
            "root_ca_crl": hex::encode(&self.root_ca_crl),
            "pck_crl": hex::encode(&self.pck_crl),
            "tcb_info_issuer_chain": self.tcb_info_issuer_chain,
            "tcb_info": self.tcb_info,
            "tcb_info_signature": hex::encode(&self.tcb_info_signature),
            "qe_identity_issuer_chain": self.qe_identity_issuer_chain,
            "qe_identity": self.qe_identity,
            "qe_identity_signature": hex::encode(&self.qe_identity_signature),
        })
        .to_string()
    }

    /// The same, item by item.
    pub fn pcs_items(&self) -> PcsItems {
        PcsItems {
            tcb_info: PcsItem {
                body: signed("tcbInfo", &self.tcb_info, &self.tcb_info_signature),
                chain_header: Some((TCB_INFO_CHAIN, encoded(&self.tcb_info_issuer_chain))),
            },
            qe_identity: PcsItem {
                body: signed(
                    "enclaveIdentity",
                    &self.qe_identity,
                    &self.qe_identity_signature,
                ),
                chain_header: Some((QE_IDENTITY_CHAIN, encoded(&self.qe_identity_issuer_chain))),
            },
            pck_crl: PcsItem {
                body: self.pck_crl.clone(),
                chain_header: Some((PCK_CRL_CHAIN, encoded(&self.pck_crl_issuer_chain))),
            },
            root_crl: PcsItem {
                body: self.root_ca_crl.clone(),
                chain_header: None,
            },
        }
    }
}

/// The signed text stands in the body as it was signed: a re-serialised copy would not verify.
fn signed(name: &str, text: &str, signature: &[u8]) -> Vec<u8> {
    format!(
        "{{\"{name}\":{text},\"signature\":\"{}\"}}",
        hex::encode(signature)
    )
    .into_bytes()
}

fn encoded(pem: &str) -> String {
    utf8_percent_encode(pem, NON_ALPHANUMERIC).to_string()
}
