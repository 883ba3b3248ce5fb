//! What the rows of the books are called: numbers that are small, ordered and free of randomness.

use std::fmt;

use ee_protocol::{
    account::{AccountId, ClientId},
    names::NodeId,
    time::Timestamp,
};

/// An account of the books, counted from 1 in the order of opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AccountNo(pub u32);

/// The wallet or earnings account of a node; its stake and hold have numbers of their own.
pub type NodeNo = AccountNo;

/// The number of a command in the journal, counted from 1, without gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

/// Bits of a row's place in its command: four million rows, more than a clawback of the longest
/// dispute (72 hours) from a node with ten thousand users makes.
pub const IDX_BITS: u32 = 22;

/// Which row it is: the `idx`-th that the command `seq` made. The order of rows in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryNo {
    /// The command.
    pub seq: Seq,
    /// Which of its rows, from 0; below 2 to the [`IDX_BITS`].
    pub idx: u32,
}

impl EntryNo {
    /// Before every row.
    pub const FIRST: Self = Self {
        seq: Seq(0),
        idx: 0,
    };
    /// After every row.
    pub const LAST: Self = Self {
        seq: Seq(u64::MAX),
        idx: (1 << IDX_BITS) - 1,
    };
}

/// An id that people see: UUIDv7-shaped, made of the instant and the [`EntryNo`], and so free of
/// randomness. The number is read back from it: no index by id is needed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    at: Timestamp,
    no: EntryNo,
}

/// Bits of `seq` in an id: a million million commands.
const SEQ_BITS: u32 = 62 - IDX_BITS;

impl EntryId {
    /// The id of the row that was made at this instant.
    pub const fn new(at: Timestamp, no: EntryNo) -> Self {
        Self { at, no }
    }

    /// The row.
    pub const fn no(self) -> EntryNo {
        self.no
    }

    /// When it was made.
    pub const fn at(self) -> Timestamp {
        self.at
    }

    /// Reads 32 lower-case hex digits; none for anything that no id prints as.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.len() == 32 && !text.bytes().any(|b| b.is_ascii_uppercase() || b == b'+');
        let bits = lower.then(|| u128::from_str_radix(text, 16).ok())??;
        let millis = i64::try_from(bits >> 80).ok()?;
        let micros = i64::try_from((bits >> 64) & 0xfff).ok()?;
        let seq = u64::try_from((bits >> IDX_BITS) & ((1 << SEQ_BITS) - 1)).ok()?;
        let idx = u32::try_from(bits & ((1 << IDX_BITS) - 1)).ok()?;
        let at = Timestamp::from_unix_micros(millis * 1000 + micros);
        let id = Self::new(at, EntryNo { seq: Seq(seq), idx });
        (id.bits() == bits).then_some(id)
    }

    /// The 128 bits: 48 of milliseconds, version 7, 12 of microseconds, variant, `seq`, `idx`.
    pub fn bits(self) -> u128 {
        let micros = self.at.unix_micros();
        let millis = u128::from(micros.div_euclid(1000).unsigned_abs()) & ((1 << 48) - 1);
        let rest = u128::from(micros.rem_euclid(1000).unsigned_abs());
        let seq = u128::from(self.no.seq.0) & ((1 << SEQ_BITS) - 1);
        millis << 80 | 7 << 76 | rest << 64 | 2 << 62 | seq << IDX_BITS | u128::from(self.no.idx)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.bits())
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An id that a client chose, in the scope in which it must not repeat (LEDGER 11).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKey {
    /// `id` of a transfer, lock, payout or deposit, by the debited account.
    Debit(AccountId, ClientId),
    /// `usage_id`, by account and node.
    Usage(AccountId, NodeId, ClientId),
    /// `source` and `id` of a usage report.
    Source(ClientId, ClientId),
    /// `external_ref` of a purchase.
    Purchase(ClientId),
    /// `external_ref` of a payout.
    Payout(ClientId),
    /// `id` of a slash or an adjustment, which only an admin files.
    Admin(ClientId),
}

/// SHA-256 of the fields that came with a client id, to tell a repeat from a reuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);
