//! The journal's encoding: what is written comes back, nothing else is taken, and it never changes.

use std::fmt::Write as _;

use ee_protocol::time::Timestamp;
use proptest::prelude::*;

use super::{
    Body, Canonical, Header, Key, Malformed, Record, RecordHead, decode_batch, genesis,
    sample::{Choices, Dice, Sample},
};
use crate::books::{Command, Outcome, Principal, Refusal};

/// Seeds of the fuzz test: a second of work.
const FUZZED: u64 = 20_000;

fn record(dice: &mut Dice) -> Record {
    Record {
        seq: Sample::sample(dice),
        at: Sample::sample(dice),
        actor: Sample::sample(dice),
        key: Sample::sample(dice),
        command: Sample::sample(dice),
        outcome: Sample::sample(dice),
    }
}

proptest! {
    #[test]
    fn what_is_written_comes_back(seed: u64) {
        let written = record(&mut Dice::new(seed));
        prop_assert_eq!(Record::decoded(&written.encoded()), Ok(written));
    }
}

#[test]
fn every_command_and_outcome_comes_back() {
    let mut dice = Dice::new(1);
    for choice in Command::choices() {
        let command = choice(&mut dice);
        let bytes = command.encoded();
        assert_eq!(bytes[..2], command.kind().to_le_bytes(), "{command:?}");
        assert_eq!(Command::decoded(&bytes), Ok(command));
    }
    for choice in Outcome::choices() {
        let outcome = choice(&mut dice);
        let bytes = outcome.encoded();
        assert_eq!(bytes[..2], outcome.number().to_le_bytes(), "{outcome:?}");
        assert_eq!(Outcome::decoded(&bytes), Ok(outcome));
    }
}

/// What is taken encodes to the same bytes again, and nothing makes the decoder panic.
#[test]
fn damaged_records_are_refused_or_mean_exactly_what_they_say() {
    let mut refused = 0;
    for seed in 0..FUZZED {
        let mut dice = Dice::new(seed);
        let mut bytes = record(&mut dice).encoded();
        for _ in 0..=dice.below(3) {
            damage(&mut bytes, &mut dice);
        }
        match Record::decoded(&bytes) {
            Ok(record) => assert_eq!(record.encoded(), bytes, "seed {seed}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > FUZZED / 4, "{refused} of {FUZZED}");
}

fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(bytes.len().max(1));
    match dice.below(4) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, dice.number().to_le_bytes()[0]),
        2 => {
            let again = bytes.get(at..).unwrap_or_default().to_vec();
            bytes.extend(again);
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
    }
}

#[test]
fn a_batch_is_taken_whole_and_in_its_place() {
    let mut dice = Dice::new(3);
    let at = Timestamp::from_unix_seconds(1_767_000_000);
    let mut body = Body::default();
    for seq in 7..10 {
        let (actor, command): (Principal, Command) = (Sample::sample(&mut dice), Command::Tick);
        let outcome = Err(Refusal::InsufficientFunds);
        let key: Option<Key> = Sample::sample(&mut dice);
        let head = RecordHead {
            seq,
            at,
            actor: &actor,
            key: key.as_ref(),
        };
        body.push(&head, &command.encoded(), &outcome);
    }
    let header = Header {
        batch: 2,
        first_seq: 7,
        count: 0,
        at,
        epoch: 1,
        watermark: Timestamp::EPOCH,
    };
    let (header, root) = body.seal(&genesis(&[1; 16]), header);
    assert_ne!(root, genesis(&[1; 16]));
    let bytes = body.into_bytes();
    assert_eq!(
        decode_batch(&header, &bytes).map(|records| records.len()),
        Ok(3)
    );
    let shifted = Header {
        first_seq: 8,
        ..header
    };
    assert!(decode_batch(&shifted, &bytes).is_err());
    let later = Header {
        at: Timestamp::EPOCH,
        ..header
    };
    assert!(decode_batch(&later, &bytes).is_err());
    let fewer = Header { count: 2, ..header };
    assert!(matches!(
        decode_batch(&fewer, &bytes),
        Err(Malformed::Trailing(_))
    ));
    let more = Header { count: 4, ..header };
    assert_eq!(decode_batch(&more, &bytes), Err(Malformed::Truncated));
}

/// The bytes of one record of each kind. A difference here is a journal that older programs, and
/// older journals, do not understand: it needs a new number, not a new golden file.
#[test]
fn records_are_written_as_ever() {
    let mut text = String::new();
    for (seq, choice) in (1..).zip(Command::choices()) {
        let mut dice = Dice::new(seq);
        let written = Record {
            seq,
            command: choice(&mut dice),
            ..record(&mut dice)
        };
        let _ = writeln!(
            text,
            "{} {}",
            written.command.kind(),
            hex::encode(written.encoded())
        );
    }
    for choice in Outcome::choices() {
        let outcome = choice(&mut Dice::new(0));
        let _ = writeln!(
            text,
            "{} {}",
            outcome.number(),
            hex::encode(outcome.encoded())
        );
    }
    let golden = include_str!("golden.txt");
    assert!(
        text == golden,
        "the journal's encoding has changed:\n{text}"
    );
}
