//! Opening the database: the lock file, the refusal of foreign files, the settings durability
//! rests on.
//!
//! The file's own header is read before SQLite sees the file, because even a look by SQLite may
//! write beside it (a WAL is recovered, a journal rolled back), and a database of another
//! program is to stay untouched.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, types::Value};

use crate::{error::OpenError, migrate};

/// `ee` + format 1, in the header's application id (offset 68): tells our files from others.
const APPLICATION_ID: u32 = 0x6565_6331;
/// What every SQLite file begins with.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The header's first part, up to and including the application id.
const HEADER_BYTES: usize = 72;
/// The first SQLite without the WAL-reset defect, which loses committed pages.
const SQLITE_AT_LEAST: i32 = 3_051_003;
/// A log that grew beyond this, because a reader held it, is cut when it begins anew. It is else
/// written over and over: a file that grows costs its file system a second write a commit.
const WAL_KEEP_BYTES: i64 = 64 << 20;
/// Pages that the writer keeps in memory, in KiB: a batch that touches more than fit would write
/// some of them twice. No more than that, because SQLite goes through every slot of this cache at
/// the end of each commit that sorted sibling pages (`pcache1TruncateUnsafe`: the page of the
/// pending byte stands in meanwhile, and counts as one beyond the end): with 64 MiB that was 9 % of
/// a settlement.
const CACHE_KIB: i64 = 16 << 10;

/// An open connection, and the lock that keeps other processes out until dropped.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) lock: Option<File>,
    /// Further connections, which only read.
    pub(crate) reading: Option<Reading>,
}

/// Connections that cannot write.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) pages: Connection,
    pub(crate) lookups: Connection,
}

/// Statements kept prepared: the books and the registry together have fewer.
const STATEMENTS: usize = 256;

/// Opens or creates the database at `path`, migrated and checkpointed.
pub(crate) fn open(path: &Path) -> Result<Opened, OpenError> {
    assert_sqlite_version()?;
    create_parents(path)?;
    let lock = take_lock(path)?;
    refuse_foreign(path)?;
    create_private(path)?;
    let mut connection = Connection::open(path).map_err(sqlite(path))?;
    if is_empty(&connection).map_err(sqlite(path))? {
        // Before WAL is switched on, so that the id is in the main file whatever happens next.
        connection
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(sqlite(path))?;
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    configure(&connection, path)?;
    migrate::migrate(&mut connection, path)?;
    Ok(Opened {
        connection,
        lock: Some(lock),
        reading: Some(open_reading(path)?),
    })
}

/// Opens a database that is there, ours, and of this program's schema, to read only.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection, OpenError> {
    assert_sqlite_version()?;
    if refuse_foreign(path)? {
        return Err(io("read", path)(ErrorKind::NotFound.into()));
    }
    let one = read_only(path)?;
    // One moment for everything that is read, whatever a server writes meanwhile.
    one.execute_batch("BEGIN").map_err(sqlite(path))?;
    migrate::check(&one, path)?;
    Ok(one)
}

/// Opens a copy that has no name yet, to bring it forward. Nobody else knows of it, so nothing is
/// locked, nothing lies beside it, and its maker makes it durable when it is done.
pub(crate) fn open_copy(path: &Path) -> Result<Opened, OpenError> {
    let mut connection = Connection::open(path).map_err(sqlite(path))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection
        .execute_batch(
            "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON",
        )
        .map_err(sqlite(path))?;
    migrate::migrate(&mut connection, path)?;
    Ok(Opened {
        connection,
        lock: None,
        reading: None,
    })
}

fn open_reading(path: &Path) -> Result<Reading, OpenError> {
    Ok(Reading {
        pages: read_only(path)?,
        lookups: read_only(path)?,
    })
}

