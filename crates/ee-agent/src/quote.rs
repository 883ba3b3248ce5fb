//! Where quotes come from: the trait that real hardware and simulated platforms implement.
//!
//! ATTESTATION section 7. A provider is blocking by nature (the kernel serialises quotes and
//! waits up to 30 s), so the agent calls it on a blocking thread, one call at a time.

use std::time::Duration;

use ee_protocol::report_data::WorkloadClaims;

/// Something that makes quotes over 64 bytes of its caller's choice.
pub trait QuoteProvider: Send + Sync {
    /// What this agent says it runs. It stays the same for the life of the process, for the
    /// first half of every `report_data` is made from it before a quote is asked for.
    fn claims(&self) -> &WorkloadClaims;

    /// Makes one quote; blocks for at most `budget`. Called by one thread at a time.
    fn quote(&self, report_data: &[u8; 64], budget: Duration) -> Result<QuoteBundle, QuoteError>;
}

/// A quote and what a verifier needs beside it.
#[derive(Debug, Clone)]
pub struct QuoteBundle {
    /// The quote as the platform wrote it.
    pub quote: Vec<u8>,
    /// The event log of the run-time registers as `attest_response` carries it: an array of
    /// `{imr, event_type, digest, event, event_payload}`.
    pub event_log: Option<serde_json::Value>,
}

/// Why there is no quote; the code travels in `attest_response.error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// Another quote was being made the whole time.
    #[error("the quote interface stayed busy")]
    Busy,
    /// The platform did not answer in time.
    #[error("the platform did not answer within the deadline")]
    Timeout,
    /// The platform refused, or is none.
    #[error("the platform made no quote: {0}")]
    Failed(String),
}

impl QuoteError {
    /// The code on the wire.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Busy => "quote_busy",
            Self::Timeout => "quote_timeout",
            Self::Failed(_) => "quote_failed",
        }
    }
}
