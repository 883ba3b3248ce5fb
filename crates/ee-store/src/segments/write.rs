//! Writing segments: appended and made durable batch by batch.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use ee_core::journal::{Canonical, LedgerId};

use super::{
    Found, HEAD_BYTES, KeptBatch, MAGIC, PREFIX, Place, SUFFIX, Segment, SegmentError,
    SegmentReader, failed, guard, segments, sync_directory,
};

/// A segment that is longer is followed by the next: so old ones can go, and a damaged one costs
/// little.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// The segment that batches are appended to.
#[derive(Debug)]
pub struct SegmentWriter {
    directory: PathBuf,
    ledger: LedgerId,
    file: File,
    path: PathBuf,
    length: u64,
    place: Place,
}

impl SegmentWriter {
    /// Goes on with the newest segment of a directory, cutting what its last writer did not
    /// finish; none if there is no segment.
    ///
    /// # Errors
    /// When it cannot be read or written, or holds what no server wrote.
    pub fn resume(directory: &Path, ledger: LedgerId) -> Result<Option<Self>, SegmentError> {
        while let Some(Segment { path, .. }) = segments(directory)?.pop() {
            let mut reader = SegmentReader::open(&path, ledger)?;
            let torn = loop {
                match reader.next_batch()? {
                    Found::Batch(_) => {}
                    Found::Torn(bytes) => break bytes,
                    Found::End => break 0,
                }
            };
            if reader.whole_bytes() < HEAD_BYTES {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
                continue;
            }
            let file = OpenOptions::new().append(true).open(&path);
            let file = file.map_err(failed("open", &path))?;
            if torn > 0 {
                let cut = file.set_len(reader.whole_bytes());
                cut.and_then(|()| file.sync_all())
                    .map_err(failed("cut", &path))?;
            }
            return Ok(Some(Self {
                directory: directory.to_owned(),
                ledger,
                file,
                path,
                length: reader.whole_bytes(),
                place: reader.place(),
            }));
        }
        Ok(None)
    }

    /// Begins a segment behind a place of the journal.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn begin(directory: &Path, ledger: LedgerId, place: Place) -> Result<Self, SegmentError> {
        super::create_directory(directory)?;
        let first = place.batch + 1;
        let path = directory.join(format!("{PREFIX}{first:012}{SUFFIX}"));
        let mut options = OpenOptions::new();
        let made = options
            .create_new(true)
            .append(true)
            .mode(0o600)
            .open(&path);
        let mut file = made.map_err(failed("create", &path))?;
        let mut head = MAGIC.to_vec();
        ledger.write(&mut head);
        first.write(&mut head);
        place.root.write(&mut head);
        let written = file.write_all(&head).and_then(|()| file.sync_all());
        written.map_err(failed("write", &path))?;
        sync_directory(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            ledger,
            file,
            path,
            length: HEAD_BYTES,
            place,
        })
    }

    /// After which batch the next one follows.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Appends batches and makes them durable. After an error the writer is of no more use: what
    /// it left behind is cut by the next [`SegmentWriter::resume`].
    ///
    /// # Errors
    /// When the file system refuses, or a batch does not follow.
    pub fn append(&mut self, batches: &[KeptBatch]) -> Result<(), SegmentError> {
        if batches.is_empty() {
            return Ok(());
        }
        if self.length >= SEGMENT_BYTES {
            self.rotate()?;
        }
        let mut bytes = Vec::new();
        for batch in batches {
            self.encode(batch, &mut bytes)?;
        }
        let written = self.file.write_all(&bytes);
        written
            .and_then(|()| self.file.sync_data())
            .and_then(|()| self.in_place())
            .map_err(failed("write", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// A file whose directory was removed or moved still takes bytes, but nobody will find them.
    fn in_place(&self) -> io::Result<()> {
        let (named, ours) = (fs::metadata(&self.path)?, self.file.metadata()?);
        if (named.dev(), named.ino()) != (ours.dev(), ours.ino()) {
            return Err(io::Error::other("another file has taken its place"));
        }
        Ok(())
    }

    /// Begins the next segment, unless this one is empty.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn rotate(&mut self) -> Result<(), SegmentError> {
        if self.length > HEAD_BYTES {
            *self = Self::begin(&self.directory, self.ledger, self.place)?;
        }
        Ok(())
    }

    fn encode(&mut self, batch: &KeptBatch, out: &mut Vec<u8>) -> Result<(), SegmentError> {
        let KeptBatch { header, body, root } = batch;
        if header.batch != self.place.batch + 1 {
            return Err(SegmentError::Gap {
                path: self.path.clone(),
                last: self.place.batch,
                found: header.batch,
            });
        }
        let header = header.encoded();
        let length = u32::try_from(header.len() + body.len() + root.len());
        let length = length.expect("a batch is far below 4 GiB");
        length.write(out);
        out.extend_from_slice(&guard(&self.place.root, length));
        out.extend_from_slice(&header);
        out.extend_from_slice(body);
        out.extend_from_slice(root);
        self.place = Place {
            batch: batch.header.batch,
            root: *root,
        };
        Ok(())
    }
}
