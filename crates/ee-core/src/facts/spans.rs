//! Sets of time: half-open spans `[from, until)`, kept sorted, disjoint and never touching.
//!
//! Lengths are microseconds. Every operation is linear in the spans of its operands.

use ee_protocol::time::Timestamp;

/// A stretch of time that is not empty, `[from, until)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    from: Timestamp,
    until: Timestamp,
}

impl Span {
    /// The span between two points; none if it would be empty.
    pub fn new(from: Timestamp, until: Timestamp) -> Option<Self> {
        (from < until).then_some(Self { from, until })
    }

    /// Where it begins.
    pub const fn from(self) -> Timestamp {
        self.from
    }

    /// Where it ends: the first point that is not in it.
    pub const fn until(self) -> Timestamp {
        self.until
    }

    /// Its length in microseconds.
    pub fn length_us(self) -> u64 {
        self.until.unix_micros().abs_diff(self.from.unix_micros())
    }

    /// Whether a point lies in it.
    pub fn contains(self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }

    /// What two spans share.
    pub fn shared(self, other: Self) -> Option<Self> {
        Self::new(self.from.max(other.from), self.until.min(other.until))
    }
}

/// A set of points in time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spans(Vec<Span>);

impl From<Span> for Spans {
    fn from(span: Span) -> Self {
        Self(vec![span])
    }
}

impl FromIterator<Span> for Spans {
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut sorted: Vec<Span> = spans.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<Span> = Vec::with_capacity(sorted.len());
        for span in sorted {
            match merged.last_mut() {
                Some(last) if span.from <= last.until => last.until = last.until.max(span.until),
                Some(_) | None => merged.push(span),
            }
        }
        Self(merged)
    }
}

impl Spans {
    /// No time at all.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The spans, from the earliest.
    pub fn iter(&self) -> impl Iterator<Item = Span> {
        self.0.iter().copied()
    }

    /// Whether there is no time in it.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How much time is in it, in microseconds.
    pub fn length_us(&self) -> u64 {
        self.iter().map(Span::length_us).sum()
    }

    /// Whether a point is in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        let after = self.0.partition_point(|span| span.until <= at);
        self.0.get(after).is_some_and(|span| span.contains(at))
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut ours, mut theirs) = (self.0.as_slice(), other.0.as_slice());
        let mut shared = Vec::new();
        while let (Some(our), Some(their)) = (ours.first(), theirs.first()) {
            shared.extend(our.shared(*their));
            if our.until <= their.until {
                ours = &ours[1..];
            } else {
                theirs = &theirs[1..];
            }
        }
        Self(shared)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut rest = Vec::new();
        let mut theirs = other.0.as_slice();
        for span in self.iter() {
            let mut from = span.from;
            while let Some(cut) = theirs.first().filter(|cut| cut.from < span.until) {
                rest.extend(Span::new(from, cut.from));
                from = from.max(cut.until);
                if cut.until > span.until {
                    break;
                }
                theirs = &theirs[1..];
            }
            rest.extend(Span::new(from, span.until));
        }
        Self(rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Points 0 to 63 as bits: the set that a machine word can hold.
    fn bits(spans: &Spans) -> u64 {
        let at = |i: i64| Timestamp::from_unix_micros(i);
        (0..64).fold(0, |word, i| word | (u64::from(spans.contains(at(i))) << i))
    }

    fn spans() -> impl Strategy<Value = Spans> {
        prop::collection::vec((0_i64..64, 0_i64..64), 0..8).prop_map(|pairs| {
            let span = |(from, until)| {
                Span::new(
                    Timestamp::from_unix_micros(from),
                    Timestamp::from_unix_micros(until),
                )
            };
            pairs.into_iter().filter_map(span).collect()
        })
    }

    proptest! {
        #[test]
        fn sets_of_time_are_sets(a in spans(), b in spans()) {
            prop_assert_eq!(bits(&a.union(&b)), bits(&a) | bits(&b));
            prop_assert_eq!(bits(&a.intersection(&b)), bits(&a) & bits(&b));
            prop_assert_eq!(bits(&a.minus(&b)), bits(&a) & !bits(&b));
            prop_assert_eq!(a.length_us(), u64::from(bits(&a).count_ones()));
        }

        #[test]
        fn spans_never_touch(a in spans(), b in spans()) {
            for set in [a.union(&b), a.intersection(&b), a.minus(&b)] {
                let apart = set.0.windows(2).all(|pair| pair[0].until < pair[1].from);
                prop_assert!(apart, "{:?}", set);
            }
        }
    }

    #[test]
    fn an_empty_span_does_not_exist() {
        let at = Timestamp::from_unix_seconds(5);
        assert_eq!(Span::new(at, at), None);
        assert!(Spans::none().is_empty());
    }
}
