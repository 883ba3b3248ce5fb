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

/// Bytes of text an agent's bundle may hold (ATTESTATION 11); a real one has 25 KiB. More is
/// ignored.
const MIRROR_BYTES_MAX: usize = 128 * 1024;

/// Tries to take one item from what the agent sent; what does not hold is ignored.
pub(super) async fn try_item(inner: &Inner, kind: ItemKind, mirror: Option<&Value>) {
    let bundle = mirror.filter(|bundle| text_bytes(bundle) <= MIRROR_BYTES_MAX);
    let Some(fetched) = bundle.and_then(|bundle| item(bundle, kind)) else {
        return;
    };
    match arrival::accept(inner, kind, fetched, Keep::OnDisk).await {
        Ok(()) => tracing::info!(item = %kind, "collateral taken from an agent"),
        Err(error) => tracing::debug!(item = %kind, %error.code, "an agent's collateral ignored"),
    }
}

/// Bytes of all texts in a bundle; what is no text is looked at by nobody.
fn text_bytes(bundle: &Value) -> usize {
    let members = bundle.as_object().into_iter().flatten();
    let texts = members.filter_map(|(_, value)| value.as_str());
    texts.map(str::len).sum()
}

/// An item of a `QuoteCollateralV3` as an endpoint would have answered it.
fn item(bundle: &Value, kind: ItemKind) -> Option<FetchedItem> {
    let text = |member: &str| bundle.get(member)?.as_str();
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
