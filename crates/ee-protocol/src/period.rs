//! Billing periods (LEDGER 6): half-open, UTC, whole milliseconds, at most 31 days.

use std::fmt;

use ::time::{
    Date, Month, OffsetDateTime, PrimitiveDateTime, Time, format_description::well_known::Rfc3339,
};

use crate::time::Timestamp;

/// Milliseconds in an hour and a day.
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// The longest period (LEDGER 6): a month.
pub const PERIOD_MAX_MS: i64 = 31 * DAY_MS;
/// The first millisecond after the year 9999, where four digits of a year end.
const YEARS_END_MS: i64 = 253_402_300_800_000;

/// `[start, end)` in milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    start_ms: i64,
    end_ms: i64,
}

/// Text or bounds that are no period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a period is YYYY-MM-DDTHHZ, YYYY-MM-DD or start--end in UTC, at most 31 days")]
pub struct InvalidPeriod;

impl Period {
    /// The period, if it is not empty, not reversed, at most 31 days long, after 1970 and before
    /// the year 10000 has begun, which has no spelling.
    pub fn new(start_ms: i64, end_ms: i64) -> Result<Self, InvalidPeriod> {
        let sound = start_ms >= 0
            && start_ms < end_ms
            && end_ms < YEARS_END_MS
            && end_ms - start_ms <= PERIOD_MAX_MS;
        sound
            .then_some(Self { start_ms, end_ms })
            .ok_or(InvalidPeriod)
    }

    /// First millisecond of the period.
    pub const fn start_ms(self) -> i64 {
        self.start_ms
    }

    /// First millisecond after the period.
    pub const fn end_ms(self) -> i64 {
        self.end_ms
    }

    /// Its length in milliseconds.
    pub const fn length_ms(self) -> i64 {
        self.end_ms - self.start_ms
    }

    /// Its first instant.
    pub const fn start(self) -> Timestamp {
        Timestamp::from_unix_micros(self.start_ms * 1000)
    }

    /// The first instant after it.
    pub const fn end(self) -> Timestamp {
        Timestamp::from_unix_micros(self.end_ms * 1000)
    }

    /// Whether the instant lies in it.
    pub fn contains(self, at: Timestamp) -> bool {
        self.start() <= at && at < self.end()
    }

    /// Whether the two share an instant.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start_ms < other.end_ms && other.start_ms < self.end_ms
    }

    /// The period of `length_sec` seconds, aligned to the epoch, that holds the instant.
    pub fn holding(at: Timestamp, length_sec: u32) -> Result<Self, InvalidPeriod> {
        let length_ms = i64::from(length_sec) * 1000;
        if length_ms == 0 {
            return Err(InvalidPeriod);
        }
        let ms = at.unix_micros().div_euclid(1000);
        let start_ms = ms - ms.rem_euclid(length_ms);
        Self::new(start_ms, start_ms + length_ms)
    }

    /// The next period of the same length.
    pub fn next(self) -> Result<Self, InvalidPeriod> {
        Self::new(self.end_ms, self.end_ms + self.length_ms())
    }

    /// Parses every form of a path: an hour, a day, `start--end`.
    pub fn parse(text: &str) -> Result<Self, InvalidPeriod> {
        if let Some((start, end)) = text.split_once("--") {
            return Self::new(iso_ms(start)?, iso_ms(end)?);
        }
        if let Some(hour) = text.strip_suffix('Z') {
            let (date, hour) = hour.split_once('T').ok_or(InvalidPeriod)?;
            let start_ms = day_ms(date)? + two_digits(hour, 23)? * HOUR_MS;
            return Self::new(start_ms, start_ms + HOUR_MS);
        }
        let start_ms = day_ms(text)?;
        Self::new(start_ms, start_ms + DAY_MS)
    }

    /// Parses the prototype's `period_start` and `period_end`: RFC 3339, no offset means UTC.
    pub fn parse_bounds(start: &str, end: &str) -> Result<Self, InvalidPeriod> {
        Self::new(body_ms(start)?, body_ms(end)?)
    }
}

impl fmt::Display for Period {
    /// The canonical spelling, `20261122T130000Z--20261122T140000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_instant(f, self.start_ms)?;
        f.write_str("--")?;
        write_instant(f, self.end_ms)
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_instant(f: &mut fmt::Formatter<'_>, ms: i64) -> fmt::Result {
    let moment =
        OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).map_err(|_| fmt::Error)?;
    let (date, (hour, minute, second)) = (moment.date(), moment.to_hms());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    write!(
        f,
        "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}"
    )?;
    match ms.rem_euclid(1000) {
        0 => f.write_str("Z"),
        fraction => write!(f, ".{fraction:03}Z"),
    }
}

