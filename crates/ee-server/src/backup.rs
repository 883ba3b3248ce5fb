//! `easyenclave-server backup` and `restore`: one file that holds everything, and the way back.
//!
//! A file gets its name only after its journal was verified from the first batch to the head and
//! its tables were found to be what the journal makes of them. What `EE_BACKUP_DIR` holds behind
//! it is then carried out again, batch by batch, each to the root that was recorded.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, bail};
use ee_control::ports::Clock as _;
use ee_protocol::time::Timestamp;
use ee_store::{
    Copied, Store, audit,
    audit::Check,
    forward::{Forwarded, Until, bring_forward, carry_out},
    ledger::{Head, LedgerStore, SqliteLedger},
    postgres::PostgresLedger,
    segments,
};

use crate::{
    archive::{
        copies::{Copy, copies, named},
        directory_of,
    },
    clock::SystemClock,
    config::Settings,
};

/// How far a restore goes: a batch, an instant, a root, or as far as there is something.
#[derive(Debug, Clone, Copy, Default)]
pub struct UntilArg(Until);

impl FromStr for UntilArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(root) = hex::decode(text).ok().and_then(|root| root.try_into().ok()) {
            return Ok(Self(Until::Root(root)));
        }
        if let Ok(batch) = text.parse() {
            return Ok(Self(Until::Batch(batch)));
        }
        let at = Timestamp::parse_rfc3339(text);
        at.map(|at| Self(Until::Time(at))).ok_or_else(|| {
            format!("'{text}' is no batch, no instant like 2026-11-22T14:00:00Z and no root")
        })
    }
}

/// Copies the database, which a server may be writing, into one verified file: `target`, or one
/// in `EE_BACKUP_DIR`.
///
/// # Errors
/// When the file exists, cannot be written, or would not be sound.
pub async fn back_up(settings: &Settings, target: Option<&Path>) -> anyhow::Result<String> {
    if settings.ledger.database_url.is_some() {
        bail!("the books are in PostgreSQL (EE_DATABASE_URL): back it up with its own tools");
    }
    if let Some(target) = target {
        let copied = ee_store::back_up(&settings.db_path, target)?;
        let head = verified(&copied).await?;
        copied.keep()?;
        return Ok(done("backed up to", target, &head));
    }
    let Some(root) = &settings.ledger.backup_dir else {
        bail!("where to? name a file, or set EE_BACKUP_DIR");
    };
    segments::create_directory(root)?;
    let copied = ee_store::back_up(&settings.db_path, &root.join("backup"))?;
    let head = verified(&copied).await?;
    let directory = directory_of(root, head.ledger_id);
    segments::create_directory(&directory)?;
    let target = directory.join(named(head.batch, SystemClock.now()));
    copied.keep_as(&target)?;
    Ok(done("backed up to", &target, &head))
}

/// Puts a verified backup where the server looks for its database, and brings it forward with what
/// `EE_BACKUP_DIR` holds behind it.
///
/// # Errors
/// When there is a database already, a server holds it, or backup or segments are not sound.
pub async fn restore(
    settings: &Settings,
    backup: Option<&Path>,
    until: UntilArg,
) -> anyhow::Result<String> {
    let UntilArg(until) = until;
    let root = settings.ledger.backup_dir.as_deref();
    if let Some(url) = &settings.ledger.database_url {
        let ledger = PostgresLedger::open_existing(url.expose()).await?;
        let root = root.context(
            "the books are in PostgreSQL: restore it with its own tools, then \
                                 set EE_BACKUP_DIR to bring it forward",
        )?;
        let directory = directory_of(root, ledger.head().await?.ledger_id);
        let forwarded = carry_out(ledger, &directory, until).await?;
        return Ok(format!("PostgreSQL\n{}", came(&forwarded)));
    }
    let backup = match (backup, root) {
        (Some(file), _) => file.to_owned(),
        (None, Some(root)) => newest(root, until)?.path,
        (None, None) => bail!("from where? name a file, or set EE_BACKUP_DIR"),
    };
    let copied = ee_store::restore(&backup, &settings.db_path)?;
    let head = verified(&copied).await?;
    let Some(root) = root else {
        if until != Until::End {
            bail!("to go on from a backup needs EE_BACKUP_DIR");
        }
        copied.keep()?;
        return Ok(done("restored to", &settings.db_path, &head));
    };
    let directory = directory_of(root, head.ledger_id);
    let forwarded = bring_forward(copied.path(), &directory, until).await?;
    let copied = copied.settle()?;
    if forwarded.more {
        segments::set_aside(&directory, forwarded.head.batch, head.ledger_id)?;
    }
    copied.keep()?;
    let from = backup.display();
    let done = done("restored to", &settings.db_path, &forwarded.head);
    Ok(format!(
        "{done}from {from}, batch {}\n{}",
        head.batch,
        came(&forwarded)
    ))
}

/// The newest copy that lies before the end that is asked for.
fn newest(root: &Path, until: Until) -> anyhow::Result<Copy> {
    let directory = only_ledger(root)?;
    let fits = |copy: &Copy| match until {
        Until::End => true,
        Until::Batch(batch) => copy.batch <= batch,
        Until::Time(at) => copy.at <= at,
        // Where it lies shows only on the way: the oldest copy is before it if any is.
        Until::Root(_) => true,
    };
    let mut all = copies(&directory)?;
    all.retain(fits);
    let chosen = match until {
        Until::Root(_) => all.into_iter().next(),
        Until::End | Until::Batch(_) | Until::Time(_) => all.pop(),
    };
    chosen.with_context(|| format!("{} holds no copy from before that", directory.display()))
}

/// The backups of the one ledger in a directory.
fn only_ledger(root: &Path) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(root).with_context(|| format!("reading {}", root.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let has_copies = path.is_dir() && !copies(&path)?.is_empty();
        found.extend(has_copies.then_some(path));
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => bail!("{} holds no copy: name the file", root.display()),
        several => bail!(
            "{} holds backups of {several} ledgers: name the copy to restore",
            root.display()
        ),
    }
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

/// What bringing forward came to.
fn came(forwarded: &Forwarded) -> String {
    let Forwarded {
        head,
        batches,
        torn_bytes,
        more,
    } = forwarded;
    let mut said = format!(
        "brought forward by {batches} batches to {}, root {}\n",
        head.at,
        hex::encode(head.root)
    );
    if *torn_bytes > 0 {
        said += &format!("cut {torn_bytes} bytes of a batch that was never acknowledged\n");
    }
    if *more {
        said += "what the segments hold behind it is set aside beside them\n";
    }
    said
}
