//! What a server must do.

use super::{frame_cases, header_cases, stream_cases, window_cases};

/// What the server does about the bytes of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Must {
    /// It answers these streams with 200 and goes on.
    Serve(Vec<u32>),
    /// It goes on, and answers nothing.
    GoOn,
    /// It resets this stream with this code and goes on.
    Reset(u32, u32),
    /// It ends the connection with this code.
    End(u32),
    /// It ends the connection without a word.
    Cut,
}

/// Bytes behind the preface and an empty SETTINGS, and what they must lead to.
#[derive(Debug, Clone)]
pub struct Case {
    /// RFC and section.
    pub rule: &'static str,
    /// What is sent.
    pub what: &'static str,
    /// The frames.
    pub bytes: Vec<u8>,
    /// Frames behind the end of the answer to stream 1; none if that is not waited for.
    pub then: Vec<u8>,
    /// What the RFC demands.
    pub must: Must,
}

pub(super) fn case<const N: usize>(
    rule: &'static str,
    what: &'static str,
    frames: [Vec<u8>; N],
    must: Must,
) -> Case {
    Case {
        rule,
        what,
        bytes: frames.concat(),
        then: Vec::new(),
        must,
    }
}

/// All cases.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        frame_cases::accepted(),
        frame_cases::harmless(),
        frame_cases::padded(),
        frame_cases::stream_zero(),
        frame_cases::sizes(),
        window_cases::settings_values(),
        window_cases::windows(),
        stream_cases::states(),
        stream_cases::numbers(),
        stream_cases::closed(),
        stream_cases::continuations(),
        header_cases::exchanges(),
        header_cases::pseudo_fields(),
        header_cases::fields(),
        header_cases::hpack(),
        header_cases::hpack_faults(),
    ]
    .concat()
}
