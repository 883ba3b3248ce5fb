//! Why a request is refused before anything has read it.

use ee_protocol::problem::{Problem, ProblemCode};

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A line feed without its carriage return, or the other way round.
    LineEnd,
    /// Not `METHOD TARGET HTTP/1.x` with single spaces.
    RequestLine,
    /// A target that no URI can be (RFC 3986), or one with a fragment.
    Target,
    /// A line that begins with white space: folded, or put before the first field.
    Folded,
    /// A field without a name of token characters right before its colon.
    FieldName,
    /// A control character in a value.
    FieldValue,
    /// A `Content-Length` that is no number.
    Length,
    /// Two that differ.
    Lengths,
    /// A `Transfer-Encoding` other than `chunked`, once, in HTTP/1.1.
    Coding,
    /// `Content-Length` and `Transfer-Encoding`.
    LengthAndCoding,
    /// More bytes than any head may have.
    TooLarge,
    /// More fields than any head may have.
    TooMany,
    /// Its last byte did not come in time.
    Late,
}

impl Fault {
    /// What the client is told.
    pub fn problem(self) -> Problem {
        let (code, detail) = match self {
            Self::LineEnd => (INVALID, "lines end with CR LF, and neither stands alone"),
            Self::RequestLine => (
                INVALID,
                "the first line must be METHOD TARGET HTTP/1.1 with single spaces, and the target \
                 must hold visible ASCII only",
            ),
            Self::Target => (
                INVALID,
                "the request target must be a URI without a fragment (RFC 9112 3.2); other bytes \
                 are percent-encoded",
            ),
            Self::Folded => (
                INVALID,
                "a field begins at the start of its line; folded lines are not taken",
            ),
            Self::FieldName => (
                INVALID,
                "a field is a name of token characters, directly followed by a colon",
            ),
            Self::FieldValue => (INVALID, "a field's value holds a control character"),
            Self::Length => (INVALID, "Content-Length must be one decimal number"),
            Self::Lengths => (INVALID, "two fields Content-Length differ"),
            Self::Coding => (
                INVALID,
                "the only Transfer-Encoding taken here is chunked, once, in HTTP/1.1",
            ),
            Self::LengthAndCoding => (
                INVALID,
                "Content-Length and Transfer-Encoding exclude each other (RFC 9112 6.1)",
            ),
            Self::TooLarge | Self::TooMany => return Problem::new(ProblemCode::HeaderTooLarge),
            Self::Late => return Problem::new(ProblemCode::RequestTimeout),
        };
        Problem::new(code).detail(detail)
    }
}

const INVALID: ProblemCode = ProblemCode::InvalidRequest;
