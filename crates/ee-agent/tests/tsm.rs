//! configfs-tsm on a fake directory tree: nothing is left behind, whatever the kernel says.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use ee_agent::{
    quote::{QuoteError, QuoteProvider},
    tsm::{TsmProvider, TsmTree},
};
use ee_protocol::report_data::WorkloadClaims;

const EINTR: i32 = 4;
const EIO: i32 = 5;
const EBUSY: i32 = 16;
const EFBIG: i32 = 27;
const BUDGET: Duration = Duration::from_millis(200);

#[test]
fn a_quote_carries_the_bytes_it_was_asked_for() {
    let tree = FakeKernel::new();
    let bundle = tree.provider().quote(&[7; 64], BUDGET).unwrap();
    assert_eq!(bundle.quote, [b"quote over ".as_slice(), &[7; 64]].concat());
    assert_eq!(tree.writes(), 1, "64 bytes go in with one write");
}

#[test]
fn tsm_entry_is_removed() {
    for (attribute, error) in [
        ("", 0),
        ("inblob", EIO),
        ("outblob", EIO),
        ("outblob", EFBIG),
        ("outblob", EBUSY),
    ] {
        let tree = FakeKernel::new();
        tree.fail(attribute, error, usize::MAX);
        let outcome = tree.provider().quote(&[7; 64], BUDGET);
        assert_eq!(outcome.is_ok(), error == 0, "{attribute} {error}");
        assert_eq!(
            tree.entries(),
            0,
            "{attribute} {error} left its directory behind"
        );
        assert_eq!(tree.made(), 1);
    }
}

#[test]
fn a_panicking_reader_leaves_nothing_behind() {
    let tree = FakeKernel::new();
    tree.fail("outblob", i32::MAX, usize::MAX);
    let provider = tree.provider();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        drop(provider.quote(&[7; 64], BUDGET));
    }));
    assert!(panicked.is_err());
    assert_eq!(tree.entries(), 0);
}

#[test]
fn busy_and_interrupted_calls_are_tried_again_within_the_deadline() {
    for error in [EBUSY, EINTR] {
        let tree = FakeKernel::new();
        tree.fail("outblob", error, 2);
        assert!(
            tree.provider()
                .quote(&[7; 64], Duration::from_secs(5))
                .is_ok(),
            "{error}"
        );
    }
}

#[test]
fn a_kernel_that_stays_busy_is_named() {
    for (error, wanted) in [
        (EBUSY, "quote_busy"),
        (EINTR, "quote_timeout"),
        (EIO, "quote_failed"),
    ] {
        let tree = FakeKernel::new();
        tree.fail("outblob", error, usize::MAX);
        let refused = tree.provider().quote(&[7; 64], BUDGET).unwrap_err();
        assert_eq!(refused.code(), wanted, "{error}");
    }
}

#[test]
fn another_platform_or_another_writer_is_refused() {
    for (attribute, content) in [("provider", "sev_guest\n"), ("generation", "2\n")] {
        let tree = FakeKernel::new();
        tree.answer(attribute, content);
        let refused = tree.provider().quote(&[7; 64], BUDGET).unwrap_err();
        assert!(
            matches!(&refused, QuoteError::Failed(why) if why.contains(attribute)),
            "{refused}"
        );
    }
}

#[test]
fn a_machine_without_the_interface_says_so() {
    let nowhere = tempfile::tempdir().unwrap().path().join("tsm/report");
    let provider = TsmProvider::new(nowhere, WorkloadClaims::default());
    let refused = provider.quote(&[7; 64], BUDGET).unwrap_err();
    assert_eq!(refused.code(), "quote_failed");
}

/// Plays the kernel on a real directory: attributes appear with an entry and go with it.
#[derive(Clone)]
struct FakeKernel(Arc<Inner>);

struct Inner {
    root: tempfile::TempDir,
    state: Mutex<State>,
}

struct State {
    provider: String,
    generation: String,
    /// Attribute, error, how often.
    failing: Option<(String, i32, usize)>,
    writes: usize,
    made: usize,
}

impl FakeKernel {
    fn new() -> Self {
        let state = State {
            provider: "tdx_guest\n".to_owned(),
            generation: "1\n".to_owned(),
            failing: None,
            writes: 0,
            made: 0,
        };
        let root = tempfile::tempdir().unwrap();
        Self(Arc::new(Inner {
            root,
            state: Mutex::new(state),
        }))
    }

    fn provider(&self) -> TsmProvider<Self> {
        TsmProvider::with_tree(self.root(), WorkloadClaims::default(), self.clone())
    }

    fn root(&self) -> PathBuf {
        self.0.root.path().to_owned()
    }

    fn fail(&self, attribute: &str, error: i32, times: usize) {
        if !attribute.is_empty() {
            self.0.state.lock().unwrap().failing = Some((attribute.to_owned(), error, times));
        }
    }

    fn answer(&self, attribute: &str, content: &str) {
        let mut state = self.0.state.lock().unwrap();
        match attribute {
            "provider" => state.provider = content.to_owned(),
            _ => state.generation = content.to_owned(),
        }
    }

    fn entries(&self) -> usize {
        std::fs::read_dir(self.root()).unwrap().count()
    }

    fn made(&self) -> usize {
        self.0.state.lock().unwrap().made
    }

    fn writes(&self) -> usize {
        self.0.state.lock().unwrap().writes
    }

    fn check(&self, attribute: &Path) -> io::Result<()> {
        let mut state = self.0.state.lock().unwrap();
        let Some((name, error, times)) = &mut state.failing else {
            return Ok(());
        };
        if !attribute.ends_with(name.as_str()) || *times == 0 {
            return Ok(());
        }
        *times -= 1;
        let error = *error;
        drop(state);
        assert_ne!(error, i32::MAX, "the reader panics");
        Err(io::Error::from_raw_os_error(error))
    }
}

impl TsmTree for FakeKernel {
    fn make_entry(&self, entry: &Path) -> io::Result<()> {
        self.0.state.lock().unwrap().made += 1;
        std::fs::create_dir(entry)
    }

    fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()> {
        self.check(attribute)?;
        self.0.state.lock().unwrap().writes += 1;
        std::fs::write(attribute, bytes)
    }

    fn read(&self, attribute: &Path) -> io::Result<Vec<u8>> {
        self.check(attribute)?;
        let state = self.0.state.lock().unwrap();
        if attribute.ends_with("provider") {
            return Ok(state.provider.clone().into_bytes());
        }
        if attribute.ends_with("generation") {
            return Ok(state.generation.clone().into_bytes());
        }
        let asked = std::fs::read(attribute.with_file_name("inblob"))?;
        Ok([b"quote over ".as_slice(), &asked].concat())
    }

    fn remove_entry(&self, entry: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(entry)
    }
}
