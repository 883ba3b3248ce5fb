//! Managed tokens: hashes and what each may do. Every change writes its audit row with it.

use std::collections::BTreeSet;

use ee_protocol::{
    access::{Resource, Role, Scope, TokenId},
    report_data::Digest,
    time::Timestamp,
};
use rusqlite::{Connection, Row, types::Type};

use crate::{
    Store, StoreError,
    row::{optional_time, parsed, time},
};

/// Parts two resources: no id holds a control character.
const RESOURCE_SEPARATOR: char = '\n';

/// A managed token. The token itself is never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its public id.
    pub id: TokenId,
    /// Its role.
    pub role: Role,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// What it is bound to; empty: to nothing.
    pub resources: BTreeSet<Resource>,
    /// SHA-256 of the token.
    pub digest: Digest,
    /// SHA-256 of the token before its rotation, and until when that is good.
    pub previous: Option<(Digest, Timestamp)>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; none: not by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, as of the last write of such times.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Who changes what, when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// When.
    pub at: Timestamp,
    /// The name of the token that asked: `env:admin`, `token:0123456789ab`.
    pub actor: String,
    /// What was done: `token.create`.
    pub action: &'static str,
    /// To what: `token:0123456789ab`.
    pub subject: String,
}

impl Store {
    /// Every token, by id.
    ///
    /// # Errors
    /// When the store is closed, or a row holds what no server wrote.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        self.run(|db| {
            let mut statement = db.prepare_cached(
                "SELECT id,
                        role,
                        name,
                        scopes,
                        resources,
                        digest,
                        previous_digest,
                        previous_until_us,
                        created_at_us,
                        expires_at_us,
                        last_used_at_us,
                        revoked_at_us
                 FROM token
                 ORDER BY id",
            )?;
            let rows = statement.query_map([], token)?;
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
        })
        .await
    }

    /// Writes a token, new or changed, and who did it.
    ///
    /// # Errors
    /// When it is not durable; nothing is changed then.
    pub async fn save_token(&self, token: TokenRow, audit: Audit) -> Result<(), StoreError> {
        self.run(move |db| {
            upsert(db, &token)?;
            record(db, &audit)
        })
        .await
    }

    /// Notes when tokens were last used. A token unknown by now is passed over.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn save_token_uses(&self, uses: Vec<(TokenId, Timestamp)>) -> Result<(), StoreError> {
        self.run(move |db| {
            let mut statement = db.prepare_cached(
                "UPDATE token
                 SET last_used_at_us = ?2
                 WHERE id = ?1",
            )?;
            for (id, at) in &uses {
                statement.execute((id.to_string(), at.unix_micros()))?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets tokens that have long been of no use; their audit rows stay.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn remove_tokens(&self, ids: Vec<TokenId>) -> Result<(), StoreError> {
        self.run(move |db| {
            let mut statement = db.prepare_cached(
                "DELETE FROM token
                 WHERE id = ?1",
            )?;
            for id in &ids {
                statement.execute([id.to_string()])?;
            }
            Ok(())
        })
        .await
    }
}

fn upsert(db: &Connection, token: &TokenRow) -> Result<(), StoreError> {
    let TokenRow {
        id,
        role,
        name,
        scopes,
        resources,
        digest,
        previous,
        created_at,
        expires_at,
        last_used_at,
        revoked_at,
    } = token;
    let micros = |at: &Option<Timestamp>| at.map(Timestamp::unix_micros);
    let changed = db
        .prepare_cached(
            "INSERT INTO token (
                 id,
                 role,
                 name,
                 scopes,
                 resources,
                 digest,
                 previous_digest,
                 previous_until_us,
                 created_at_us,
                 expires_at_us,
                 last_used_at_us,
                 revoked_at_us
             ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (id) DO UPDATE
             SET role = excluded.role,
                 name = excluded.name,
                 scopes = excluded.scopes,
                 resources = excluded.resources,
                 digest = excluded.digest,
                 previous_digest = excluded.previous_digest,
                 previous_until_us = excluded.previous_until_us,
                 expires_at_us = excluded.expires_at_us,
                 last_used_at_us = excluded.last_used_at_us,
                 revoked_at_us = excluded.revoked_at_us",
        )?
        .execute(rusqlite::params![
            id.to_string(),
            role.as_str(),
            name,
            joined(scopes, ' '),
            joined(resources, RESOURCE_SEPARATOR),
            digest,
            previous.map(|(digest, _)| digest),
            previous.map(|(_, until)| until.unix_micros()),
            created_at.unix_micros(),
            micros(expires_at),
            micros(last_used_at),
            micros(revoked_at),
        ])?;
    assert_eq!(changed, 1, "one token is one row");
    Ok(())
}

fn record(db: &Connection, audit: &Audit) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO audit (
             at_us,
             actor,
             action,
             subject
         ) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((
        audit.at.unix_micros(),
        &audit.actor,
        audit.action,
        &audit.subject,
    ))?;
    Ok(())
}

fn joined<T: ToString>(parts: &BTreeSet<T>, separator: char) -> String {
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    parts.join(&separator.to_string())
}

fn token(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    let previous: Option<Digest> = row.get("previous_digest")?;
    let until = optional_time(row, "previous_until_us")?;
    Ok(TokenRow {
        id: parsed(row, "id")?,
        role: parsed(row, "role")?,
        name: row.get("name")?,
        scopes: parts(row, "scopes", ' ')?,
        resources: parts(row, "resources", RESOURCE_SEPARATOR)?,
        digest: row.get("digest")?,
        previous: previous.zip(until),
        created_at: time(row, "created_at_us")?,
        expires_at: optional_time(row, "expires_at_us")?,
        last_used_at: optional_time(row, "last_used_at_us")?,
        revoked_at: optional_time(row, "revoked_at_us")?,
    })
}

fn parts<T>(row: &Row<'_>, column: &str, separator: char) -> rusqlite::Result<BTreeSet<T>>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static> + Ord,
{
    let index = row.as_ref().column_index(column)?;
    let text: String = row.get(index)?;
    let parts = text.split(separator).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            part.parse().map_err(|error: T::Err| {
                rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str) -> TokenRow {
        TokenRow {
            id: id.parse().unwrap(),
            role: Role::Account,
            name: "Zoë's wallet".to_owned(),
            scopes: Role::Account.scopes(),
            resources: BTreeSet::from([
                "account=Zoë of the hill".parse().unwrap(),
                "app=hello".parse().unwrap(),
            ]),
            digest: [7; 32],
            previous: None,
            created_at: Timestamp::from_unix_micros(1),
            expires_at: Some(Timestamp::from_unix_micros(9)),
            last_used_at: None,
            revoked_at: None,
        }
    }

    fn audit(action: &'static str) -> Audit {
        Audit {
            at: Timestamp::from_unix_micros(5),
            actor: "env:admin".to_owned(),
            action,
            subject: "token:0123456789ab".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_token_is_read_as_it_was_written_and_changed() {
        let store = Store::in_memory().unwrap();
        let mut token = row("0123456789ab");
        store
            .save_token(token.clone(), audit("token.create"))
            .await
            .unwrap();
        assert_eq!(store.tokens().await, Ok(vec![token.clone()]));
        token.previous = Some((token.digest, Timestamp::from_unix_micros(8)));
        token.digest = [8; 32];
        token.revoked_at = Some(Timestamp::from_unix_micros(7));
        store
            .save_token(token.clone(), audit("token.rotate"))
            .await
            .unwrap();
        let used = Timestamp::from_unix_micros(6);
        let uses = vec![(token.id, used), ("000000000000".parse().unwrap(), used)];
        store.save_token_uses(uses).await.unwrap();
        token.last_used_at = Some(used);
        assert_eq!(store.tokens().await, Ok(vec![token.clone()]));
        store.remove_tokens(vec![token.id]).await.unwrap();
        assert_eq!(store.tokens().await, Ok(vec![]));
    }

    #[tokio::test]
    async fn every_change_leaves_an_audit_row_that_stays() {
        let store = Store::in_memory().unwrap();
        for action in ["token.create", "token.revoke"] {
            store
                .save_token(row("0123456789ab"), audit(action))
                .await
                .unwrap();
        }
        let actions = store
            .run(|db| {
                let mut statement = db.prepare("SELECT action FROM audit ORDER BY seq")?;
                let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
                Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
            })
            .await;
        assert_eq!(actions.unwrap(), ["token.create", "token.revoke"]);
        for change in ["UPDATE audit SET actor = 'me'", "DELETE FROM audit"] {
            let refused = store.run(move |db| Ok(db.execute_batch(change)?)).await;
            assert!(refused.is_err(), "{change}");
        }
    }

    #[tokio::test]
    async fn a_word_no_server_wrote_is_not_read_as_a_right() {
        let store = Store::in_memory().unwrap();
        store
            .save_token(row("0123456789ab"), audit("token.create"))
            .await
            .unwrap();
        let forged = "UPDATE token SET scopes = 'ledger:read everything'";
        store
            .run(move |db| Ok(db.execute_batch(forged)?))
            .await
            .unwrap();
        let read = store.tokens().await;
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
    }
}
