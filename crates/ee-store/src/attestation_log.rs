//! The attestation log: one record a verdict, append-only, hash-chained (ATTESTATION 9).
//!
//! `hash_0 = SHA-256("easyenclave attestation log 1" | 0x00)`,
//! `hash_n = SHA-256(0x02 | hash_{n-1} | seq u64 | at i64 | LP(field) …)`, integers big-endian,
//! LP = u32 length and bytes, fields in the order of [`LogRecord`]. The tags 0x00 and 0x01 stay
//! free for leaves and nodes of a Merkle tree (RFC 6962). Triggers refuse UPDATE and DELETE; a
//! hand that goes round them breaks the chain, and [`Store::verify_log`] says where.

use ee_protocol::{report_data::Digest, time::Timestamp};
use ring::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{
    Store, StoreError,
    row::{signed, time, unsigned},
};

const DOMAIN: &[u8] = b"easyenclave attestation log 1\0";
const LINK_TAG: u8 = 2;

/// What is recorded of a verdict. Digests are lower-case hex, empty where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// When the verdict was reached.
    pub at: Timestamp,
    /// The agent.
    pub agent_id: String,
    /// The node.
    pub node_id: String,
    /// The app it registered for.
    pub app: String,
    /// The network whose policy judged.
    pub network: String,
    /// The session: its channel binding, or empty.
    pub session: String,
    /// The challenge's nonce.
    pub nonce: String,
    /// SHA-256 of the quote's signed body: identity for replay and audit.
    pub body_digest: String,
    /// SHA-256 of the evidence as it was sent.
    pub evidence_digest: String,
    /// SHA-256 of the allowlist.
    pub allowlist_digest: String,
    /// Which entry of it matched.
    pub entry: String,
    /// Which root, flags and collateral judged.
    pub generation: String,
    /// Which policy judged.
    pub policy: String,
    /// `pass`, `fail` or `indeterminate`.
    pub verdict: String,
    /// The code of a failure, empty for a pass.
    pub code: String,
}

/// A record and its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Place, from 1 without gaps.
    pub seq: u64,
    /// What was recorded.
    pub record: LogRecord,
    /// The chain's hash up to and including this record.
    pub hash: Digest,
}

/// The end of the chain: what a witness would sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// How many records there are.
    pub seq: u64,
    /// The hash over all of them.
    pub hash: Digest,
}

/// The chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the attestation log was changed at record {seq}: {why}")]
pub struct LogBroken {
    /// The first record that does not fit.
    pub seq: u64,
    /// What does not fit.
    pub why: String,
}

impl Store {
    /// Appends a record; when this answers, the record is durable.
    ///
    /// # Errors
    /// When it is not durable: the verdict must then not be acted on.
    pub async fn append_log(&self, record: LogRecord) -> Result<LogHead, StoreError> {
        self.run(move |db| append(db, &record)).await
    }

    /// Recomputes the whole chain.
    ///
    /// # Errors
    /// The outer error when the store cannot be read, the inner one when the chain is broken.
    pub async fn verify_log(&self) -> Result<Result<LogHead, LogBroken>, StoreError> {
        self.run(verify).await
    }

    /// Records behind `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn log_entries(&self, after: u64, limit: u32) -> Result<Vec<LogEntry>, StoreError> {
        self.run(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT *
                 FROM attestation_log
                 WHERE seq > ?1
                 ORDER BY seq
                 LIMIT ?2",
            )?;
            let rows = statement.query_map((signed(after), limit), entry)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

fn append(db: &Connection, record: &LogRecord) -> Result<LogHead, StoreError> {
    let last = head(db)?;
    let seq = last.seq + 1;
    let hash = link(&last.hash, seq, record);
    insert(db, seq, record, &hash)?;
    set_head(db, seq, &hash)?;
    Ok(LogHead { seq, hash })
}

fn verify(db: &Connection) -> Result<Result<LogHead, LogBroken>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT *
         FROM attestation_log
         ORDER BY seq",
    )?;
    let mut last = LogHead {
        seq: 0,
        hash: genesis(),
    };
    for row in statement.query_map([], entry)? {
        let LogEntry { seq, record, hash } = row?;
        if seq != last.seq + 1 {
            return Ok(broken(last.seq + 1, "it is missing"));
        }
        if link(&last.hash, seq, &record) != hash {
            return Ok(broken(seq, "its hash does not follow from its values"));
        }
        last = LogHead { seq, hash };
    }
    // The head is a second, redundant fact: it notices records cut from the end.
    if head(db)? != last {
        return Ok(broken(last.seq + 1, "the recorded head lies elsewhere"));
    }
    Ok(Ok(last))
}

