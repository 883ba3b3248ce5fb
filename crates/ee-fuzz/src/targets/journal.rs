//! Records and batches of the journal: what is taken encodes to the same bytes again.

use ee_core::journal::{Canonical, Header, Record, decode_batch, genesis, next_root};
use ee_protocol::time::Timestamp;

use crate::Target;

pub const TARGET: Target = Target {
    name: "journal",
    about: "records and batches of the journal",
    run,
    seeds: records,
    longest: 4 * 1024,
    floor: 1200,
};

/// The records of the golden file, each alone.
fn records() -> Vec<Vec<u8>> {
    let golden = include_str!("../../../ee-core/src/journal/golden.txt");
    let bytes = golden.lines().filter_map(|line| line.split(' ').nth(1));
    bytes
        .filter_map(|digits| hex::decode(digits).ok())
        .collect()
}

fn run(bytes: &[u8]) {
    if let Ok(record) = Record::decoded(bytes) {
        assert_eq!(record.encoded(), bytes);
        batch(&record, bytes);
    }
    if let Ok(header) = Header::decoded(bytes) {
        assert_eq!(header.encoded(), bytes);
    }
}

/// A batch of it alone is taken where it says, and nowhere else.
fn batch(record: &Record, bytes: &[u8]) {
    let header = Header {
        batch: 1,
        first_seq: record.seq,
        count: 1,
        at: record.at,
        epoch: 1,
        watermark: Timestamp::EPOCH,
    };
    assert_eq!(
        decode_batch(&header, bytes).as_deref(),
        Ok(&[record.clone()][..])
    );
    let other = Header {
        first_seq: record.seq ^ 1,
        ..header
    };
    assert!(decode_batch(&other, bytes).is_err());
    let root = next_root(&genesis(&[0; 16]), &header, bytes);
    assert_ne!(root, next_root(&genesis(&[0; 16]), &other, bytes));
}