/// `YYYY-MM-DD` or `YYYYMMDD`, at midnight.
fn day_ms(text: &str) -> Result<i64, InvalidPeriod> {
    let mut digits = [0_u8; 8];
    let bytes = text.as_bytes();
    match bytes.len() {
        8 => digits.copy_from_slice(bytes),
        10 if bytes[4] == b'-' && bytes[7] == b'-' => {
            digits[..4].copy_from_slice(&bytes[..4]);
            digits[4..6].copy_from_slice(&bytes[5..7]);
            digits[6..].copy_from_slice(&bytes[8..]);
        }
        _ => return Err(InvalidPeriod),
    }
    // Slicing below is by bytes: anything but ASCII would be cut inside of a character.
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(InvalidPeriod);
    }
    let text = std::str::from_utf8(&digits).map_err(|_| InvalidPeriod)?;
    let year = number(&text[..4])?;
    let month = Month::try_from(u8::try_from(number(&text[4..6])?).map_err(|_| InvalidPeriod)?)
        .map_err(|_| InvalidPeriod)?;
    let day = u8::try_from(number(&text[6..])?).map_err(|_| InvalidPeriod)?;
    let year = i32::try_from(year).map_err(|_| InvalidPeriod)?;
    let date = Date::from_calendar_date(year, month, day).map_err(|_| InvalidPeriod)?;
    let midnight = PrimitiveDateTime::new(date, Time::MIDNIGHT).assume_utc();
    Ok(midnight.unix_timestamp() * 1000)
}

/// ISO 8601 basic or extended, with `Z`; milliseconds if any.
fn iso_ms(text: &str) -> Result<i64, InvalidPeriod> {
    let (date, clock) = text
        .strip_suffix('Z')
        .and_then(|text| text.split_once('T'))
        .ok_or(InvalidPeriod)?;
    Ok(day_ms(date)? + clock_ms(clock)?)
}

/// `HH`, `HHMM`, `HHMMSS`, each with or without colons, seconds with up to three decimals.
fn clock_ms(text: &str) -> Result<i64, InvalidPeriod> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let parts: Vec<&str> = if whole.contains(':') {
        whole.split(':').collect()
    } else if whole.is_ascii() && whole.len() % 2 == 0 {
        (0..whole.len())
            .step_by(2)
            .map(|at| &whole[at..at + 2])
            .collect()
    } else {
        return Err(InvalidPeriod);
    };
    let (hour, minute, second) = match parts[..] {
        [hour] => (hour, "00", "00"),
        [hour, minute] => (hour, minute, "00"),
        [hour, minute, second] => (hour, minute, second),
        _ => return Err(InvalidPeriod),
    };
    if fraction.is_some() && parts.len() != 3 {
        return Err(InvalidPeriod);
    }
    let seconds =
        (two_digits(hour, 23)? * 60 + two_digits(minute, 59)?) * 60 + two_digits(second, 59)?;
    Ok(seconds * 1000 + fraction.map_or(Ok(0), millis)?)
}

/// One to three decimals of a second in milliseconds.
fn millis(fraction: &str) -> Result<i64, InvalidPeriod> {
    match fraction.len() {
        1 => Ok(number(fraction)? * 100),
        2 => Ok(number(fraction)? * 10),
        3 => number(fraction),
        _ => Err(InvalidPeriod),
    }
}

fn two_digits(text: &str, max: i64) -> Result<i64, InvalidPeriod> {
    let value = number(text)?;
    (text.len() == 2 && value <= max)
        .then_some(value)
        .ok_or(InvalidPeriod)
}

fn number(text: &str) -> Result<i64, InvalidPeriod> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or(InvalidPeriod)
}

