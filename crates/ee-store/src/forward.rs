//! A copy of the books brought forward along segments: every batch that they hold behind it is
//! carried out again, and must come to the very answers and the very root that were recorded.

use std::path::{Path, PathBuf};

use ee_core::{books::Books, journal::Root};
use ee_protocol::time::Timestamp;

use crate::{
    OpenError, Store,
    audit::Replayed,
    error::StoreError,
    ledger::{Head, LedgerStore, SqliteLedger, books},
    segments::{Found, KeptBatch, Place, Segment, SegmentError, SegmentReader, segments},
};

/// Up to where a copy is brought forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Until {
    /// As far as the segments go.
    #[default]
    End,
    /// Up to and including this batch, which must be there.
    Batch(u64),
    /// Up to and including the last batch of this instant or before.
    Time(Timestamp),
    /// Up to and including the batch with this root, which must be there.
    Root(Root),
}

/// Where it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    /// Where the books stand.
    pub head: Head,
    /// How many batches were carried out.
    pub batches: u64,
    /// Bytes of a record that its writer did not finish, at the very end.
    pub torn_bytes: u64,
    /// Whether segments hold batches behind the end that was asked for.
    pub more: bool,
}

/// Why a copy cannot be brought forward.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The copy cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The copy cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The segments cannot be read, or were changed.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// A record is cut short, but is not the last.
    #[error("{} ends inside batch {batch}, and another segment follows", path.display())]
    Cut {
        /// The segment.
        path: PathBuf,
        /// The batch that is not whole.
        batch: u64,
    },
    /// There is no segment with the next batch.
    #[error("batch {missing} is missing: {} begins behind it", path.display())]
    Missing {
        /// The batch.
        missing: u64,
        /// The segment that should hold it or something before it.
        path: PathBuf,
    },
    /// The segments tell another story than the copy.
    #[error("the segments and the copy disagree about batch {0}")]
    Diverged(u64),
    /// A batch came to something else than was recorded.
    #[error("batch {batch}: {what}")]
    Unlike {
        /// The batch.
        batch: u64,
        /// What is different.
        what: String,
    },
    /// The end that was asked for is not there.
    #[error("{0}: the segments end with batch {1}")]
    NotReached(&'static str, u64),
}

/// Brings the copy at `path` forward along the segments of a directory, up to `until`. After an
/// error the copy is of no use.
///
/// # Errors
/// When a segment was changed or is missing, or the books come to something else than it says.
pub async fn bring_forward(
    path: &Path,
    directory: &Path,
    until: Until,
) -> Result<Forwarded, ForwardError> {
    let store = Store::open_copy(path)?;
    let ledger = SqliteLedger::read_only(store.clone());
    let forwarded = carry_out(ledger, directory, until).await;
    store.close().await;
    forwarded
}

/// Carries out, on any store, what segments hold behind it.
///
/// # Errors
/// As for [`bring_forward`].
pub async fn carry_out<S: LedgerStore>(
    store: S,
    directory: &Path,
    until: Until,
) -> Result<Forwarded, ForwardError> {
    let head = store.head().await?;
    let loaded = books::load(&store).await?;
    let books = (Books::restore(loaded.rows), loaded.behind);
    let ledger = head.ledger_id;
    let mut forward = Forward {
        place: Place {
            batch: head.batch,
            root: head.root,
        },
        replayed: Replayed::new(store, books, head),
        until,
        batches: 0,
        torn_bytes: 0,
    };
    let all = segments(directory)?;
    let mut more = false;
    for (number, segment) in all.iter().enumerate() {
        let next = all.get(number + 1);
        if next.is_some_and(|next| next.first <= forward.place.batch + 1) {
            continue;
        }
        let reader = SegmentReader::open(&segment.path, ledger)?;
        more = forward.segment(segment, reader, next.is_none()).await?;
        if more {
            break;
        }
    }
    forward.end(more)
}

struct Forward<S> {
    replayed: Replayed<S>,
    place: Place,
    until: Until,
    batches: u64,
    torn_bytes: u64,
}

impl<S: LedgerStore> Forward<S> {
    /// Carries out a segment; whether it holds batches behind the end.
    async fn segment(
        &mut self,
        segment: &Segment,
        mut reader: SegmentReader,
        is_last: bool,
    ) -> Result<bool, ForwardError> {
        let path = &segment.path;
        self.meets(reader.place(), path)?;
        loop {
            let batch = match reader.next_batch()? {
                Found::Batch(batch) => batch,
                Found::End => return Ok(false),
                Found::Torn(bytes) if is_last => {
                    self.torn_bytes = bytes;
                    return Ok(false);
                }
                Found::Torn(_) => {
                    return Err(ForwardError::Cut {
                        path: path.clone(),
                        batch: reader.place().batch + 1,
                    });
                }
            };
            if batch.header.batch <= self.place.batch {
                self.meets(reader.place(), path)?;
                continue;
            }
            if self.is_behind_the_end(&batch) {
                return Ok(true);
            }
            self.batch(batch).await?;
        }
    }

    /// Checks a place of a segment against where the copy stands.
    fn meets(&self, place: Place, path: &Path) -> Result<(), ForwardError> {
        if place.batch > self.place.batch {
            return Err(ForwardError::Missing {
                missing: self.place.batch + 1,
                path: path.to_owned(),
            });
        }
        if place.batch == self.place.batch && place.root != self.place.root {
            return Err(ForwardError::Diverged(place.batch));
        }
        Ok(())
    }

    fn is_behind_the_end(&self, batch: &KeptBatch) -> bool {
        match self.until {
            Until::End => false,
            Until::Batch(number) => batch.header.batch > number,
            Until::Time(at) => batch.header.at > at,
            Until::Root(root) => self.place.root == root,
        }
    }

    async fn batch(&mut self, batch: KeptBatch) -> Result<(), ForwardError> {
        let KeptBatch { header, body, root } = batch;
        self.replayed.batch(&header, &body, root).await?;
        if let Some(finding) = self.replayed.findings.first() {
            return Err(ForwardError::Unlike {
                batch: header.batch,
                what: finding.what.clone(),
            });
        }
        self.place = Place {
            batch: header.batch,
            root,
        };
        self.batches += 1;
        Ok(())
    }

    fn end(self, more: bool) -> Result<Forwarded, ForwardError> {
        let last = self.place.batch;
        let missed = match self.until {
            Until::End | Until::Time(_) => None,
            Until::Batch(number) => (last != number).then_some("the batch is not there"),
            Until::Root(root) => (self.place.root != root).then_some("the root is not there"),
        };
        if let Some(what) = missed {
            return Err(ForwardError::NotReached(what, last));
        }
        Ok(Forwarded {
            head: self.replayed.head,
            batches: self.batches,
            torn_bytes: self.torn_bytes,
            more,
        })
    }
}
