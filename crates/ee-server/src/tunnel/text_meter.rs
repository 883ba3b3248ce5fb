//! Counts what an agent says in text.

use std::time::Duration;

use ee_protocol::time::Timestamp;

/// Texts of one agent in one second, answers to requests aside. Nothing that an agent has to say
/// comes oftener than once a second; each costs us a parse, and a status where it is wrong.
const TEXTS_PER_SECOND: u32 = 1_000;

/// The texts of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextMeter {
    /// So many since then.
    Counting { since: Timestamp, count: u32 },
    /// There were too many; nothing is heard any more.
    Tripped,
}

/// What to do about a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Take it.
    Taken,
    /// It is one too many: end the session.
    Flood,
    /// The session is ending.
    TooLate,
}

impl TextMeter {
    pub(super) fn new(now: Timestamp) -> Self {
        Self::Counting {
            since: now,
            count: 0,
        }
    }

    /// Notes a text.
    pub(super) fn hear(&mut self, now: Timestamp) -> Heard {
        let Self::Counting { since, count } = self else {
            return Heard::TooLate;
        };
        if now >= since.after(Duration::from_secs(1)) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count <= TEXTS_PER_SECOND {
            return Heard::Taken;
        }
        *self = Self::Tripped;
        Heard::Flood
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_texts_a_second_are_heard_and_one_more_ends_the_session() {
        let at = |second: i64| Timestamp::from_unix_seconds(1_000 + second);
        let mut meter = TextMeter::new(at(0));
        for second in 0..3 {
            for _ in 0..TEXTS_PER_SECOND {
                assert_eq!(meter.hear(at(second)), Heard::Taken);
            }
        }
        assert_eq!(meter.hear(at(2)), Heard::Flood);
        assert_eq!(meter.hear(at(9)), Heard::TooLate);
    }
}
