//! Collateral that an agent sent along: one more untrusted mirror (ATTESTATION 6).
//!
//! Its items pass the same verification as an endpoint's. It is looked at only for an item that
//! no endpoint gave, and only after the quote's chain was seen to end at the root.

use bytes::Bytes;
use ee_attest::collateral::ItemKind;
use serde_json::Value;

use super::{
    Inner,
    arrival::{self, Keep},
};
use crate::ports::FetchedItem;

/// Bytes of JSON an agent may send (ATTESTATION 11); a real bundle has 25 KiB. More is ignored.
const MIRROR_BYTES_MAX: usize = 128 * 1024;

/// Tries to take one item from what the agent sent; what does not hold is ignored.
pub(super) async fn try_item(inner: &Inner, kind: ItemKind, mirror: Option<&Value>) {
    let Some(fetched) = mirror.and_then(|bundle| item(bundle, kind)) else {
        return;
    };
    match arrival::accept(inner, kind, fetched, Keep::OnDisk).await {
        Ok(()) => tracing::info!(item = %kind, "collateral taken from an agent"),
        Err(error) => tracing::debug!(item = %kind, %error.code, "an agent's collateral ignored"),
    }
}

/// An item of a `QuoteCollateralV3` as an endpoint would have answered it.
fn item(bundle: &Value, kind: ItemKind) -> Option<FetchedItem> {
    let text = |member: &str| {
        bundle
            .get(member)?
            .as_str()
            .filter(|text| text.len() <= MIRROR_BYTES_MAX)
    };
    let signed = |member: &str, content: &str, signature: &str, chain: &str| {
        let (content, signature) = (text(content)?, text(signature)?);
        let body = format!(r#"{{"{member}":{content},"signature":"{signature}"}}"#);
        Some(FetchedItem {
            body: Bytes::from(body),
            issuer_chain_pem: Some(text(chain)?.to_owned()),
            date: None,
        })
    };
    match kind {
        ItemKind::TcbInfo { .. } => signed(
            "tcbInfo",
            "tcb_info",
            "tcb_info_signature",
            "tcb_info_issuer_chain",
        ),
        ItemKind::QeIdentity => signed(
            "enclaveIdentity",
            "qe_identity",
            "qe_identity_signature",
            "qe_identity_issuer_chain",
        ),
        ItemKind::PckCrl { .. } => Some(FetchedItem {
            body: Bytes::from(text("pck_crl")?.to_owned()),
            issuer_chain_pem: Some(text("pck_crl_issuer_chain")?.to_owned()),
            date: None,
        }),
        ItemKind::RootCrl => Some(FetchedItem {
            body: Bytes::from(text("root_ca_crl")?.to_owned()),
            issuer_chain_pem: None,
            date: None,
        }),
    }
}
