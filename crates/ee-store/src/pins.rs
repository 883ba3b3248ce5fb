//! Allowlists as they were first seen: (repository, tag) → digest and content (ATTESTATION 5).
//!
//! The first content stands. What is published later under the same name is kept beside it as
//! [`ChangedAsset`] until an admin acknowledges it.

use ee_core::attestation::Provenance;
use ee_protocol::{report_data::Digest, time::Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{
    Store, StoreError,
    attestations::{provenance, word},
    row::time,
};

/// A pin's key. `repo_key` is the repository in lower case: GitHub compares without case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinKey {
    /// `Repo::key()`.
    pub repo_key: String,
    /// The release tag.
    pub tag: String,
}

/// A pinned allowlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinRow {
    /// Which release.
    pub key: PinKey,
    /// SHA-256 of the content.
    pub digest: Digest,
    /// The content as first seen.
    pub content: Vec<u8>,
    /// Where it came from.
    pub provenance: Provenance,
    /// Whether the publisher states the digest (else only we computed it).
    pub digest_published: bool,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// Other content seen later under the same name, not yet acknowledged.
    pub changed: Option<ChangedAsset>,
    /// The release revoked itself; nothing of it passes any more.
    pub revoked: bool,
}

/// Content that differs from the pinned one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedAsset {
    /// SHA-256 of the changed content.
    pub digest: Digest,
    /// The changed content.
    pub content: Vec<u8>,
    /// Where it came from.
    pub provenance: Provenance,
    /// When it was first noticed.
    pub at: Timestamp,
}

impl Store {
    /// Every pin: few, because each costs its maker a genuine TD.
    ///
    /// # Errors
    /// When the store is closed or a row holds what no server wrote.
    pub async fn pins(&self) -> Result<Vec<PinRow>, StoreError> {
        self.run(|db| {
            let mut statement = db.prepare_cached(
                "SELECT *
                 FROM allowlist_pin
                 ORDER BY repo_key, tag",
            )?;
            let rows = statement.query_map([], pin)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Pins what is seen first and answers with what is pinned: the earlier of two stands.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn pin_first_seen(&self, pin: PinRow) -> Result<PinRow, StoreError> {
        self.run(move |db| {
            insert_pin(db, &pin)?;
            load_pin(db, &pin.key)?
                .ok_or_else(|| StoreError::Corrupt("a pin is gone after its insert".to_owned()))
        })
        .await
    }

    /// Records that a release now shows other content; the first such notice keeps its time.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn pin_changed(&self, key: PinKey, changed: ChangedAsset) -> Result<(), StoreError> {
        self.run(move |db| set_changed(db, &key, &changed)).await
    }

    /// Records that a release revoked itself.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn pin_revoked(&self, key: PinKey) -> Result<(), StoreError> {
        self.run(move |db| set_revoked(db, &key)).await
    }

    /// An admin accepts the changed content: it takes the pin's place. False: nothing to accept,
    /// or the change is no longer the one the admin saw.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn pin_acknowledge(&self, key: PinKey, seen: Digest) -> Result<bool, StoreError> {
        self.run(move |db| acknowledge(db, &key, &seen)).await
    }

    /// An admin stands by the pinned content: the alarm about the content with digest `seen`
    /// ends. False: there is no alarm, or it is about other content by now.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn pin_keep(&self, key: PinKey, seen: Digest) -> Result<bool, StoreError> {
        self.run(move |db| keep(db, &key, &seen)).await
    }
}

fn pin(row: &Row<'_>) -> rusqlite::Result<PinRow> {
    let changed = match row.get::<_, Option<Digest>>("changed_digest")? {
        Some(digest) => Some(ChangedAsset {
            digest,
            content: row.get("changed_content")?,
            provenance: word(row, "changed_provenance", provenance)?,
            at: time(row, "changed_at_us")?,
        }),
        None => None,
    };
    Ok(PinRow {
        key: PinKey {
            repo_key: row.get("repo_key")?,
            tag: row.get("tag")?,
        },
        digest: row.get("digest")?,
        content: row.get("content")?,
        provenance: word(row, "provenance", provenance)?,
        digest_published: row.get("digest_published")?,
        first_seen: time(row, "first_seen_us")?,
        changed,
        revoked: row.get("revoked")?,
    })
}

fn load_pin(db: &Connection, key: &PinKey) -> Result<Option<PinRow>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT *
         FROM allowlist_pin
         WHERE repo_key = ?1
           AND tag = ?2",
    )?;
    Ok(statement
        .query_row((&key.repo_key, &key.tag), pin)
        .optional()?)
}

fn insert_pin(db: &Connection, pin: &PinRow) -> Result<(), StoreError> {
    let PinRow {
        key,
        digest,
        content,
        provenance,
        digest_published,
        first_seen,
        changed,
        revoked,
    } = pin;
    assert!(changed.is_none(), "what is seen first has not changed yet");
    db.prepare_cached(
        "INSERT INTO allowlist_pin (
             repo_key, tag, digest, content, provenance, digest_published, first_seen_us, revoked
         )
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (repo_key, tag) DO NOTHING",
    )?
    .execute((
        &key.repo_key,
        &key.tag,
        digest,
        content,
        provenance.as_str(),
        digest_published,
        first_seen.unix_micros(),
        revoked,
    ))?;
    Ok(())
}

fn set_changed(db: &Connection, key: &PinKey, changed: &ChangedAsset) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE allowlist_pin
         SET changed_digest = ?3,
             changed_content = ?4,
             changed_provenance = ?5,
             changed_at_us = COALESCE(changed_at_us, ?6)
         WHERE repo_key = ?1
           AND tag = ?2
           AND digest <> ?3",
    )?
    .execute((
        &key.repo_key,
        &key.tag,
        changed.digest,
        &changed.content,
        changed.provenance.as_str(),
        changed.at.unix_micros(),
    ))?;
    Ok(())
}

fn set_revoked(db: &Connection, key: &PinKey) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE allowlist_pin
         SET revoked = 1
         WHERE repo_key = ?1
           AND tag = ?2",
    )?
    .execute((&key.repo_key, &key.tag))?;
    Ok(())
}

fn acknowledge(db: &Connection, key: &PinKey, seen: &Digest) -> Result<bool, StoreError> {
    let changed = db
        .prepare_cached(
            "UPDATE allowlist_pin
             SET digest = changed_digest,
                 content = changed_content,
                 provenance = changed_provenance,
                 changed_digest = NULL,
                 changed_content = NULL,
                 changed_provenance = NULL,
                 changed_at_us = NULL
             WHERE repo_key = ?1
               AND tag = ?2
               AND changed_digest = ?3",
        )?
        .execute((&key.repo_key, &key.tag, seen))?;
    Ok(changed == 1)
}

fn keep(db: &Connection, key: &PinKey, seen: &Digest) -> Result<bool, StoreError> {
    let changed = db
        .prepare_cached(
            "UPDATE allowlist_pin
             SET changed_digest = NULL,
                 changed_content = NULL,
                 changed_provenance = NULL,
                 changed_at_us = NULL
             WHERE repo_key = ?1
               AND tag = ?2
               AND changed_digest = ?3",
        )?
        .execute((&key.repo_key, &key.tag, seen))?;
    Ok(changed == 1)
}
