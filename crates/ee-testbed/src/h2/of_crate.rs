//! Where the h2 crate (0.4) does something else than the RFCs demand. Each row is a case by name;
//! one that begins to hold, or another that no longer does, fails the tests.

use super::frames::{PROTOCOL_ERROR, STREAM_CLOSED};
use super::server_cases::{Case, Must};

/// What it does instead, why that harms nobody, and in which cases.
struct Difference {
    does: Must,
    #[expect(dead_code, reason = "for the reader")]
    because: &'static str,
    cases: &'static [&'static str],
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        does: Must::End(PROTOCOL_ERROR),
        because: "a frame of a wrong size, or a setting that cannot be, ends the connection as \
                  PROTOCOL_ERROR instead of FRAME_SIZE_ERROR or FLOW_CONTROL_ERROR: only the word \
                  for it is another",
        cases: &[
            "PRIORITY of 4 bytes",
            "RST_STREAM of 3 bytes",
            "SETTINGS of 3 bytes",
            "an acknowledgement with settings",
            "PING of 6 bytes",
            "WINDOW_UPDATE of 3 bytes",
            "INITIAL_WINDOW_SIZE of 2^31",
        ],
    },
    Difference {
        does: Must::End(PROTOCOL_ERROR),
        because: "a header block that cannot be read ends the connection as PROTOCOL_ERROR instead \
                  of COMPRESSION_ERROR: only the word for it is another",
        cases: &[
            "an index behind the tables",
            "a name's index behind the tables",
            "index 0",
            "a table's size at the end of a block",
            "a table larger than allowed",
            "an integer without an end",
            "Huffman padding of more than 7 bits",
            "Huffman padding of zeros",
            "the Huffman code's end of string",
            "a string longer than its block",
            "a header block that is none",
        ],
    },
    Difference {
        does: Must::End(PROTOCOL_ERROR),
        because: "a fault of one stream ends the connection: only a client that is broken loses by \
                  it, and it loses its own connection",
        cases: &[
            "WINDOW_UPDATE of a stream by 0",
            "DATA behind the end of a request",
            "HEADERS behind the end of a request",
            "HEADERS behind a reset",
            "HEADERS behind both ends",
            "PRIORITY that depends on itself",
            "a pseudo-header field that nobody knows",
            "a name with a capital",
            "a name with a space",
            "a value with CR LF",
        ],
    },
    Difference {
        does: Must::Reset(1, STREAM_CLOSED),
        because: "DATA for a stream that ended is refused as a fault of that stream alone",
        cases: &["DATA behind both ends"],
    },
    Difference {
        does: Must::GoOn,
        because: "pseudo-header fields in trailers are dropped, so that no app ever sees one",
        cases: &["a pseudo-header field in trailers"],
    },
];

/// The cases with what the crate does in place of what the RFC demands.
///
/// # Panics
/// Where a row names no case, or a case that it does not change.
#[must_use]
pub fn as_the_crate_does(mut cases: Vec<Case>) -> Vec<Case> {
    for difference in DIFFERENCES {
        for name in difference.cases {
            let mut named = cases.iter_mut().filter(|case| case.what == *name);
            let case = named.next().expect("a row names a case");
            assert_ne!(case.must, difference.does, "{name} is no difference");
            case.must = difference.does.clone();
            assert!(named.next().is_none(), "{name} names two cases");
        }
    }
    cases
}
