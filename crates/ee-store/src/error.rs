//! What can go wrong at opening and afterwards, in words that tell an operator what to do.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// The store could not be opened; nothing of an existing database was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A running server holds the database.
    #[error("{} is held by another running server (lock file {}): stop it first, or set \
             EE_DB_PATH to another file", path.display(), lock.display())]
    Locked {
        /// The database.
        path: PathBuf,
        /// The file whose lock is held.
        lock: PathBuf,
    },
    /// The file is not ours.
    #[error("{} is not a database of this server ({found}): it was left untouched; set \
             EE_DB_PATH to another file", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
        /// What it seems to be.
        found: String,
    },
    /// A directory or file cannot be created or read.
    #[error("cannot {doing} {}: {source}; EE_DB_PATH needs a directory this user may write",
            path.display())]
    Directory {
        /// What was tried: `create directory`, `open lock file`, …
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A newer server has migrated this database.
    #[error("{} has schema {found}, this server knows {known}: run the newer server; schemas \
             only go forward", path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest version this program has a script for.
        known: i64,
    },
    /// An older server made this database, and it was opened to read only.
    #[error("{} has schema {found}, this program reads {known}: start the server once, it brings \
             the schema forward", path.display())]
    OlderSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The version this program reads.
        known: i64,
    },
    /// The script that made this schema is not the one compiled in.
    #[error("{}: migration {version} was applied from another script: this server and the \
             one that made the database do not belong together", path.display())]
    ChangedScript {
        /// The database.
        path: PathBuf,
        /// Which migration.
        version: i64,
    },
    /// The SQLite library is older than the first one without the WAL-reset defect.
    #[error("SQLite {found} may lose committed pages; 3.51.3 or newer is needed")]
    OldSqlite {
        /// The version linked in.
        found: &'static str,
    },
    /// A setting that durability rests on did not take.
    #[error("{}: SQLite answered {pragma} with {found:?}, needed is {needed:?}", path.display())]
    Setting {
        /// The database.
        path: PathBuf,
        /// The setting.
        pragma: &'static str,
        /// What SQLite answered.
        found: String,
        /// What must hold.
        needed: &'static str,
    },
    /// SQLite refused for another reason.
    #[error("cannot open {}: {source}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
}

/// An operation on the open store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The queue is full: the disk is slower than the work.
    #[error("the store is busy: its queue is full")]
    Busy,
    /// The store was closed, or its thread ended after a failure.
    #[error("the store is closed")]
    Closed,
    /// No space: this batch was undone, reads go on.
    #[error("the disk that holds the database is full")]
    DiskFull,
    /// COMMIT failed: whether the change is durable shows at the next start.
    #[error("the outcome of the last commit is unknown: {0}")]
    OutcomeUnknown(String),
    /// A row does not hold what this program wrote.
    #[error("the database holds a value that no server wrote: {0}")]
    Corrupt(String),
    /// SQLite refused for another reason; the change was undone.
    #[error("the database refused: {0}")]
    Sqlite(String),
    /// PostgreSQL refused; the change was undone.
    #[error("PostgreSQL refused: {0}")]
    Postgres(String),
    /// PostgreSQL is not reached.
    #[error("PostgreSQL is not reached: {0}")]
    Unavailable(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(
                ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase,
            ) => Self::OutcomeUnknown(error.to_string()),
            Some(_) => Self::Sqlite(error.to_string()),
            None if matches!(error, rusqlite::Error::FromSqlConversionFailure(..)) => {
                Self::Corrupt(error.to_string())
            }
            None => Self::Sqlite(error.to_string()),
        }
    }
}
