//! Half-open spans of time in which a piece of evidence or collateral counts.

use ee_protocol::time::Timestamp;

/// From `from` (inclusive) until `until` (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first moment inside.
    pub from: Timestamp,
    /// The first moment outside.
    pub until: Timestamp,
}

impl Window {
    /// All of time.
    pub const ALWAYS: Self = Self {
        from: Timestamp::from_unix_micros(i64::MIN),
        until: Timestamp::FAR_FUTURE,
    };

    /// Whether `now` lies inside.
    pub fn contains(self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// The moments inside both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            from: self.from.max(other.from),
            until: self.until.min(other.until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_outside() {
        let second = Timestamp::from_unix_seconds;
        let window = Window {
            from: second(10),
            until: second(20),
        };
        assert!(window.contains(second(10)) && window.contains(second(19)));
        assert!(!window.contains(second(9)) && !window.contains(second(20)));
        assert_eq!(window.and(Window::ALWAYS), window);
    }
}
