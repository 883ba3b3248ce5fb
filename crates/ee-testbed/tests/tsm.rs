//! The agent's configfs-tsm provider against the fake tree.

use std::time::Duration;

use ee_agent::{
    quote::{QuoteError, QuoteProvider as _},
    tsm::TsmProvider,
};
use ee_testbed::{DemoImage, FakeTsm, QuoteVersion, SimOptions, SimPlatform, fake_tsm::TsmFault};

const BUDGET: Duration = Duration::from_secs(5);
const REPORT_DATA: [u8; 64] = [3; 64];

#[test]
fn quote_comes_through_the_tree_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let tree = tree(&root, TsmFault::None);
    tree.busy_for(2);
    let provider = TsmProvider::with_tree(root.path(), image().claims(), tree.clone());
    let bundle = provider.quote(&REPORT_DATA, BUDGET).unwrap();
    let expected = platform().quote(&image().td(), QuoteVersion::V4, &REPORT_DATA);
    assert_eq!(bundle.quote, expected);
    assert_eq!((tree.quotes(), tree.entries_left().unwrap()), (1, 0));
}

#[test]
fn every_fault_is_refused_and_leaves_nothing() {
    for fault in [
        TsmFault::Io,
        TsmFault::TooBig,
        TsmFault::Interference,
        TsmFault::OtherProvider,
        TsmFault::Empty,
    ] {
        let root = tempfile::tempdir().unwrap();
        let tree = tree(&root, fault);
        let provider = TsmProvider::with_tree(root.path(), image().claims(), tree.clone());
        let refusal = provider.quote(&REPORT_DATA, BUDGET).unwrap_err();
        assert!(
            matches!(refusal, QuoteError::Failed(_)),
            "{fault:?}: {refusal:?}"
        );
        assert_eq!(tree.entries_left().unwrap(), 0, "{fault:?}");
    }
}

fn tree(root: &tempfile::TempDir, fault: TsmFault) -> FakeTsm {
    FakeTsm::with_fault(root.path(), platform(), image().td(), fault)
}

fn platform() -> SimPlatform {
    SimPlatform::new(1, SimOptions::default())
}

fn image() -> DemoImage {
    DemoImage::new(1)
}
