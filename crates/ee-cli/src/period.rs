//! Periods on the command line.

use std::str::FromStr;

use ee_protocol::period::{InvalidPeriod, Period};

/// A period as it was named: `2026-11-22T13Z`, `2026-11-22`, `START--END`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named(pub Period);

impl FromStr for Named {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, InvalidPeriod> {
        Period::parse(text).map(Self)
    }
}

impl Named {
    /// Start and end, RFC 3339.
    pub fn bounds(self) -> (String, String) {
        let text = |at: ee_protocol::time::Timestamp| at.rfc3339_micros();
        (text(self.0.start()), text(self.0.end()))
    }
}
