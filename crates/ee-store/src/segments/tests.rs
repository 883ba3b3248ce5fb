//! Segments are read back to the recorded roots; what is torn is cut, what was changed is refused.

use ee_core::journal::{genesis, next_root};
use ee_protocol::time::Timestamp;
use tempfile::TempDir;

use super::*;

const LEDGER: LedgerId = [7; 16];

fn start() -> Place {
    Place {
        batch: 0,
        root: genesis(&LEDGER),
    }
}

fn after(place: Place, body: &[u8]) -> KeptBatch {
    let header = Header {
        batch: place.batch + 1,
        first_seq: place.batch + 1,
        count: 1,
        at: Timestamp::from_unix_micros(5),
        epoch: 1,
        watermark: Timestamp::EPOCH,
    };
    KeptBatch {
        header,
        body: body.to_vec(),
        root: next_root(&place.root, &header, body),
    }
}

/// Three batches in one segment.
fn written(directory: &Path) -> (PathBuf, Vec<KeptBatch>) {
    let mut writer = SegmentWriter::begin(directory, LEDGER, start()).unwrap();
    let mut batches = Vec::new();
    for body in [&b"first"[..], b"the second", b"the third of them"] {
        let batch = after(writer.place(), body);
        writer.append(std::slice::from_ref(&batch)).unwrap();
        batches.push(batch);
    }
    (segments(directory).unwrap()[0].path.clone(), batches)
}

fn read(path: &Path) -> Result<(Vec<KeptBatch>, u64), SegmentError> {
    let mut reader = SegmentReader::open(path, LEDGER)?;
    let mut batches = Vec::new();
    loop {
        match reader.next_batch()? {
            Found::Batch(batch) => batches.push(batch),
            Found::Torn(bytes) => return Ok((batches, bytes)),
            Found::End => return Ok((batches, 0)),
        }
    }
}

#[test]
fn what_was_appended_is_read_and_goes_on_in_the_next_segment() {
    let dir = TempDir::new().unwrap();
    let (path, batches) = written(dir.path());
    assert_eq!(read(&path).unwrap(), (batches.clone(), 0));
    let mut writer = SegmentWriter::resume(dir.path(), LEDGER).unwrap().unwrap();
    writer.rotate().unwrap();
    let fourth = after(writer.place(), b"fourth");
    writer.append(std::slice::from_ref(&fourth)).unwrap();
    let all = segments(dir.path()).unwrap();
    assert_eq!(all.iter().map(|one| one.first).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(read(&all[1].path).unwrap(), (vec![fourth], 0));
    assert!(matches!(
        writer.append(&batches),
        Err(SegmentError::Gap { .. })
    ));
    assert_eq!(
        remove_before(dir.path(), 2).unwrap(),
        0,
        "a copy of 2 needs 3"
    );
    assert_eq!(remove_before(dir.path(), 3).unwrap(), 1);
}

#[test]
fn a_record_cut_short_anywhere_is_no_record_and_the_writer_goes_on_before_it() {
    let whole = TempDir::new().unwrap();
    let (path, batches) = written(whole.path());
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        let dir = TempDir::new().unwrap();
        let cut = dir.path().join(path.file_name().unwrap());
        fs::write(&cut, &bytes[..length]).unwrap();
        let (found, torn) = read(&cut).unwrap();
        assert_eq!(found, batches[..found.len()], "cut at {length}");
        assert!(found.len() < batches.len());
        match SegmentWriter::resume(dir.path(), LEDGER).unwrap() {
            None => assert!(length < usize::try_from(HEAD_BYTES).unwrap()),
            Some(mut writer) => {
                writer.append(&batches[found.len()..]).unwrap();
                assert_eq!(
                    fs::read(&cut).unwrap(),
                    bytes,
                    "cut at {length}, {torn} torn"
                );
            }
        }
    }
}

#[test]
fn space_that_was_reserved_and_never_written_is_no_record() {
    let dir = TempDir::new().unwrap();
    let (path, batches) = written(dir.path());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, [&bytes[..], &[0; 64]].concat()).unwrap();
    assert_eq!(read(&path).unwrap(), (batches.clone(), 64));
    fs::write(&path, [&bytes[..], &[0; 64], &[1]].concat()).unwrap();
    assert!(read(&path).is_err());
    fs::write(&path, [&bytes[..], &[0; 64]].concat()).unwrap();
    SegmentWriter::resume(dir.path(), LEDGER).unwrap().unwrap();
    assert_eq!(read(&path).unwrap(), (batches, 0));
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let dir = TempDir::new().unwrap();
    let (path, batches) = written(dir.path());
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        fs::write(&path, &changed).unwrap();
        let refused = read(&path);
        assert!(
            matches!(refused, Err(SegmentError::Broken { .. })),
            "byte {at}: {refused:?}"
        );
    }
    assert_eq!(batches.len(), 3);
}

#[test]
fn what_the_books_no_longer_follow_is_set_aside() {
    let dir = TempDir::new().unwrap();
    let (path, _) = written(dir.path());
    set_aside(dir.path(), 3, LEDGER).unwrap();
    assert!(path.exists(), "it reaches just there");
    set_aside(dir.path(), 2, LEDGER).unwrap();
    assert!(segments(dir.path()).unwrap().is_empty());
    let aside = dir.path().join("superseded-000000000002");
    assert_eq!(segments(&aside).unwrap().len(), 1);
}

#[test]
fn a_batch_in_a_file_that_nobody_finds_is_not_kept() {
    let dir = TempDir::new().unwrap();
    let place = dir.path().join("place");
    let mut writer = SegmentWriter::begin(&place, LEDGER, start()).unwrap();
    let batch = after(writer.place(), b"first");
    writer.append(std::slice::from_ref(&batch)).unwrap();
    fs::rename(&place, dir.path().join("elsewhere")).unwrap();
    let second = after(writer.place(), b"second");
    let gone = writer.append(std::slice::from_ref(&second)).unwrap_err();
    assert!(gone.to_string().contains("segment-"), "{gone}");

    // Another directory at the same place is no better.
    let begun = SegmentWriter::begin(&place, LEDGER, start()).unwrap();
    drop(begun);
    let third = after(writer.place(), b"third");
    let other = writer.append(std::slice::from_ref(&third)).unwrap_err();
    assert!(other.to_string().contains("another file"), "{other}");
}
