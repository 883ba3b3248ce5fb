//! One record: what was asked, by whom, and what the books answered.
//!
//! `u32 length, u8 version = 1, u16 kind, u64 seq, i64 at_us, actor, key and fingerprint, command,
//! u16 outcome, result`; the length counts what follows it. An outcome below 100 is the code of a
//! refusal, from 100 on it says what was done and is followed by it.

use ee_protocol::{
    account::{IdempotencyKey, Note},
    time::Timestamp,
};

use super::{
    canonical::{Canonical, Malformed, Reader, canonical_struct},
    chain::{Header, Root, next_root},
};
use crate::books::{Command, Outcome, Principal, Refusal};

/// The encoding described above. Another one would be read beside it, never instead.
const VERSION: u8 = 1;
/// Numbers from here on are outcomes, below are refusals.
const OUTCOMES_FROM: u16 = 100;
/// Bytes of a command's number, with which its encoding begins.
const KIND_BYTES: usize = 2;

/// The idempotency key of a request, and what it was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Method and path, without ids.
    pub route: Note,
    /// The key.
    pub key: IdempotencyKey,
    /// SHA-256 of the command's encoding: the same key with another command is refused.
    pub fingerprint: [u8; 32],
}

canonical_struct! {
    Key { route, key, fingerprint }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place, from 1 without gaps.
    pub seq: u64,
    /// The time of its batch.
    pub at: Timestamp,
    /// Who asked.
    pub actor: Principal,
    /// Under which key.
    pub key: Option<Key>,
    /// What was asked.
    pub command: Command,
    /// What the books answered.
    pub outcome: Result<Outcome, Refusal>,
}

impl Canonical for Result<Outcome, Refusal> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Ok(outcome) => outcome.write(out),
            Err(refusal) => refusal.write(out),
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let number = u16::read(&mut input.clone())?;
        if number >= OUTCOMES_FROM {
            Outcome::read(input).map(Ok)
        } else {
            Refusal::read(input).map(Err)
        }
    }
}

/// Appends a record whose command is encoded already.
pub fn write_record(
    record: &RecordHead<'_>,
    command: &[u8],
    outcome: &Result<Outcome, Refusal>,
    out: &mut Vec<u8>,
) {
    let (kind, fields) = command.split_at(KIND_BYTES);
    let start = out.len();
    0_u32.write(out);
    VERSION.write(out);
    out.extend_from_slice(kind);
    record.seq.write(out);
    record.at.write(out);
    record.actor.write(out);
    record.key.is_some().write(out);
    if let Some(key) = record.key {
        key.write(out);
    }
    out.extend_from_slice(fields);
    outcome.write(out);
    let length = u32::try_from(out.len() - start - size_of::<u32>());
    let length = length.expect("a batch is far below 4 GiB");
    out[start..start + size_of::<u32>()].copy_from_slice(&length.to_le_bytes());
}

/// What a record says besides command and outcome.
#[derive(Debug, Clone, Copy)]
pub struct RecordHead<'a> {
    /// Its place.
    pub seq: u64,
    /// The time of its batch.
    pub at: Timestamp,
    /// Who asked.
    pub actor: &'a Principal,
    /// Under which key.
    pub key: Option<&'a Key>,
}

impl Canonical for Record {
    fn write(&self, out: &mut Vec<u8>) {
        let Self {
            seq,
            at,
            actor,
            key,
            command,
            outcome,
        } = self;
        let head = RecordHead {
            seq: *seq,
            at: *at,
            actor,
            key: key.as_ref(),
        };
        write_record(&head, &command.encoded(), outcome, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = usize::try_from(u32::read(input)?).map_err(|_| Malformed::Truncated)?;
        let mut input = Reader::new(input.take(length)?);
        let version = u8::read(&mut input)?;
        if version != VERSION {
            return Err(Malformed::Choice {
                what: "the journal's version",
                found: version.into(),
            });
        }
        let kind = input.take(KIND_BYTES)?;
        let (seq, at) = (u64::read(&mut input)?, Timestamp::read(&mut input)?);
        let (actor, key) = (Principal::read(&mut input)?, Option::read(&mut input)?);
        // The command's number stands further ahead than its fields.
        let command = [kind, input.rest()].concat();
        let mut fields = Reader::new(&command);
        let command_read = Command::read(&mut fields)?;
        let outcome = Canonical::read(&mut fields)?;
        fields.end()?;
        Ok(Self {
            seq,
            at,
            actor,
            key,
            command: command_read,
            outcome,
        })
    }
}

/// The records of a batch.
///
/// # Errors
/// When the bytes are not exactly the canonical ones of as many records as the header says, in
/// their places, at its time.
pub fn decode_batch(header: &Header, body: &[u8]) -> Result<Vec<Record>, Malformed> {
    let mut input = Reader::new(body);
    let mut records = Vec::new();
    for place in 0..u64::from(header.count) {
        let before = input.rest();
        let record = Record::read(&mut input)?;
        let taken = before.len() - input.rest().len();
        if record.encoded() != before[..taken] {
            return Err(Malformed::NotCanonical);
        }
        if record.seq != header.first_seq + place || record.at != header.at {
            return Err(Malformed::Value("a record's place"));
        }
        records.push(record);
    }
    input.end()?;
    Ok(records)
}

/// The records of a batch that is being made.
#[derive(Debug, Clone, Default)]
pub struct Body {
    bytes: Vec<u8>,
    count: u32,
}

impl Body {
    /// Appends a record.
    pub fn push(
        &mut self,
        head: &RecordHead<'_>,
        command: &[u8],
        outcome: &Result<Outcome, Refusal>,
    ) {
        write_record(head, command, outcome, &mut self.bytes);
        self.count += 1;
    }

    /// How many records there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How long they are together.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch's header and root.
    pub fn seal(&self, previous: &Root, header: Header) -> (Header, Root) {
        let header = Header {
            count: self.count,
            ..header
        };
        (header, next_root(previous, &header, &self.bytes))
    }

    /// The records, encoded.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
