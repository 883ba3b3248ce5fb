//! Reading quotes from files: raw bytes, hex, base64, or the JSON that carries one.
//!
//! `attest_response` and the answer of `dev`'s `POST /quote` hold the quote in base64 beside the
//! claims, so both can be handed over as they are.

use std::{io::Read, path::Path};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ee_attest::{DebugTds, ParsedQuote};
use ee_core::attestation::Failure as Refused;
use ee_protocol::report_data::WorkloadClaims;
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// Nothing that holds a quote is larger: 160 KiB, an event log of 1 MiB, both encoded.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What a file holds.
pub struct QuoteFile {
    /// The quote, padding included.
    pub quote: Vec<u8>,
    /// The claims beside it, if the file holds any.
    pub claims: Option<WorkloadClaims>,
}

/// Reads a file, or standard input for `-`.
pub fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    let name = path.display();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(FILE_MAX_BYTES + 1)
            .read_to_end(&mut content)
    } else {
        std::fs::File::open(path)
            .with_context(|| format!("opening {name}"))?
            .take(FILE_MAX_BYTES + 1)
            .read_to_end(&mut content)
    }
    .with_context(|| format!("reading {name}"))?;
    anyhow::ensure!(
        content.len() as u64 <= FILE_MAX_BYTES,
        "{name} is larger than 4 MiB"
    );
    Ok(content)
}

/// Reads a quote and what comes with it.
pub fn quote(path: &Path) -> anyhow::Result<QuoteFile> {
    let content = bytes(path)?;
    unwrap(content).with_context(|| format!("{} holds no quote", path.display()))
}

/// A quote in canonical form; a malformed one is an answer of "no".
pub fn parsed(path: &Path) -> anyhow::Result<ParsedQuote> {
    let QuoteFile { quote, .. } = self::quote(path)?;
    ParsedQuote::parse(&quote, DebugTds::Allowed).map_err(|refused| no(&refused).into())
}

/// A refusal of the verifier as a failed command.
pub fn no(refused: &Refused) -> Failure {
    let Some(first) = refused.refusals.first() else {
        let what = format!("the check {} failed", refused.reason());
        return Failure::new(Exit::No, refused.reason(), what, "");
    };
    let mut what = first.check.clone();
    if !first.expected.is_empty() {
        what = format!(
            "{what}: expected {}, found {}",
            first.expected, first.actual
        );
    }
    Failure::new(Exit::No, refused.reason(), what, first.hint.clone())
}

/// Raw quotes begin with version 4 or 5 as a little-endian number; no text does.
fn unwrap(content: Vec<u8>) -> anyhow::Result<QuoteFile> {
    if matches!(content.first(), Some(0..=8)) {
        return Ok(QuoteFile {
            quote: content,
            claims: None,
        });
    }
    let text = std::str::from_utf8(&content)
        .context("neither bytes of a quote nor text")?
        .trim();
    if text.starts_with('{') {
        return from_json(&serde_json::from_str(text)?);
    }
    let packed: String = text.split_whitespace().collect();
    let quote = hex::decode(packed.trim_start_matches("0x"))
        .or_else(|_| STANDARD.decode(&packed))
        .context("neither hexadecimal nor base64")?;
    Ok(QuoteFile {
        quote,
        claims: None,
    })
}

fn from_json(value: &Value) -> anyhow::Result<QuoteFile> {
    let text = value["quote"].as_str().context("JSON without a quote")?;
    let quote = STANDARD
        .decode(text)
        .or_else(|_| hex::decode(text))
        .context("quote")?;
    let claims = value
        .get("measurements")
        .filter(|claims| claims.is_object());
    let claims = claims
        .map(|claims| serde_json::from_value(claims.clone()))
        .transpose()?;
    Ok(QuoteFile { quote, claims })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_read_in_every_common_spelling() {
        let raw = vec![4, 0, 2, 0, 0x81];
        let json = r#"{"quote":"BAACAIE=","measurements":{"agent_dir_sha256":"11"}}"#;
        for spelling in [
            raw.clone(),
            b"0400020081\n".to_vec(),
            b"BAACAIE=".to_vec(),
            json.into(),
        ] {
            assert_eq!(unwrap(spelling.clone()).unwrap().quote, raw, "{spelling:?}");
        }
        assert_eq!(
            unwrap(json.into())
                .unwrap()
                .claims
                .unwrap()
                .agent_dir_sha256,
            "11"
        );
        assert!(unwrap(b"not a quote!".to_vec()).is_err());
        assert!(unwrap(b"{}".to_vec()).is_err());
    }
}
