//! The batches of the journal and the chain over them (LEDGER 12).
//!
//! `root_0 = SHA-256("easyenclave journal 1" | 0x00 | ledger_id)` and
//! `root_k = SHA-256(0x02 | root_{k-1} | header | SHA-256(body))`. The tags 0x00 and 0x01 stay free
//! for leaves (records) and nodes of a Merkle tree (RFC 6962).

use ee_protocol::time::Timestamp;
use ring::digest::{Context, SHA256};

use super::canonical::{Canonical, canonical_struct};

/// Separates our hashes from everybody else's.
const DOMAIN: &[u8] = b"easyenclave journal 1\0";
/// Neither leaf nor node of a Merkle tree.
const LINK_TAG: u8 = 2;

/// Random bytes that tell one set of books from another.
pub type LedgerId = [u8; 16];

/// The chain's value up to and including a batch.
pub type Root = [u8; 32];

/// What stands before the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Place of the batch, from 1 without gaps.
    pub batch: u64,
    /// `seq` of its first record.
    pub first_seq: u64,
    /// How many records follow; never 0.
    pub count: u32,
    /// The one time of the batch: every record has it.
    pub at: Timestamp,
    /// Under which leadership it was written.
    pub epoch: u64,
    /// Up to here all facts of all live observers are in.
    pub watermark: Timestamp,
}

canonical_struct! {
    Header { batch, first_seq, count, at, epoch, watermark }
}

/// The root before the first batch.
pub fn genesis(ledger_id: &LedgerId) -> Root {
    sha256(&[DOMAIN, ledger_id])
}

/// The root after a batch.
pub fn next_root(previous: &Root, header: &Header, body: &[u8]) -> Root {
    sha256(&[&[LINK_TAG], previous, &header.encoded(), &sha256(&[body])])
}

/// SHA-256 over parts laid end to end.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            batch: 1,
            first_seq: 1,
            count: 2,
            at: Timestamp::from_unix_micros(5),
            epoch: 1,
            watermark: Timestamp::EPOCH,
        }
    }

    #[test]
    fn every_part_of_a_batch_is_in_its_root() {
        let start = genesis(&[7; 16]);
        let root = next_root(&start, &header(), b"body");
        let other = |change: fn(&mut Header)| {
            let mut changed = header();
            change(&mut changed);
            next_root(&start, &changed, b"body")
        };
        let others = [
            next_root(&genesis(&[8; 16]), &header(), b"body"),
            next_root(&start, &header(), b"bodies"),
            other(|header| header.batch += 1),
            other(|header| header.first_seq += 1),
            other(|header| header.count += 1),
            other(|header| header.at = Timestamp::from_unix_micros(6)),
            other(|header| header.epoch += 1),
            other(|header| header.watermark = Timestamp::from_unix_micros(1)),
        ];
        assert!(others.iter().all(|changed| *changed != root));
    }

    #[test]
    fn roots_are_those_of_the_specification() {
        let domain = b"easyenclave journal 1\x00\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07";
        assert_eq!(genesis(&[7; 16]), sha256(&[domain]));
        let mut text = vec![2];
        text.extend(genesis(&[7; 16]));
        text.extend(header().encoded());
        text.extend(sha256(&[b"body"]));
        assert_eq!(
            next_root(&genesis(&[7; 16]), &header(), b"body"),
            sha256(&[&text])
        );
    }
}
