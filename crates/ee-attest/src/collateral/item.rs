//! One item of collateral as an endpoint answers it, verified on arrival.

use std::fmt;

use ee_core::attestation::Failure;
use ee_protocol::time::Timestamp;

use super::{
    ITEM_BYTES_MAX, check_dates,
    checks::{self, SignedText},
    invalid, signed_text,
};
use crate::{
    der::{Certificate, RevocationList},
    quote::PckCa,
    root::TrustRoot,
    window::Window,
};

/// Which item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// What makes a platform of one family up to date.
    TcbInfo {
        /// The platform family.
        fmspc: [u8; 6],
    },
    /// What the TDX quoting enclave must be.
    QeIdentity,
    /// Revoked platforms of one authority.
    PckCrl {
        /// The authority.
        ca: PckCa,
    },
    /// Revoked authorities and signers.
    RootCrl,
}

impl fmt::Display for ItemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TcbInfo { fmspc } => write!(f, "tcb-info-{}", hex::encode(fmspc)),
            Self::QeIdentity => f.write_str("qe-identity"),
            Self::PckCrl { ca } => write!(f, "pck-crl-{}", ca.as_str()),
            Self::RootCrl => f.write_str("root-crl"),
        }
    }
}

/// A verified item: signature, chain and dates held when it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollateralItem {
    kind: ItemKind,
    body: Vec<u8>,
    issuer_chain_pem: Option<String>,
    content: Content,
    window: Window,
    number: u64,
}

/// What the body holds, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Text { text: String, signature: Vec<u8> },
    List(Vec<u8>),
}

impl CollateralItem {
    /// Verifies an answer under `root`.
    ///
    /// Bodies: `{"tcbInfo":{..},"signature":".."}` and `{"enclaveIdentity":..}` as PCS and PCCS
    /// send them; lists in DER or in hex text. `root_crl` lets the signers' revocation be
    /// checked already here; it is checked again with every quote.
    pub fn verify(
        root: &TrustRoot,
        kind: ItemKind,
        body: &[u8],
        issuer_chain_pem: Option<&str>,
        root_crl: Option<&Self>,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let arrival = Arrival {
            root,
            kind,
            body,
            issuer_chain_pem,
            root_crl,
            now,
        };
        if body.len() > ITEM_BYTES_MAX {
            return Err(arrival.invalid(&format!("{} bytes", body.len())));
        }
        let (content, window, number) = match kind {
            ItemKind::TcbInfo { fmspc } => arrival.tcb_info(fmspc)?,
            ItemKind::QeIdentity => arrival.qe_identity()?,
            ItemKind::PckCrl { ca } => arrival.pck_crl(ca)?,
            ItemKind::RootCrl => arrival.root_crl()?,
        };
        check_dates([(kind.to_string().as_str(), window)], now)?;
        Ok(Self {
            kind,
            body: body.to_vec(),
            issuer_chain_pem: issuer_chain_pem.map(str::to_owned),
            content,
            window,
            number,
        })
    }

    /// Which item this is.
    pub fn kind(&self) -> ItemKind {
        self.kind
    }

    /// When it counts.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Evaluation data number, or number of the list.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// `issueDate` or `thisUpdate`, or the signer's beginning if that is later.
    pub fn issued_at(&self) -> Timestamp {
        self.window.from
    }

    /// The answer as received: to keep on disk, to verify again at boot.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The issuer chain as received.
    pub fn issuer_chain_pem(&self) -> Option<&str> {
        self.issuer_chain_pem.as_deref()
    }

    /// Whether this may take the place of `older`: numbers and issue dates never go down, or a
    /// mirror could roll us back to levels that Intel has withdrawn.
    pub fn may_replace(&self, older: &Self) -> bool {
        self.kind == older.kind
            && self.number >= older.number
            && self.issued_at() >= older.issued_at()
    }

    /// The signed text and its signature; not of lists.
    pub(crate) fn signed_text(&self) -> Result<(&str, &[u8]), Failure> {
        match &self.content {
            Content::Text { text, signature } => Ok((text, signature)),
            Content::List(_) => Err(invalid(&self.kind.to_string(), "a list in place of a text")),
        }
    }

    /// The list in DER; not of texts.
    pub(crate) fn list(&self) -> Result<&[u8], Failure> {
        match &self.content {
            Content::List(der) => Ok(der),
            Content::Text { .. } => {
                Err(invalid(&self.kind.to_string(), "a text in place of a list"))
            }
        }
    }
}