fn read_only(path: &Path) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(sqlite(path))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Opens a database that lives as long as its store.
pub(crate) fn open_in_memory() -> Result<Opened, OpenError> {
    let path = Path::new(":memory:");
    assert_sqlite_version()?;
    let mut connection = Connection::open_in_memory().map_err(sqlite(path))?;
    connection
        .pragma_update(None, "foreign_keys", true)
        .map_err(sqlite(path))?;
    migrate::migrate(&mut connection, path)?;
    Ok(Opened {
        connection,
        lock: None,
        reading: None,
    })
}

fn assert_sqlite_version() -> Result<(), OpenError> {
    if rusqlite::version_number() < SQLITE_AT_LEAST {
        return Err(OpenError::OldSqlite {
            found: rusqlite::version(),
        });
    }
    Ok(())
}

pub(crate) fn create_parents(path: &Path) -> Result<(), OpenError> {
    let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .map_err(io("create directory", parent))
}

/// Held until the file is closed; the operating system frees it when a process dies.
pub(crate) fn take_lock(path: &Path) -> Result<File, OpenError> {
    let lock = with_suffix(path, ".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock)
        .map_err(io("open lock file", &lock))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: path.to_owned(),
            lock,
        }),
        Err(TryLockError::Error(source)) => Err(io("lock", &lock)(source)),
    }
}

/// Whether there is no page yet. Asking rolls back what a power cut left of the first write, of
/// which the header alone, or nothing but the journal, may have reached the disk.
fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    Ok(pages == 0)
}

/// True if there is nothing yet; an error if there is something of somebody else.
fn refuse_foreign(path: &Path) -> Result<bool, OpenError> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(io("read", path)(error)),
        Ok(file) => file
            .take(HEADER_BYTES as u64)
            .read_to_end(&mut header)
            .map_err(io("read", path))?,
    };
    let foreign = |found: &str| {
        Err(OpenError::Foreign {
            path: path.to_owned(),
            found: found.to_owned(),
        })
    };
    // Blank: length without content, as a power cut leaves it. SQLite rolls it back, or refuses it
    // if nothing says that it is the first write.
    if header.iter().all(|byte| *byte == 0) {
        return Ok(true);
    }
    if !header.starts_with(SQLITE_MAGIC) || header.len() < HEADER_BYTES {
        return foreign("not an SQLite file");
    }
    if header[68..72] != APPLICATION_ID.to_be_bytes() {
        return foreign("an SQLite database of another program, perhaps of the prototype");
    }
    Ok(false)
}

fn create_private(path: &Path) -> Result<(), OpenError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(io("create", path))
}

fn configure(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let set = |pragma: &'static str, value: &str, needed: &'static str| {
        let statement = format!("PRAGMA {pragma} = {value}");
        connection.execute_batch(&statement).map_err(sqlite(path))?;
        let found = connection
            .pragma_query_value(None, pragma, |row| row.get::<_, Value>(0))
            .map_err(sqlite(path))?;
        let found = match found {
            Value::Text(text) => text,
            Value::Integer(number) => number.to_string(),
            other @ (Value::Null | Value::Real(_) | Value::Blob(_)) => format!("{other:?}"),
        };
        if found == needed {
            return Ok(());
        }
        Err(OpenError::Setting {
            path: path.to_owned(),
            pragma,
            found,
            needed,
        })
    };
    set("journal_mode", "WAL", "wal")?;
    set("synchronous", "FULL", "2")?;
    set("foreign_keys", "ON", "1")?;
    set("wal_autocheckpoint", "0", "0")?;
    connection
        .pragma_update(None, "journal_size_limit", WAL_KEEP_BYTES)
        .map_err(sqlite(path))?;
    // The pages that a savepoint keeps need no file: nobody reads them after a crash.
    connection
        .pragma_update(None, "temp_store", "MEMORY")
        .map_err(sqlite(path))?;
    connection
        .pragma_update(None, "cache_size", -CACHE_KIB)
        .map_err(sqlite(path))?;
    // What an earlier run committed is brought home before anything is served.
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(sqlite(path))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Sqlite {
        path: path.clone(),
        source,
    }
}

fn io(doing: &'static str, path: &Path) -> impl Fn(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Directory {
        doing,
        path: path.clone(),
        source,
    }
}
