//! A directory tree that behaves as configfs-tsm does: attributes appear with the directory, a
//! write to `inblob` makes the quote, `rmdir` takes the attributes along.
//!
//! It keeps real directories, so that a leak is visible to whoever lists the root.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use ee_agent::tsm::TsmTree;

use crate::{platform::SimPlatform, quote::QuoteVersion, td::Td};

/// How the interface misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TsmFault {
    /// It does not.
    #[default]
    None,
    /// Making the quote fails with `EIO`.
    Io,
    /// The quote does not fit: `EFBIG`.
    TooBig,
    /// Somebody else wrote as well: `generation` is 2.
    Interference,
    /// Another platform answers.
    OtherProvider,
    /// The quote is empty.
    Empty,
}

/// The fake tree; clones share it.
#[derive(Clone)]
pub struct FakeTsm {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    platform: SimPlatform,
    version: QuoteVersion,
    td: Td,
    fault: TsmFault,
    /// How many more operations answer `EBUSY`.
    busy: AtomicU32,
    quotes: AtomicU32,
}

impl FakeTsm {
    /// A tree under the existing directory `root`, quoting `td` on `platform`.
    pub fn new(root: impl Into<PathBuf>, platform: SimPlatform, td: Td) -> Self {
        Self::with_fault(root, platform, td, TsmFault::None)
    }

    /// The same with a fault.
    pub fn with_fault(
        root: impl Into<PathBuf>,
        platform: SimPlatform,
        td: Td,
        fault: TsmFault,
    ) -> Self {
        let shared = Shared {
            root: root.into(),
            platform,
            version: QuoteVersion::V4,
            td,
            fault,
            busy: AtomicU32::new(0),
            quotes: AtomicU32::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The root that the provider is given.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// Lets the next `count` reads of a quote answer `EBUSY`.
    pub fn busy_for(&self, count: u32) {
        self.shared.busy.store(count, Ordering::Relaxed);
    }

    /// Quotes made so far.
    pub fn quotes(&self) -> u32 {
        self.shared.quotes.load(Ordering::Relaxed)
    }

    /// Directories that nobody removed.
    pub fn entries_left(&self) -> io::Result<usize> {
        Ok(fs::read_dir(&self.shared.root)?.count())
    }

    fn take_busy(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.shared
            .busy
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    fn make_quote(&self, entry: &Path, inblob: &[u8]) -> io::Result<()> {
        let Shared {
            platform,
            version,
            td,
            fault,
            ..
        } = &*self.shared;
        let report_data = inblob
            .try_into()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let quote = match fault {
            TsmFault::Empty => Vec::new(),
            TsmFault::None
            | TsmFault::Io
            | TsmFault::TooBig
            | TsmFault::Interference
            | TsmFault::OtherProvider => platform.quote(td, *version, report_data),
        };
        self.shared.quotes.fetch_add(1, Ordering::Relaxed);
        let generation = if *fault == TsmFault::Interference {
            "2\n"
        } else {
            "1\n"
        };
        fs::write(entry.join("generation"), generation)?;
        fs::write(entry.join("outblob"), quote)
    }
}

impl TsmTree for FakeTsm {
    fn make_entry(&self, entry: &Path) -> io::Result<()> {
        if entry.parent() != Some(self.root()) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        fs::create_dir(entry)?;
        let provider = match self.shared.fault {
            TsmFault::OtherProvider => "sev_guest\n",
            TsmFault::None
            | TsmFault::Io
            | TsmFault::TooBig
            | TsmFault::Interference
            | TsmFault::Empty => "tdx_guest\n",
        };
        fs::write(entry.join("provider"), provider)?;
        fs::write(entry.join("generation"), "0\n")
    }

    fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()> {
        let (Some(entry), true) = (attribute.parent(), attribute.ends_with("inblob")) else {
            return Err(io::ErrorKind::PermissionDenied.into());
        };
        if !entry.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.make_quote(entry, bytes)
    }

    fn read(&self, attribute: &Path) -> io::Result<Vec<u8>> {
        if attribute.ends_with("outblob") {
            if self.take_busy() {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            match self.shared.fault {
                TsmFault::Io => return Err(io::Error::from_raw_os_error(EIO)),
                TsmFault::TooBig => return Err(io::ErrorKind::FileTooLarge.into()),
                TsmFault::None
                | TsmFault::Interference
                | TsmFault::OtherProvider
                | TsmFault::Empty => {}
            }
        }
        fs::read(attribute)
    }

    fn remove_entry(&self, entry: &Path) -> io::Result<()> {
        fs::remove_dir_all(entry)
    }
}

/// `EIO` has no kind of its own in std; 5 on every Linux.
const EIO: i32 = 5;
