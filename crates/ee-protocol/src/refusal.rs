//! Why something was refused, for a person and for a program alike.
//!
//! One type feeds the tunnel's `status.detail`, the HTTP API, the command line and the log
//! (EXPERIENCE, law 1).

use serde::{Deserialize, Serialize};

/// One reason for a refusal: which check failed, what it wanted, what it saw, what to do next.
///
/// Built from verified data only, and free of machine ids, tokens and bodies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable code, for programs: `measurement_mismatch:rtmr2`.
    pub code: String,
    /// The check that failed, in words of the field: `measurements`, `platform`, …
    pub check: String,
    /// What would have passed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expected: String,
    /// What was seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actual: String,
    /// What the reader can do about it.
    pub hint: String,
}

impl Refusal {
    /// A refusal without expected and actual values.
    pub fn new(code: impl Into<String>, check: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            check: check.into(),
            expected: String::new(),
            actual: String::new(),
            hint: hint.into(),
        }
    }

    /// Adds what would have passed and what was seen.
    #[must_use]
    pub fn compared(mut self, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        self.expected = expected.into();
        self.actual = actual.into();
        self
    }
}
