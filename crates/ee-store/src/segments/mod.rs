//! The journal a second time, beside the database: files that batches are appended to, so that a
//! copy of the database can be brought forward to any batch after it (LEDGER 12).
//!
//! A segment begins with a magic word, the ledger's id, the number of its first batch and the
//! chain's value before it. Then, batch by batch: `u32 length, 4 bytes of guard, header, body,
//! root`; little-endian, the length counts what follows the guard. The guard is made of the length
//! and of the root before it, so a length that was changed is not taken for a record cut short.
//!
//! **Invariants:** a segment never holds a batch that does not follow from the one before it; only
//! the last record of the last segment may be cut short (its writer died), and is then no record.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use ee_core::journal::{Header, LedgerId, Root, sha256};

mod read;
mod write;

pub use read::{Found, SegmentReader};
pub use write::{SEGMENT_BYTES, SegmentWriter};

/// What every segment begins with.
const MAGIC: &[u8; 24] = b"easyenclave segment 1\0\0\0";
/// Magic, ledger, first batch, root before it.
const HEAD_BYTES: u64 = 24 + 16 + 8 + 32;
/// Length and guard of a record.
const PREFIX_BYTES: u64 = 8;
/// A record beyond this is none: the books end a batch at 1 MiB of commands, and their outcomes
/// are not a hundred times as long.
const RECORD_BYTES_MAX: u32 = 256 << 20;
/// Segments are called `segment-<first batch>.log`, so that they sort as they follow each other.
const PREFIX: &str = "segment-";
const SUFFIX: &str = ".log";

/// A batch as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBatch {
    /// Its header.
    pub header: Header,
    /// Its records, encoded.
    pub body: Vec<u8>,
    /// The chain's value after it.
    pub root: Root,
}

/// A place in the journal: after this batch the chain has this value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The last batch; 0 before the first.
    pub batch: u64,
    /// The chain's value after it.
    pub root: Root,
}

/// Why segments cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
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
    /// Bytes that no server wrote there.
    #[error("{}, batch {batch}: {what}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The batch that should stand there.
        batch: u64,
        /// What is wrong.
        what: String,
    },
    /// A batch that does not follow the last one.
    #[error("batch {found} does not follow batch {last} of {}", path.display())]
    Gap {
        /// The file.
        path: PathBuf,
        /// Its last batch.
        last: u64,
        /// What was to be appended.
        found: u64,
    },
}

/// A segment's file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// Its first batch, as its name says.
    pub first: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// The segments of a directory, first batch first; none if there is no directory.
///
/// # Errors
/// When the directory cannot be read.
pub fn segments(directory: &Path) -> Result<Vec<Segment>, SegmentError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", directory)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("read", directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        if let Some(first) = number.and_then(|number| number.parse().ok()) {
            found.push(Segment { first, path });
        }
    }
    found.sort();
    Ok(found)
}

/// Moves the segments that reach beyond a batch into a directory of their own: they tell a story
/// that the books no longer follow. What of them lies before is in the books' own journal.
///
/// # Errors
/// When the file system refuses.
pub fn set_aside(directory: &Path, beyond: u64, ledger: LedgerId) -> Result<(), SegmentError> {
    for Segment { path, .. } in segments(directory)? {
        let mut reader = SegmentReader::open(&path, ledger)?;
        while let Found::Batch(_) = reader.next_batch()? {}
        if reader.place().batch <= beyond {
            continue;
        }
        let aside = directory.join(format!("superseded-{beyond:012}"));
        create_directory(&aside)?;
        let name = path.file_name().unwrap_or_default();
        fs::rename(&path, aside.join(name)).map_err(failed("set aside", &path))?;
        sync_directory(&aside)?;
    }
    sync_directory(directory)
}

/// Removes the segments that bring no copy forward that is still there: those whose every batch
/// lies in the oldest copy. How many went.
///
/// # Errors
/// When the file system refuses.
pub fn remove_before(directory: &Path, oldest_copy: u64) -> Result<usize, SegmentError> {
    let all = segments(directory)?;
    let mut removed = 0;
    for (old, next) in all.iter().zip(all.iter().skip(1)) {
        if next.first <= oldest_copy + 1 {
            fs::remove_file(&old.path).map_err(failed("remove", &old.path))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Makes a directory, private to this user, durable with its name.
///
/// # Errors
/// When the file system refuses.
pub fn create_directory(path: &Path) -> Result<(), SegmentError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(failed("create directory", path))?;
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

fn sync_directory(path: &Path) -> Result<(), SegmentError> {
    let opened = File::open(path).map_err(failed("open", path))?;
    opened.sync_all().map_err(failed("fsync", path))
}

fn guard(before: &Root, length: u32) -> [u8; 4] {
    let sum = sha256(&[MAGIC, before, &length.to_le_bytes()]);
    [sum[0], sum[1], sum[2], sum[3]]
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SegmentError {
    let path = path.to_owned();
    move |source| SegmentError::Io {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