/// An answer that has just arrived.
struct Arrival<'a> {
    root: &'a TrustRoot,
    kind: ItemKind,
    body: &'a [u8],
    issuer_chain_pem: Option<&'a str>,
    root_crl: Option<&'a CollateralItem>,
    now: Timestamp,
}

/// Content, dates and number of a verified item.
type Verified = (Content, Window, u64);

impl Arrival<'_> {
    fn invalid(&self, what: &str) -> Failure {
        invalid(&self.kind.to_string(), what)
    }

    fn tcb_info(&self, fmspc: [u8; 6]) -> Result<Verified, Failure> {
        let (text, signature) = self.text_and_signature("tcbInfo")?;
        let signer = self.verify_text(&text, &signature)?;
        let (info, dates) = checks::read_tcb_info(&text)?;
        if info.id != "TDX" || info.version < 3 {
            return Err(self.invalid("TCB info that is not for TDX"));
        }
        if !info.fmspc.eq_ignore_ascii_case(&hex::encode(fmspc)) {
            return Err(self.invalid(&format!("TCB info for {}", info.fmspc)));
        }
        let number = u64::from(info.tcb_evaluation_data_number);
        Ok((Content::Text { text, signature }, dates.and(signer), number))
    }

    fn qe_identity(&self) -> Result<Verified, Failure> {
        let (text, signature) = self.text_and_signature("enclaveIdentity")?;
        let signer = self.verify_text(&text, &signature)?;
        let (identity, dates) = checks::read_qe_identity(&text)?;
        if identity.id != "TD_QE" {
            return Err(self.invalid("an identity that is not the TDX quoting enclave's"));
        }
        let number = u64::from(identity.tcb_evaluation_data_number);
        Ok((Content::Text { text, signature }, dates.and(signer), number))
    }

    fn pck_crl(&self, ca: PckCa) -> Result<Verified, Failure> {
        let list = self.list_bytes()?;
        let (chain, chain_dates) =
            checks::read_chain("pck-crl", self.issuer_chain_pem.unwrap_or_default())?;
        checks::verify_pck_list(self.root, &list, &chain[0], self.now)?;
        let named = Certificate::read(&chain[0]).and_then(|issuer| checks::authority(&issuer));
        if named != Some(ca) {
            return Err(self.invalid("the list of another authority"));
        }
        let read = RevocationList::read(&list).ok_or_else(|| self.invalid("no list"))?;
        let (dates, number) = (read.validity.and(chain_dates), read.number);
        Ok((Content::List(list), dates, number))
    }

    fn root_crl(&self) -> Result<Verified, Failure> {
        let list = self.list_bytes()?;
        checks::root_list(self.root, &list)?;
        let read = RevocationList::read(&list).ok_or_else(|| self.invalid("no list"))?;
        let (dates, number) = (read.validity, read.number);
        Ok((Content::List(list), dates, number))
    }

    /// The exact signed substring of the body, and the raw signature over it.
    fn text_and_signature(&self, member: &str) -> Result<(String, Vec<u8>), Failure> {
        let unreadable = || self.invalid("an unreadable body");
        let body = std::str::from_utf8(self.body).map_err(|_| unreadable())?;
        let text = signed_text::member(body, member).ok_or_else(unreadable)?;
        let signature = signed_text::member(body, "signature").ok_or_else(unreadable)?;
        let signature: String = serde_json::from_str(signature).map_err(|_| unreadable())?;
        Ok((
            text.to_owned(),
            hex::decode(signature).map_err(|_| unreadable())?,
        ))
    }

    /// Verifies a signed text; returns the dates of the signer's chain.
    fn verify_text(&self, text: &str, signature: &[u8]) -> Result<Window, Failure> {
        let name = self.kind.to_string();
        let (chain, dates) = checks::read_chain(&name, self.issuer_chain_pem.unwrap_or_default())?;
        let root_list = match self.root_crl {
            Some(item) => Some(checks::root_list(self.root, item.list()?)?),
            None => None,
        };
        let signed = SignedText {
            name: &name,
            text,
            signature,
            chain: &chain,
        };
        signed.verify(self.root, root_list.as_ref(), self.now)?;
        Ok(dates)
    }

    /// DER as it is; a body of hexadecimal digits decoded (PCCS's `rootcacrl`).
    fn list_bytes(&self) -> Result<Vec<u8>, Failure> {
        let trimmed = self.body.trim_ascii();
        let quoted = trimmed
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        let text = quoted.unwrap_or(trimmed);
        if text.iter().all(u8::is_ascii_hexdigit) {
            return hex::decode(text).map_err(|_| self.invalid("an odd number of digits"));
        }
        Ok(self.body.to_vec())
    }
}
