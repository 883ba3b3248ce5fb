//! Certificate chains in PEM, read strictly so that every reader sees the same certificates.
//!
//! Chains come from quotes and mirrors; dcap-qvl reads them again with its own parser. Accepting
//! nothing but `CERTIFICATE` blocks with white space between them leaves no room for the two to
//! disagree about which certificate is the leaf.

use base64::{Engine, engine::general_purpose::STANDARD};

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// Certificates in one chain (ATTESTATION 11): Intel's have three.
pub(crate) const CHAIN_CERTIFICATES_MAX: usize = 5;
/// Bytes of a chain's text (ATTESTATION 11).
pub(crate) const CHAIN_BYTES_MAX: usize = 16 * 1024;

/// The base64 bodies of a chain, leaf first; `None` if the text holds anything else.
pub(crate) fn blocks(text: &[u8]) -> Option<Vec<&[u8]>> {
    if text.len() > CHAIN_BYTES_MAX {
        return None;
    }
    let mut rest = text.strip_suffix(b"\0").unwrap_or(text).trim_ascii();
    let mut blocks = Vec::with_capacity(3);
    while !rest.is_empty() {
        let body = rest.strip_prefix(BEGIN)?;
        let (block, after) = body.split_at(body.iter().position(|byte| *byte == b'-')?);
        rest = after.strip_prefix(END)?.trim_ascii_start();
        blocks.push(block);
    }
    (1..=CHAIN_CERTIFICATES_MAX)
        .contains(&blocks.len())
        .then_some(blocks)
}

/// The DER of one block.
pub(crate) fn decode(block: &[u8]) -> Option<Vec<u8>> {
    let mut compact = Vec::with_capacity(block.len());
    for line in block.split(|byte| *byte == b'\n' || *byte == b'\r') {
        compact.extend_from_slice(line.trim_ascii());
    }
    STANDARD.decode(compact).ok()
}

/// The DER certificates of a chain, leaf first.
pub(crate) fn certificates(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    blocks(text)?.into_iter().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "-----BEGIN CERTIFICATE-----\nAQID\nBAU=\n-----END CERTIFICATE-----\n\
                       -----BEGIN CERTIFICATE-----\r\nBg==\r\n-----END CERTIFICATE-----\r\n\0";

    #[test]
    fn chains_are_read_leaf_first() {
        assert_eq!(
            certificates(TWO.as_bytes()),
            Some(vec![vec![1, 2, 3, 4, 5], vec![6]])
        );
    }

    #[test]
    fn anything_between_certificates_is_refused() {
        let other = TWO.replacen("CERTIFICATE", "TRUSTED CERTIFICATE", 2);
        assert_eq!(blocks(other.as_bytes()), None);
        assert_eq!(blocks(format!("comment\n{TWO}").as_bytes()), None);
        assert_eq!(blocks(b""), None);
        assert_eq!(blocks(&TWO.as_bytes()[..TWO.len() - 8]), None);
    }

    #[test]
    fn chains_are_bounded() {
        let one = &TWO[..TWO
            .find("-----BEGIN CERTIFICATE-----\r")
            .expect("second block")];
        assert!(blocks(one.repeat(CHAIN_CERTIFICATES_MAX).as_bytes()).is_some());
        assert!(blocks(one.repeat(CHAIN_CERTIFICATES_MAX + 1).as_bytes()).is_none());
    }
}
