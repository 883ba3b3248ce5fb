//! One file that holds everything, made while the server runs, and the way back from it.
//!
//! A copy is made beside its target under another name, made durable, and takes the target's name
//! only when the caller has verified it ([`Copied::keep`]): a file with the right name is whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use crate::open;

/// Why there is no copy. Nothing of what was there before has changed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target's name is taken: a copy never replaces anything.
    #[error("{} exists: a copy replaces nothing; move it away or name another file", .0.display())]
    Exists(PathBuf),
    /// The source cannot be opened, or is no database of ours.
    #[error(transparent)]
    Open(#[from] crate::OpenError),
    /// SQLite refused.
    #[error("copying {}: {source}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// The operating system refused.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

/// A copy that does not yet have its name; dropping it removes it.
#[derive(Debug)]
pub struct Copied {
    part: PathBuf,
    target: PathBuf,
    /// Keeps servers away from a target that is a database to be.
    _lock: Option<File>,
}

/// Copies the database at `source`, which a server may be writing, into one file.
///
/// # Errors
/// When `target` exists or either file cannot be read or written.
pub fn back_up(source: &Path, target: &Path) -> Result<Copied, BackupError> {
    let copied = begin(target, None)?;
    let _checked = open::open_read_only(source)?;
    let sqlite = |error| BackupError::Sqlite {
        path: source.to_owned(),
        source: error,
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(source, flags).map_err(sqlite)?;
    connection
        .execute("VACUUM INTO ?1", [copied.part.to_string_lossy()])
        .map_err(sqlite)?;
    copied.settle()
}

/// Copies a backup to where a server will look for its database.
///
/// # Errors
/// When there is a database already, a server holds it, or a file cannot be read or written.
pub fn restore(backup: &Path, database: &Path) -> Result<Copied, BackupError> {
    let _checked = open::open_read_only(backup)?;
    open::create_parents(database)?;
    let lock = open::take_lock(database)?;
    let copied = begin(database, Some(lock))?;
    fs::copy(backup, &copied.part).map_err(failed("copy to", &copied.part))?;
    copied.settle()
}

/// Reserves the name beside the target. The file is private from its first byte on.
fn begin(target: &Path, lock: Option<File>) -> Result<Copied, BackupError> {
    for name in [target.to_owned(), with_suffix(target, "-wal")] {
        if name.exists() {
            return Err(BackupError::Exists(name));
        }
    }
    let part = with_suffix(target, ".part");
    match fs::remove_file(&part) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove", &part)(error)),
    }
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&part)
        .map_err(failed("create", &part))?;
    Ok(Copied {
        part,
        target: target.to_owned(),
        _lock: lock,
    })
}

impl Copied {
    /// Where the copy is while it has no name.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Gives the copy its name.
    ///
    /// # Errors
    /// When the file system refuses; the copy is then gone.
    pub fn keep(self) -> Result<(), BackupError> {
        fs::rename(&self.part, &self.target).map_err(failed("rename to", &self.target))?;
        sync_directory_of(&self.target)
    }

    /// Gives the copy another name than it was made for.
    ///
    /// # Errors
    /// When the name is taken or the file system refuses; the copy is then gone.
    pub fn keep_as(mut self, target: &Path) -> Result<(), BackupError> {
        if target.exists() {
            return Err(BackupError::Exists(target.to_owned()));
        }
        target.clone_into(&mut self.target);
        self.keep()
    }

    /// Makes the copy durable, as it is now.
    ///
    /// # Errors
    /// When the file system refuses; the copy is then gone.
    pub fn settle(self) -> Result<Self, BackupError> {
        let file = File::open(&self.part).map_err(failed("open", &self.part))?;
        file.sync_all().map_err(failed("fsync", &self.part))?;
        Ok(self)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // After `keep` it is gone already.
        let _ = fs::remove_file(&self.part);
    }
}

fn sync_directory_of(path: &Path) -> Result<(), BackupError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or_else(|| Path::new("."));
    let opened = File::open(directory).map_err(failed("open", directory))?;
    opened.sync_all().map_err(failed("fsync", directory))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io {
        doing,
        path,
        source,
    }
}
