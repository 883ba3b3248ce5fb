//! Periods in paths and in bodies, and times.

use ee_protocol::{period::Period, time::Timestamp};

use super::text;
use crate::{Target, seeds};

pub const TARGET: Target = Target {
    name: "periods",
    about: "period ids, pairs of bounds, times",
    run,
    seeds: periods,
    longest: 128,
    floor: 230,
};

const LONGEST_MS: i64 = 31 * 86_400_000;

fn periods() -> Vec<Vec<u8>> {
    seeds::texts(&[
        "2026-11-22T13Z",
        "2026-11-22",
        "20261122T130000Z--20261122T140000Z",
        "2026-11-22T13:00Z--2026-11-22T13:30:00.500Z",
        "2026-11-22T13:00:00Z\n2026-11-22T15:00:00+01:00",
        "2026-11-22T13:00:00\n2026-11-22T14:00:00.25",
        "9999-12-31T23:00:00Z\n9999-12-31T23:59:59-01:00",
        "9999-12-31T22:00:00Z\n9999-12-31T23:59:59Z",
        "1969-12-31T23:59:59Z\n1970-01-01T00:00:00Z",
        "2024-02-29\n2024-03-01",
        "2026-12-31T23:59:60Z",
    ])
}

fn run(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(period) = Period::parse(text) {
        sound(period);
    }
    if let Some((start, end)) = text.split_once('\n')
        && let Ok(period) = Period::parse_bounds(start, end)
    {
        sound(period);
        for (bound, at) in [(start, period.start()), (end, period.end())] {
            // Where both read a text they mean the same millisecond.
            if let Some(read) = Timestamp::parse_rfc3339(bound) {
                let read_ms = read.unix_micros().div_euclid(1000);
                assert_eq!(read_ms, at.unix_micros() / 1000, "{bound}");
            }
        }
    }
    if let Some(at) = Timestamp::parse_rfc3339(text) {
        let seconds = Timestamp::parse_rfc3339(&at.rfc3339_seconds()).expect("we wrote it");
        assert_eq!(seconds.unix_seconds(), at.unix_seconds(), "{text}");
        assert_eq!(
            Timestamp::parse_rfc3339(&at.rfc3339_micros()),
            Some(at),
            "{text}"
        );
    }
}

fn sound(period: Period) {
    let (start, end) = (period.start_ms(), period.end_ms());
    assert!(
        0 <= start && start < end && end - start <= LONGEST_MS,
        "{period}"
    );
    let written = period.to_string();
    assert_eq!(Period::parse(&written), Ok(period), "{written}");
    assert!(period.contains(period.start()) && !period.contains(period.end()));
    if let Ok(next) = period.next() {
        assert!(!next.overlaps(period) && next.length_ms() == period.length_ms());
    }
}