fn broken(seq: u64, why: &str) -> Result<LogHead, LogBroken> {
    Err(LogBroken {
        seq,
        why: why.to_owned(),
    })
}

fn genesis() -> Digest {
    finish(&{
        let mut context = Context::new(&SHA256);
        context.update(DOMAIN);
        context
    })
}

fn link(previous: &Digest, seq: u64, record: &LogRecord) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(&[LINK_TAG]);
    context.update(previous);
    context.update(&seq.to_be_bytes());
    context.update(&record.at.unix_micros().to_be_bytes());
    for field in fields(record) {
        let length = u32::try_from(field.len()).expect("a record's field is far below 4 GiB");
        context.update(&length.to_be_bytes());
        context.update(field.as_bytes());
    }
    finish(&context)
}

fn finish(context: &Context) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(context.clone().finish().as_ref());
    digest
}

fn fields(record: &LogRecord) -> [&str; 14] {
    let LogRecord {
        at: _,
        agent_id,
        node_id,
        app,
        network,
        session,
        nonce,
        body_digest,
        evidence_digest,
        allowlist_digest,
        entry,
        generation,
        policy,
        verdict,
        code,
    } = record;
    [
        agent_id,
        node_id,
        app,
        network,
        session,
        nonce,
        body_digest,
        evidence_digest,
        allowlist_digest,
        entry,
        generation,
        policy,
        verdict,
        code,
    ]
}

fn entry(row: &Row<'_>) -> rusqlite::Result<LogEntry> {
    Ok(LogEntry {
        seq: unsigned(row, "seq")?,
        record: LogRecord {
            at: time(row, "at_us")?,
            agent_id: row.get("agent_id")?,
            node_id: row.get("node_id")?,
            app: row.get("app")?,
            network: row.get("network")?,
            session: row.get("session")?,
            nonce: row.get("nonce")?,
            body_digest: row.get("body_digest")?,
            evidence_digest: row.get("evidence_digest")?,
            allowlist_digest: row.get("allowlist_digest")?,
            entry: row.get("entry")?,
            generation: row.get("generation")?,
            policy: row.get("policy")?,
            verdict: row.get("verdict")?,
            code: row.get("code")?,
        },
        hash: row.get("hash")?,
    })
}

fn insert(db: &Connection, seq: u64, record: &LogRecord, hash: &Digest) -> Result<(), StoreError> {
    let (seq, at_us) = (signed(seq), record.at.unix_micros());
    let fields = fields(record);
    let mut values: Vec<&dyn rusqlite::ToSql> = vec![&seq, &at_us];
    values.extend(fields.iter().map(|field| field as &dyn rusqlite::ToSql));
    values.push(hash);
    db.prepare_cached(
        "INSERT INTO attestation_log (
             seq, at_us, agent_id, node_id, app, network, session, nonce, body_digest,
             evidence_digest, allowlist_digest, entry, generation, policy, verdict, code, hash
         )
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?
    .execute(values.as_slice())?;
    Ok(())
}

fn head(db: &Connection) -> Result<LogHead, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT seq, hash
         FROM attestation_log_head
         WHERE id = 1",
    )?;
    let kept = statement
        .query_row([], |row| {
            Ok(LogHead {
                seq: unsigned(row, "seq")?,
                hash: row.get("hash")?,
            })
        })
        .optional()?;
    Ok(kept.unwrap_or(LogHead {
        seq: 0,
        hash: genesis(),
    }))
}

fn set_head(db: &Connection, seq: u64, hash: &Digest) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO attestation_log_head (id, seq, hash)
         VALUES (1, ?1, ?2)
         ON CONFLICT (id) DO UPDATE SET
             seq = excluded.seq,
             hash = excluded.hash",
    )?
    .execute((signed(seq), hash))?;
    Ok(())
}
