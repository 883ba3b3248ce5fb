//! Reading a segment: every batch is checked against the one before it.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use ee_core::journal::{Canonical, Header, LedgerId, Reader, Root, next_root};

use super::{
    HEAD_BYTES, KeptBatch, MAGIC, PREFIX_BYTES, Place, RECORD_BYTES_MAX, SegmentError, failed,
    guard,
};

/// What comes next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A batch that follows from the last.
    Batch(KeptBatch),
    /// The file ends in the middle of a record, so many bytes after the last whole one.
    Torn(u64),
    /// The file ends.
    End,
}

/// A segment that is being read.
#[derive(Debug)]
pub struct SegmentReader {
    file: BufReader<File>,
    path: PathBuf,
    /// After the last whole record: from the file's beginning, in bytes.
    offset: u64,
    length: u64,
    place: Place,
}

impl SegmentReader {
    /// Opens a segment of these books. One that was cut short in its head holds nothing, and says
    /// so at the first question.
    ///
    /// # Errors
    /// When it cannot be read, or is another ledger's.
    pub fn open(path: &Path, ledger: LedgerId) -> Result<Self, SegmentError> {
        let file = File::open(path).map_err(failed("open", path))?;
        let length = file.metadata().map_err(failed("read", path))?.len();
        let mut reader = Self {
            file: BufReader::new(file),
            path: path.to_owned(),
            offset: 0,
            length,
            place: Place {
                batch: 0,
                root: Root::default(),
            },
        };
        if length >= HEAD_BYTES {
            reader.read_head(ledger)?;
        }
        Ok(reader)
    }

    /// After which batch the next one follows.
    pub fn place(&self) -> Place {
        self.place
    }

    /// How many bytes of the file are whole.
    pub fn whole_bytes(&self) -> u64 {
        self.offset
    }

    fn read_head(&mut self, ledger: LedgerId) -> Result<(), SegmentError> {
        let bytes = self.read_bytes(HEAD_BYTES)?;
        let (magic, rest) = bytes.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(self.broken("not a segment of this format"));
        }
        let mut rest = Reader::new(rest);
        let mut fields = || -> Result<_, _> {
            let id = LedgerId::read(&mut rest)?;
            Ok((id, u64::read(&mut rest)?, Root::read(&mut rest)?))
        };
        let (id, first, root) =
            fields().map_err(|error: ee_core::journal::Malformed| self.broken(error))?;
        if id != ledger {
            return Err(self.broken("it belongs to other books"));
        }
        let Some(batch) = first.checked_sub(1) else {
            return Err(self.broken("batches are counted from 1"));
        };
        self.place = Place { batch, root };
        self.offset = HEAD_BYTES;
        Ok(())
    }

    /// The next batch.
    ///
    /// # Errors
    /// When the file cannot be read, or holds what no server wrote there.
    pub fn next_batch(&mut self) -> Result<Found, SegmentError> {
        let left = self.length - self.offset;
        if left == 0 && self.offset >= HEAD_BYTES {
            return Ok(Found::End);
        }
        if self.offset < HEAD_BYTES || left < PREFIX_BYTES {
            return Ok(Found::Torn(left));
        }
        let prefix = self.read_bytes(PREFIX_BYTES)?;
        let mut fields = Reader::new(&prefix);
        let length = u32::read(&mut fields).map_err(|error| self.broken(error))?;
        if fields.rest() != guard(&self.place.root, length) {
            return self.unwritten(&prefix, left);
        }
        if length > RECORD_BYTES_MAX {
            return Err(self.broken("a record is longer than any batch"));
        }
        if left < PREFIX_BYTES + u64::from(length) {
            return Ok(Found::Torn(left));
        }
        let bytes = self.read_bytes(length.into())?;
        let batch = self.check(&bytes)?;
        self.place = Place {
            batch: batch.header.batch,
            root: batch.root,
        };
        self.offset += PREFIX_BYTES + u64::from(length);
        Ok(Found::Batch(batch))
    }

    /// A prefix that no writer made: nothing but zeros up to the end is space that was reserved
    /// and never written, anything else was changed.
    fn unwritten(&mut self, prefix: &[u8], left: u64) -> Result<Found, SegmentError> {
        let mut rest = (&mut self.file).bytes();
        let zeros = rest.all(|byte| matches!(byte, Ok(0))) && prefix.iter().all(|byte| *byte == 0);
        if zeros {
            return Ok(Found::Torn(left));
        }
        Err(self.broken("its length was changed"))
    }

    fn check(&self, bytes: &[u8]) -> Result<KeptBatch, SegmentError> {
        let mut input = Reader::new(bytes);
        let header = Header::read(&mut input).map_err(|error| self.broken(error))?;
        let Some((body, root)) = input.rest().split_last_chunk::<32>() else {
            return Err(self.broken("a record without root"));
        };
        if header.batch != self.place.batch + 1 {
            return Err(self.broken("another batch stands there"));
        }
        if next_root(&self.place.root, &header, body) != *root {
            return Err(self.broken("its root does not follow: it was changed"));
        }
        Ok(KeptBatch {
            header,
            body: body.to_vec(),
            root: *root,
        })
    }

    fn read_bytes(&mut self, count: u64) -> Result<Vec<u8>, SegmentError> {
        let count = usize::try_from(count).expect("records are bounded");
        let mut bytes = vec![0; count];
        let read = self.file.read_exact(&mut bytes);
        read.map_err(failed("read", &self.path))?;
        Ok(bytes)
    }

    fn broken(&self, what: impl ToString) -> SegmentError {
        SegmentError::Broken {
            path: self.path.clone(),
            batch: self.place.batch + 1,
            what: what.to_string(),
        }
    }
}
