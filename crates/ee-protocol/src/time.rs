//! Points in time: microseconds since the Unix epoch, UTC.
//!
//! Time is always an argument: this crate reads no clock. Two spellings go out on the wire
//! (TUNNEL 8): the seed's `2024-01-15T10:30:00Z` and the prototype's
//! `2026-01-02T03:04:05.000006+00:00`.

use std::{fmt, time::Duration};

use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// A point in time, in microseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// Later than any real event: the value of "no deadline".
    pub const FAR_FUTURE: Self = Self(i64::MAX);

    /// From microseconds since the Unix epoch.
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the Unix epoch; saturates beyond the year 294 000.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Microseconds since the Unix epoch.
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// The time that lies `span` later; saturates at [`Timestamp::FAR_FUTURE`].
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// The time that lies `span` earlier; saturates.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// How much later this is than `earlier`; zero if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0).max(0);
        Duration::from_micros(micros.unsigned_abs())
    }

    /// Parses RFC 3339 text with any offset. The instant must have a year of four digits in UTC,
    /// too, else it could not be written again.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let nanos = moment.unix_timestamp_nanos();
        let utc = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
        (0..=9999).contains(&utc.year()).then_some(())?;
        i64::try_from(nanos.div_euclid(1000)).ok().map(Self)
    }

    /// The seed's spelling, whole seconds: `2024-01-15T10:30:00Z`.
    pub fn rfc3339_seconds(self) -> String {
        let (date, clock, _) = self.civil();
        format!("{date}T{clock}Z")
    }

    /// The prototype's spelling, microseconds: `2026-01-02T03:04:05.000006+00:00`.
    pub fn rfc3339_micros(self) -> String {
        let (date, clock, micros) = self.civil();
        format!("{date}T{clock}.{micros:06}+00:00")
    }

    fn civil(self) -> (String, String, i64) {
        let seconds = self.unix_seconds();
        let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(
            OffsetDateTime::UNIX_EPOCH
                .replace_year(9999)
                .expect("9999 is a year"),
        );
        let (hour, minute, second) = moment.to_hms();
        let date = moment.date();
        (
            format!(
                "{:04}-{:02}-{:02}",
                date.year(),
                u8::from(date.month()),
                date.day()
            ),
            format!("{hour:02}:{minute:02}:{second:02}"),
            self.0.rem_euclid(MICROS_PER_SECOND),
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339_micros())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339_seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_the_wire_are_exact() {
        let moment = Timestamp::parse_rfc3339("2024-01-15T10:30:00Z").expect("valid");
        assert_eq!(moment.rfc3339_seconds(), "2024-01-15T10:30:00Z");
        let fine = Timestamp::from_unix_micros(1_767_323_045_000_006);
        assert_eq!(fine.rfc3339_micros(), "2026-01-02T03:04:05.000006+00:00");
    }

    #[test]
    fn offsets_name_the_same_instant() {
        assert_eq!(
            Timestamp::parse_rfc3339("2026-01-02T03:04:05+00:00"),
            Timestamp::parse_rfc3339("2026-01-02T05:04:05+02:00"),
        );
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }

    /// Found by fuzzing: such an instant was written as one of the year 9999.
    #[test]
    fn an_offset_leads_into_no_year_without_four_digits() {
        for beyond in ["9999-12-31T23:00:59-01:00", "0000-01-01T00:30:00+01:00"] {
            assert_eq!(Timestamp::parse_rfc3339(beyond), None, "{beyond}");
        }
        for within in ["9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z"] {
            let read = Timestamp::parse_rfc3339(within).expect(within);
            assert_eq!(read.rfc3339_seconds(), within);
        }
    }

    #[test]
    fn arithmetic_saturates_and_never_goes_negative() {
        let now = Timestamp::from_unix_seconds(10);
        assert_eq!(now.since(now.after(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(
            Timestamp::FAR_FUTURE.after(Duration::MAX),
            Timestamp::FAR_FUTURE
        );
        assert_eq!(
            now.after(Duration::from_secs(5)).since(now),
            Duration::from_secs(5)
        );
        assert!(!Timestamp::FAR_FUTURE.rfc3339_micros().is_empty());
    }
}
