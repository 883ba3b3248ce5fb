//! The bootstrap token and the admin token: hashes only, a token itself is never stored.

use ee_protocol::{report_data::Digest, time::Timestamp};

use crate::{Store, StoreError, row::optional_time};

/// What is known of the tokens made at first start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthRow {
    /// SHA-256 of the one-time bootstrap token.
    pub bootstrap_hash: Option<Digest>,
    /// When it was spent.
    pub bootstrap_used_at: Option<Timestamp>,
    /// SHA-256 of the admin token it was exchanged for.
    pub admin_hash: Option<Digest>,
}

impl Store {
    /// Reads the hashes.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn auth(&self) -> Result<AuthRow, StoreError> {
        self.run(|db| {
            let mut statement = db.prepare_cached(
                "SELECT bootstrap_hash, bootstrap_used_at_us, admin_hash
                 FROM auth
                 WHERE id = 1",
            )?;
            let row = statement.query_row([], |row| {
                Ok(AuthRow {
                    bootstrap_hash: row.get("bootstrap_hash")?,
                    bootstrap_used_at: optional_time(row, "bootstrap_used_at_us")?,
                    admin_hash: row.get("admin_hash")?,
                })
            })?;
            Ok(row)
        })
        .await
    }

    /// Sets a new bootstrap token; one that was not spent is void from now on.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn set_bootstrap(&self, hash: Digest) -> Result<(), StoreError> {
        self.run(move |db| {
            db.prepare_cached(
                "UPDATE auth
                 SET bootstrap_hash = ?1,
                     bootstrap_used_at_us = NULL
                 WHERE id = 1",
            )?
            .execute([hash])?;
            Ok(())
        })
        .await
    }

    /// Exchanges the bootstrap token for an admin token: true for exactly one caller, ever.
    ///
    /// # Errors
    /// When it is not durable; the token is then not spent.
    pub async fn spend_bootstrap(
        &self,
        bootstrap: Digest,
        admin: Digest,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run(move |db| {
            let spent = db
                .prepare_cached(
                    "UPDATE auth
                     SET bootstrap_used_at_us = ?2,
                         admin_hash = ?3
                     WHERE id = 1
                       AND bootstrap_hash = ?1
                       AND bootstrap_used_at_us IS NULL",
                )?
                .execute((bootstrap, now.unix_micros(), admin))?;
            Ok(spent == 1)
        })
        .await
    }

    /// Sets or forgets the stored admin token.
    ///
    /// # Errors
    /// When it is not durable.
    pub async fn set_admin_hash(&self, hash: Option<Digest>) -> Result<(), StoreError> {
        self.run(move |db| {
            db.prepare_cached(
                "UPDATE auth
                 SET admin_hash = ?1
                 WHERE id = 1",
            )?
            .execute([hash])?;
            Ok(())
        })
        .await
    }
}