/// RFC 3339 with any offset, or none for UTC; parts below a millisecond are dropped.
fn body_ms(text: &str) -> Result<i64, InvalidPeriod> {
    let moment = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339))
        .map_err(|_| InvalidPeriod)?;
    i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).map_err(|_| InvalidPeriod)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON_MS: i64 = 1_795_348_800_000;

    fn parse(text: &str) -> Option<(i64, i64)> {
        let period = Period::parse(text).ok()?;
        Some((period.start_ms() - NOON_MS, period.end_ms() - NOON_MS))
    }

    #[test]
    fn every_form_names_its_period() {
        for (text, expected) in [
            ("2026-11-22T12Z", (0, HOUR_MS)),
            ("2026-11-22", (-12 * HOUR_MS, 12 * HOUR_MS)),
            ("20261122", (-12 * HOUR_MS, 12 * HOUR_MS)),
            ("20261122T120000Z--20261122T130000Z", (0, HOUR_MS)),
            ("2026-11-22T12:00:00Z--2026-11-22T13:00:00Z", (0, HOUR_MS)),
            ("20261122T12Z--20261122T1230Z", (0, HOUR_MS / 2)),
            ("20261122T120000.5Z--20261122T120001.25Z", (500, 1_250)),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn malformed_periods_are_refused() {
        for bad in [
            "",
            "now",
            "2026-11",
            "2026-13-01",
            "2026-02-30",
            "2026-11-22T24Z",
            "2026-11-22T1Z",
            "2026-11-22T12",
            "2026-11-22T12:00Z",
            "20261122T120000Z",
            "20261122T120000Z--",
            "20261122T120060Z--20261122T130000Z",
            "20261122T120000.1234Z--20261122T130000Z",
            "20261122T12.5Z--20261122T13Z",
            "２026-11-22",
            "2026-11-22T12Z--x",
            "-026-11-22",
            "1969-12-31",
            "20261122T120000Z--20261122T120000Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn reversed_period_is_refused() {
        assert_eq!(parse("20261122T130000Z--20261122T120000Z"), None);
        let bounds = Period::parse_bounds("2026-11-22T13:00:00Z", "2026-11-22T12:00:00Z");
        assert_eq!(bounds, Err(InvalidPeriod));
    }

    #[test]
    fn a_period_is_at_most_31_days() {
        assert!(parse("20260101T00Z--20260201T00Z").is_some());
        assert_eq!(parse("20260101T00Z--20260201T000000.001Z"), None);
    }

    #[test]
    fn z_and_offset_are_one_period() {
        let bounds = |start: &str, end: &str| Period::parse_bounds(start, end).expect("a period");
        let utc = bounds("2026-11-22T12:00:00Z", "2026-11-22T13:00:00Z");
        for (start, end) in [
            ("2026-11-22T12:00:00+00:00", "2026-11-22T13:00:00+00:00"),
            ("2026-11-22T12:00:00", "2026-11-22T13:00:00"),
            ("2026-11-22T14:00:00+02:00", "2026-11-22T07:30:00-05:30"),
            ("2026-11-22T12:00:00.000000Z", "2026-11-22T13:00:00.000999"),
        ] {
            assert_eq!(bounds(start, end), utc, "{start}");
        }
        assert!(Period::parse_bounds("2026-11-22", "2026-11-23").is_err());
        assert!(Period::parse_bounds("yesterday", "today").is_err());
    }

    /// An instant that no year of UTC holds; found by fuzzing.
    #[test]
    fn a_bound_beyond_the_last_year_is_no_period() {
        let end = "9999-12-31T23:59:59-01:00";
        let bounds = Period::parse_bounds("9999-12-31T23:00:00Z", end);
        assert_eq!(bounds, Err(InvalidPeriod));
        let start = "0000-01-01T00:00:00+01:00";
        assert!(Period::parse_bounds(start, end).is_err());
        assert_eq!(Period::parse("9999-12-31"), Err(InvalidPeriod));
        assert_eq!(Period::parse("9999-12-31T23Z"), Err(InvalidPeriod));
        assert!(Period::parse("9999-12-31T22Z").is_ok());
    }

    #[test]
    fn half_second_is_in_its_period() {
        let period = Period::parse("2026-11-22T12Z").expect("a period");
        let at = |ms: i64| Timestamp::from_unix_micros((NOON_MS + ms) * 1000);
        assert!(period.contains(at(0)) && period.contains(at(3_599_500)));
        assert!(
            !period.contains(at(HOUR_MS)) && !period.contains(at(-1)),
            "half-open"
        );
    }

    #[test]
    fn periods_of_the_clock_are_aligned_to_the_epoch() {
        let at = Timestamp::from_unix_micros((NOON_MS + 1_800_001) * 1000 + 7);
        let period = Period::holding(at, 3600).expect("a period");
        assert_eq!(period.to_string(), "20261122T120000Z--20261122T130000Z");
        let next = period.next().expect("a period");
        assert_eq!(
            (next.start_ms(), next.length_ms()),
            (period.end_ms(), HOUR_MS)
        );
        assert!(Period::holding(at, 0).is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(start in 0..YEARS_END_MS - PERIOD_MAX_MS, length in 1..=PERIOD_MAX_MS) {
            let period = Period::new(start, start + length).expect("sound");
            prop_assert_eq!(Period::parse(&period.to_string()), Ok(period));
        }

        #[test]
        fn no_text_panics(text in "[-0-9TZ:.+ ]{0,45}|\\PC{0,45}") {
            let _ = (Period::parse(&text), Period::parse_bounds(&text, &text));
        }
    }
}
