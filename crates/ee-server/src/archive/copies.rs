//! Copies of the database: made once a night, named after the last batch in them, kept for
//! `EE_BACKUP_KEEP_DAYS`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use ee_protocol::time::Timestamp;
use ee_store::{
    Store,
    ledger::{Head, LedgerStore, SqliteLedger, books},
    segments,
};

use super::{BackupStatus, directory_of};
use crate::state::AppState;

/// When the copy of a day is due, after midnight UTC: most networks are quiet then.
const NIGHT: Duration = Duration::from_secs(2 * 3600);
/// How often it is asked whether a copy is due, and tried again after a failure.
const PASS_EVERY: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// Copies are called `copy-<last batch>-<unix seconds>.db`.
const PREFIX: &str = "copy-";
const SUFFIX: &str = ".db";

/// A copy of the database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// When it was made.
    pub at: Timestamp,
    /// The last batch of the books in it; 0 if the books are elsewhere.
    pub batch: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// The copies in a directory, oldest first; none if there is no directory.
///
/// # Errors
/// When it cannot be read.
pub fn copies(directory: &Path) -> anyhow::Result<Vec<Copy>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("reading {}", directory.display()));
        }
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let parts = name.and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        let Some((batch, at)) = parts.and_then(|parts| parts.split_once('-')) else {
            continue;
        };
        if let (Ok(batch), Ok(at)) = (batch.parse(), at.parse()) {
            let at = Timestamp::from_unix_seconds(at);
            found.push(Copy { at, batch, path });
        }
    }
    found.sort();
    Ok(found)
}

/// The name of a copy.
pub fn named(batch: u64, at: Timestamp) -> String {
    format!("{PREFIX}{batch:012}-{}{SUFFIX}", at.unix_seconds())
}

/// Whether the copy of the last night is missing.
fn is_due(newest: Option<Timestamp>, now: Timestamp) -> bool {
    let into_day = now.before(NIGHT).unix_seconds().rem_euclid(86_400);
    let night = now.before(Duration::from_secs(into_day.unsigned_abs()));
    newest.is_none_or(|made| made < night)
}

/// Makes a copy a night until the server stops.
pub(crate) async fn run(state: AppState, status: BackupStatus) {
    loop {
        if let Err(error) = pass(&state, &status).await {
            status.copied(Err(&format!("{error:#}")));
        }
        tokio::select! {
            () = tokio::time::sleep(PASS_EVERY) => {}
            () = state.tasks.stopping().cancelled() => return,
        }
    }
}

async fn pass(state: &AppState, status: &BackupStatus) -> anyhow::Result<()> {
    let Some(backup_dir) = &state.settings.ledger.backup_dir else {
        return Ok(());
    };
    let head = state.books.ledger().head().await?;
    let directory = directory_of(backup_dir, head.ledger_id);
    let now = state.now();
    let newest = copies(&directory)?.pop();
    if !is_due(newest.map(|copy| copy.at), now) {
        return Ok(());
    }
    let source = state.settings.db_path.clone();
    let holds_books = state.settings.ledger.database_url.is_none();
    let into = directory.clone();
    let copied = tokio::task::spawn_blocking(move || copy(&source, &into));
    let copied = copied.await.context("the copy was not made")??;
    let batch = if holds_books {
        last_batch(copied.path()).await?.batch
    } else {
        0
    };
    let name = named(batch, now);
    copied.keep_as(&directory.join(&name))?;
    tracing::info!(event = "backup_copied", name, batch);
    status.rotate();
    status.copied(Ok(()));
    remove_old(&directory, now, state.settings.ledger.backup_keep)
}

fn copy(source: &Path, directory: &Path) -> anyhow::Result<ee_store::Copied> {
    segments::create_directory(directory)?;
    Ok(ee_store::back_up(source, &directory.join("copy"))?)
}

/// Where the books of a copy stand; refuses one that does not end where its head says.
async fn last_batch(path: &Path) -> anyhow::Result<Head> {
    let ledger = SqliteLedger::read_only(Store::open_read_only(path)?);
    let head = ledger.head().await?;
    let root = books::batch(&ledger, head.batch)
        .await?
        .map(|(_, _, root)| root);
    if head.batch > 0 && root != Some(head.root) {
        bail!("the copy does not end where its head says");
    }
    Ok(head)
}

/// Removes copies that are older than `keep`, but the newest of those: from it on, every moment of
/// `keep` can be restored. Then the segments that no copy needs any more.
fn remove_old(directory: &Path, now: Timestamp, keep: Duration) -> anyhow::Result<()> {
    let all = copies(directory)?;
    let oldest = now.before(keep.max(DAY));
    let needed = all.iter().rposition(|copy| copy.at <= oldest).unwrap_or(0);
    for copy in &all[..needed] {
        fs::remove_file(&copy.path).with_context(|| format!("removing {}", copy.path.display()))?;
        tracing::info!(event = "backup_removed", name = %copy.path.display());
    }
    let Some(first) = all.get(needed) else {
        return Ok(());
    };
    let holds_books = first.batch > 0;
    if holds_books {
        segments::remove_before(directory, first.batch)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect("valid")
    }

    #[test]
    fn a_copy_is_due_once_a_night() {
        let made = Some(at("2026-11-22T02:00:00Z"));
        assert!(
            is_due(None, at("2026-11-22T12:00:00Z")),
            "the first at once"
        );
        assert!(!is_due(made, at("2026-11-22T02:01:00Z")));
        assert!(!is_due(made, at("2026-11-23T01:59:59Z")));
        assert!(is_due(made, at("2026-11-23T02:00:00Z")));
        assert!(
            is_due(made, at("2026-11-29T11:00:00Z")),
            "nights were missed"
        );
    }

    #[test]
    fn old_copies_go_but_the_one_that_the_oldest_moment_needs() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let now = at("2026-11-22T03:00:00Z");
        let day = |days: u32| now.before(DAY * days);
        for (batch, days) in [(10, 9), (20, 5), (30, 3), (40, 0)] {
            let name = format!("copy-{batch:012}-{}.db", day(days).unix_seconds());
            fs::write(dir.path().join(name), "").expect("written");
        }
        fs::write(dir.path().join("segment-000000000011.log"), "").expect("written");
        fs::write(dir.path().join("segment-000000000021.log"), "").expect("written");
        fs::write(dir.path().join("segment-000000000031.log"), "").expect("written");
        remove_old(dir.path(), now, DAY * 4).expect("removed");
        let batches = |copies: Vec<Copy>| copies.iter().map(|copy| copy.batch).collect::<Vec<_>>();
        assert_eq!(batches(copies(dir.path()).expect("read")), [20, 30, 40]);
        let left = segments::segments(dir.path()).expect("read");
        let firsts: Vec<u64> = left.iter().map(|segment| segment.first).collect();
        assert_eq!(
            firsts,
            [21, 31],
            "from the oldest copy on nothing is missing"
        );
    }
}
