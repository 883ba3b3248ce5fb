//! The last passed appraisal of a node, as one row.
//!
//! Every field of the result has its column: what an operator is shown after a restart is what
//! was shown before it.

use ee_core::attestation::{AttestationResult, BindingStrength, Pinning, Provenance, TcbStatus};
use ee_protocol::names::NodeId;
use rusqlite::{Connection, Row, types::Type};

use crate::{StoreError, row::time};

/// Intel's advisory ids hold no spaces (`INTEL-SA-00837`).
const ADVISORY_SEPARATOR: &str = " ";

/// Replaces the last result of a node.
pub(crate) fn put(
    db: &Connection,
    node: &NodeId,
    result: &AttestationResult,
) -> Result<(), StoreError> {
    let AttestationResult {
        at,
        trust_root,
        sealed,
        binding,
        pinning,
        provenance,
        allowlist_digest,
        allowlist_entry,
        tcb_status,
        tcb_date,
        advisories,
        flagged,
        tcb_eval_data_number,
        evidence_digest,
        collateral_expires_at,
        // Of no use to a node that is not connected.
        platform: _,
    } = result;
    db.prepare_cached(
        "INSERT OR REPLACE INTO last_attestation (
             node_id, at_us, trust_root, sealed, flagged, binding, pinning, provenance,
             allowlist_digest, allowlist_entry, tcb_status, tcb_date_us, advisories,
             tcb_eval_data_number, evidence_digest, collateral_expires_at_us
         )
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )?
    .execute((
        node.as_str(),
        at.unix_micros(),
        trust_root,
        sealed,
        flagged,
        binding.as_str(),
        pinning.as_str(),
        provenance.as_str(),
        allowlist_digest,
        allowlist_entry,
        tcb_status.as_str(),
        tcb_date.unix_micros(),
        advisories.join(ADVISORY_SEPARATOR),
        tcb_eval_data_number,
        evidence_digest,
        collateral_expires_at.unix_micros(),
    ))?;
    Ok(())
}

/// Reads a result from a row that holds all its columns.
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<AttestationResult> {
    let advisories: String = row.get("advisories")?;
    Ok(AttestationResult {
        at: time(row, "at_us")?,
        trust_root: row.get("trust_root")?,
        sealed: row.get("sealed")?,
        binding: word(row, "binding", binding)?,
        pinning: word(row, "pinning", pinning)?,
        provenance: word(row, "provenance", provenance)?,
        allowlist_digest: row.get("allowlist_digest")?,
        allowlist_entry: row.get("allowlist_entry")?,
        tcb_status: word(row, "tcb_status", TcbStatus::parse)?,
        tcb_date: time(row, "tcb_date_us")?,
        advisories: advisories.split_whitespace().map(str::to_owned).collect(),
        flagged: row.get("flagged")?,
        tcb_eval_data_number: row.get("tcb_eval_data_number")?,
        evidence_digest: row.get("evidence_digest")?,
        collateral_expires_at: time(row, "collateral_expires_at_us")?,
        platform: None,
    })
}

/// Reads the word of a provenance.
pub(crate) fn provenance(text: &str) -> Option<Provenance> {
    [
        Provenance::Local,
        Provenance::Release,
        Provenance::ReleaseImmutable,
    ]
    .into_iter()
    .find(|value| value.as_str() == text)
}

/// Reads a column that holds one of a closed set of words.
pub(crate) fn word<T>(
    row: &Row<'_>,
    column: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let index = row.as_ref().column_index(column)?;
    let text: String = row.get(index)?;
    parse(&text).ok_or_else(|| {
        let detail = format!("{column} holds {text:?}");
        rusqlite::Error::FromSqlConversionFailure(index, Type::Text, detail.into())
    })
}

fn binding(text: &str) -> Option<BindingStrength> {
    [
        BindingStrength::None,
        BindingStrength::Nonce,
        BindingStrength::Channel,
    ]
    .into_iter()
    .find(|value| value.as_str() == text)
}

fn pinning(text: &str) -> Option<Pinning> {
    [Pinning::None, Pinning::Partial, Pinning::Full]
        .into_iter()
        .find(|value| value.as_str() == text)
}
