//! `easyenclave-server backup` and `restore`: one file that holds everything, and the way back.
//!
//! A file gets its name only after its journal was verified from the first batch to the head and
//! its tables were found to be what the journal makes of them.

use std::path::Path;

use anyhow::{Context, bail};
use ee_store::{
    Copied, Store, audit,
    audit::Check,
    ledger::{Head, LedgerStore, SqliteLedger},
};

use crate::config::Settings;

/// Copies the database, which a server may be writing, into one verified file.
///
/// # Errors
/// When the file exists, cannot be written, or would not be sound.
pub async fn back_up(settings: &Settings, target: &Path) -> anyhow::Result<String> {
    refuse_postgres(settings)?;
    let copied = ee_store::back_up(&settings.db_path, target)?;
    let head = verified(&copied).await?;
    copied.keep()?;
    Ok(done("backed up to", target, &head))
}

/// Puts a verified backup where the server looks for its database.
///
/// # Errors
/// When there is a database already, a server holds it, or the backup is not sound.
pub async fn restore(settings: &Settings, backup: &Path) -> anyhow::Result<String> {
    refuse_postgres(settings)?;
    let copied = ee_store::restore(backup, &settings.db_path)?;
    let head = verified(&copied).await?;
    copied.keep()?;
    Ok(done("restored to", &settings.db_path, &head))
}

fn refuse_postgres(settings: &Settings) -> anyhow::Result<()> {
    if settings.ledger.database_url.is_some() {
        bail!("the books are in PostgreSQL (EE_DATABASE_URL): back it up with its own tools");
    }
    Ok(())
}

async fn verified(copied: &Copied) -> anyhow::Result<Head> {
    let store = Store::open_read_only(copied.path())?;
    let ledger = SqliteLedger::read_only(store);
    let report = audit::verify(&ledger, &Check::ALL).await?;
    if let Some(finding) = report.findings.first() {
        bail!(
            "the copy is not sound ({}): {}",
            finding.check,
            finding.what
        );
    }
    ledger.head().await.context("reading the copy")
}

fn done(what: &str, path: &Path, head: &Head) -> String {
    let (batch, seq, root) = (head.batch, head.seq, hex::encode(head.root));
    format!(
        "{what} {}\nbatch {batch}, seq {seq}, root {root}\n",
        path.display()
    )
}
