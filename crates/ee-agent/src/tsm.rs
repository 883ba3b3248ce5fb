//! Quotes from Linux's configfs-tsm (kernel 6.7 and later), ATTESTATION section 7.
//!
//! One quote is one directory: made, written once, read once, removed. The directory is removed
//! on every way out, for the kernel keeps it otherwise. Interface: the kernel's
//! `Documentation/ABI/testing/configfs-tsm-report`.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use ee_protocol::report_data::WorkloadClaims;

use crate::{
    clock::Stopwatch,
    quote::{QuoteBundle, QuoteError, QuoteProvider},
};

/// Where the kernel mounts the interface.
pub const DEFAULT_ROOT: &str = "/sys/kernel/config/tsm/report";
/// The only platform this agent knows how to speak for.
const PROVIDER: &str = "tdx_guest";
/// `generation` counts writes: one write was ours, so more means that somebody else interfered.
const GENERATION: &str = "1";
/// Pause between tries while the interface is busy: a quote takes some milliseconds.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// A TDX quote is 5 to 8 KiB; the kernel's own buffer is 16 KiB. Beyond this it is not a quote.
const QUOTE_MAX_BYTES: usize = 160 * 1024;

/// The four file operations that configfs knows, so that tests can play the kernel.
pub trait TsmTree: Send + Sync {
    /// Makes the directory; the kernel fills it with attributes.
    fn make_entry(&self, entry: &Path) -> io::Result<()>;
    /// Writes an attribute in a single `write`.
    fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Reads an attribute to its end.
    fn read(&self, attribute: &Path) -> io::Result<Vec<u8>>;
    /// Removes the directory; on configfs its attributes go with it.
    fn remove_entry(&self, entry: &Path) -> io::Result<()>;
}

/// The kernel's own tree.
#[derive(Debug, Clone, Copy, Default)]
pub struct Configfs;

impl TsmTree for Configfs {
    fn make_entry(&self, entry: &Path) -> io::Result<()> {
        std::fs::create_dir(entry)
    }

    fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).open(attribute)?;
        match file.write(bytes)? {
            written if written == bytes.len() => Ok(()),
            written => Err(io::Error::other(format!(
                "{written} of {} written",
                bytes.len()
            ))),
        }
    }

    fn read(&self, attribute: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(attribute)
    }

    fn remove_entry(&self, entry: &Path) -> io::Result<()> {
        std::fs::remove_dir(entry)
    }
}

/// Makes quotes through configfs-tsm.
#[derive(Debug)]
pub struct TsmProvider<T = Configfs> {
    root: PathBuf,
    claims: WorkloadClaims,
    tree: T,
    entries_made: AtomicU64,
}

impl TsmProvider<Configfs> {
    /// Quotes from the interface mounted at `root`.
    pub fn new(root: impl Into<PathBuf>, claims: WorkloadClaims) -> Self {
        Self::with_tree(root, claims, Configfs)
    }
}

impl<T: TsmTree> TsmProvider<T> {
    /// Quotes from a tree that somebody else plays.
    pub fn with_tree(root: impl Into<PathBuf>, claims: WorkloadClaims, tree: T) -> Self {
        Self {
            root: root.into(),
            claims,
            tree,
            entries_made: AtomicU64::new(0),
        }
    }

    fn make_entry(&self, patience: &Patience) -> Result<Entry<'_, T>, QuoteError> {
        let number = self.entries_made.fetch_add(1, Ordering::Relaxed);
        let path = self
            .root
            .join(format!("easyenclave-{}-{number}", std::process::id()));
        patience.retry("mkdir", || self.tree.make_entry(&path))?;
        Ok(Entry {
            tree: &self.tree,
            path,
        })
    }
}

impl<T: TsmTree> QuoteProvider for TsmProvider<T> {
    fn claims(&self) -> &WorkloadClaims {
        &self.claims
    }

    fn quote(&self, report_data: &[u8; 64], budget: Duration) -> Result<QuoteBundle, QuoteError> {
        let patience = Patience {
            since: Stopwatch::start(),
            budget,
        };
        let entry = self.make_entry(&patience)?;
        patience.retry("inblob", || entry.write("inblob", report_data))?;
        let quote = patience.retry("outblob", || entry.read("outblob"))?;
        entry.expect("provider", PROVIDER, &patience)?;
        entry.expect("generation", GENERATION, &patience)?;
        if quote.is_empty() || quote.len() > QUOTE_MAX_BYTES {
            return Err(QuoteError::Failed(format!(
                "outblob holds {} bytes",
                quote.len()
            )));
        }
        Ok(QuoteBundle {
            quote,
            event_log: None,
        })
    }
}

/// One directory of the tree; dropping it removes it.
struct Entry<'a, T: TsmTree> {
    tree: &'a T,
    path: PathBuf,
}

impl<T: TsmTree> Entry<'_, T> {
    fn write(&self, attribute: &str, bytes: &[u8]) -> io::Result<()> {
        self.tree.write(&self.path.join(attribute), bytes)
    }

    fn read(&self, attribute: &str) -> io::Result<Vec<u8>> {
        self.tree.read(&self.path.join(attribute))
    }

    fn expect(&self, attribute: &str, wanted: &str, patience: &Patience) -> Result<(), QuoteError> {
        let bytes = patience.retry(attribute, || self.read(attribute))?;
        let found = String::from_utf8_lossy(&bytes);
        if found.trim() == wanted {
            return Ok(());
        }
        Err(QuoteError::Failed(format!(
            "{attribute} is {:?}, not {wanted:?}",
            found.trim()
        )))
    }
}

impl<T: TsmTree> Drop for Entry<'_, T> {
    fn drop(&mut self) {
        if let Err(error) = self.tree.remove_entry(&self.path) {
            tracing::warn!(event = "tsm_entry_left", path = %self.path.display(), %error);
        }
    }
}

/// How long the caller still waits.
struct Patience {
    since: Stopwatch,
    budget: Duration,
}

impl Patience {
    /// Repeats `call` while the kernel says that it is busy or was interrupted.
    fn retry<R>(
        &self,
        what: &str,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> Result<R, QuoteError> {
        loop {
            match call() {
                Ok(value) => return Ok(value),
                Err(error) if !is_passing(&error) => {
                    return Err(QuoteError::Failed(format!("{what}: {error}")));
                }
                Err(error) if self.since.elapsed() + RETRY_PAUSE >= self.budget => {
                    let busy = error.kind() == io::ErrorKind::ResourceBusy;
                    return Err(if busy {
                        QuoteError::Busy
                    } else {
                        QuoteError::Timeout
                    });
                }
                Err(_) => thread::sleep(RETRY_PAUSE),
            }
        }
    }
}

/// EBUSY, EINTR and EAGAIN pass; EIO, EFBIG and the rest are final.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}
