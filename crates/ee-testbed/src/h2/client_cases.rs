//! What a client must do about its server's frames: those that answer its request on stream 1.

use super::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITISED, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, data, frame, reset, setting,
    settings, window_update,
};

/// What the client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Must {
    /// It takes the answer, a 200 with the body `x`, and goes on.
    Take,
    /// Its request fails and the connection goes on.
    Fail,
    /// It ends the connection.
    End,
}

/// A server's bytes behind its SETTINGS.
#[derive(Debug, Clone)]
pub struct Case {
    /// RFC and section.
    pub rule: &'static str,
    /// What is sent.
    pub what: &'static str,
    /// The frames.
    pub bytes: Vec<u8>,
    /// What the RFC demands.
    pub must: Must,
}

/// `:status: 200`.
const OK: u8 = 0x88;

fn case<const N: usize>(
    rule: &'static str,
    what: &'static str,
    frames: [Vec<u8>; N],
    must: Must,
) -> Case {
    let bytes = frames.concat();
    Case {
        rule,
        what,
        bytes,
        must,
    }
}

fn head(flags: u8, fields: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, 1, fields)
}

fn body() -> Vec<u8> {
    data(1, END_STREAM, b"x")
}

/// All cases.
#[must_use]
pub fn all() -> Vec<Case> {
    [answers(), no_answers(), connection_faults(), shape_faults()].concat()
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn answers() -> Vec<Case> {
    let ok = || head(0, &[OK]);
    let early = head(0, &block(&[(":status", "103")]));
    let padded = head(PADDED, &[2, OK, 0, 0]);
    let weighed = head(PRIORITISED, &[0, 0, 0, 0, 16, OK]);
    let begun = frame(HEADERS, 0, 1, &[OK]);
    let rest = frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "y")]));
    let trailers = head(END_STREAM, &block(&[("x-t", "y")]));
    let piece = data(1, END_STREAM | PADDED, &[2, b'x', 0, 0]);
    let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    let take = Must::Take;
    vec![
        case("9113 8.1", "an answer", [ok(), body()], take),
        case(
            "9113 8.1",
            "an answer behind an interim one",
            [early, ok(), body()],
            take,
        ),
        case(
            "9113 8.1",
            "an answer with trailers",
            [ok(), data(1, 0, b"x"), trailers],
            take,
        ),
        case("9113 6.1", "DATA with padding", [ok(), piece], take),
        case("9113 6.2", "HEADERS with padding", [padded, body()], take),
        case(
            "9113 6.2",
            "HEADERS with a priority",
            [weighed, body()],
            take,
        ),
        case(
            "9113 6.10",
            "a header block in two frames",
            [begun, rest, body()],
            take,
        ),
        case(
            "9113 4.1",
            "a frame of an unknown type",
            [frame(0x16, 0, 0, &[0; 8]), ok(), body()],
            take,
        ),
        case(
            "9113 6.5.2",
            "a setting that nobody knows",
            [settings(0xff, 1), ok(), body()],
            take,
        ),
        case(
            "9113 6.7",
            "PING",
            [frame(PING, 0, 0, &[0; 8]), ok(), body()],
            take,
        ),
        case(
            "9113 6.8",
            "GOAWAY that takes the request along",
            [goaway, ok(), body()],
            take,
        ),
        case(
            "9113 6.9",
            "WINDOW_UPDATE",
            [window_update(0, 1), window_update(1, 1), ok(), body()],
            take,
        ),
        case(
            "9113 6.3",
            "PRIORITY",
            [frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]), ok(), body()],
            take,
        ),
    ]
}

/// Answers that are none, of which only their stream may suffer.
fn no_answers() -> Vec<Case> {
    let ok = || head(0, &[OK]);
    let with = |name: &str, value: &str| {
        let fields = [vec![OK], block(&[(name, value)])].concat();
        [head(0, &fields), body()]
    };
    let long = [vec![OK], block(&[("content-length", "2")])].concat();
    let late = [
        ok(),
        data(1, 0, b"x"),
        head(END_STREAM, &block(&[(":status", "200")])),
    ];
    let fail = Must::Fail;
    vec![
        case(
            "9113 8.3.2",
            "no :status",
            [head(0, &block(&[("x", "y")])), body()],
            fail,
        ),
        case(
            "9113 8.3",
            "a request's pseudo-header field",
            with(":path", "/"),
            fail,
        ),
        case(
            "9113 8.3",
            "a pseudo-header field that nobody knows",
            with(":odd", "x"),
            fail,
        ),
        case("9113 8.3", "a pseudo-header field in trailers", late, fail),
        case(
            "9113 8.2.1",
            "a name with a capital",
            with("X-Test", "y"),
            fail,
        ),
        case(
            "9113 8.2.2",
            "connection",
            with("connection", "close"),
            fail,
        ),
        case(
            "9113 8.1.1",
            "a body shorter than content-length",
            [head(0, &long), body()],
            fail,
        ),
        case("9113 6.4", "RST_STREAM", [reset(1, 8)], fail),
        case(
            "9113 6.9",
            "WINDOW_UPDATE by 0",
            [window_update(1, 0)],
            fail,
        ),
    ]
}

fn connection_faults() -> Vec<Case> {
    let request = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]);
    let promise = [&2_u32.to_be_bytes()[..], &request].concat();
    let end = Must::End;
    vec![
        case("9113 6.1", "DATA on stream 0", [data(0, 0, b"x")], end),
        case("9113 6.1", "DATA before any HEADERS", [body()], end),
        case(
            "9113 5.1",
            "DATA on a stream that nobody began",
            [data(3, 0, b"x")],
            end,
        ),
        case(
            "9113 5.1",
            "HEADERS on a stream that nobody began",
            [frame(HEADERS, END_HEADERS, 3, &[OK])],
            end,
        ),
        case(
            "9113 5.1.1",
            "a stream that the server begins",
            [frame(HEADERS, END_HEADERS, 2, &request)],
            end,
        ),
        case(
            "9113 6.2",
            "HEADERS on stream 0",
            [frame(HEADERS, END_HEADERS, 0, &[OK])],
            end,
        ),
        case(
            "9113 6.4",
            "RST_STREAM of a stream that nobody began",
            [reset(3, 8)],
            end,
        ),
        case(
            "9113 6.6",
            "PUSH_PROMISE where none is wanted",
            [frame(PUSH_PROMISE, END_HEADERS, 1, &promise)],
            end,
        ),
        case(
            "9113 6.9",
            "WINDOW_UPDATE of a stream that nobody began",
            [window_update(3, 1)],
            end,
        ),
        case(
            "9113 6.9",
            "WINDOW_UPDATE of the connection by 0",
            [window_update(0, 0)],
            end,
        ),
        case(
            "9113 6.10",
            "CONTINUATION behind nothing",
            [frame(CONTINUATION, END_HEADERS, 1, &[OK])],
            end,
        ),
        case(
            "9113 4.3",
            "PING within a header block",
            [frame(HEADERS, 0, 1, &[OK]), frame(PING, 0, 0, &[0; 8])],
            end,
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn shape_faults() -> Vec<Case> {
    let end = Must::End;
    vec![
        case(
            "9113 4.2",
            "a frame of more than 16 384 bytes",
            [data(1, 0, &[b'x'; 16_385])],
            end,
        ),
        case(
            "9113 6.3",
            "PRIORITY on stream 0",
            [frame(PRIORITY, 0, 0, &[0; 5])],
            end,
        ),
        case(
            "9113 6.4",
            "RST_STREAM of 3 bytes",
            [frame(RST_STREAM, 0, 1, &[0; 3])],
            end,
        ),
        case(
            "9113 6.5",
            "SETTINGS on a stream",
            [frame(SETTINGS, 0, 1, &setting(3, 1))],
            end,
        ),
        case(
            "9113 6.5",
            "SETTINGS of 3 bytes",
            [frame(SETTINGS, 0, 0, &[0; 3])],
            end,
        ),
        case(
            "9113 6.5.2",
            "INITIAL_WINDOW_SIZE of 2^31",
            [settings(4, 1 << 31)],
            end,
        ),
        case(
            "9113 6.5.2",
            "MAX_FRAME_SIZE of 16 383",
            [settings(5, 16_383)],
            end,
        ),
        case(
            "9113 6.7",
            "PING of 6 bytes",
            [frame(PING, 0, 0, &[0; 6])],
            end,
        ),
        case(
            "9113 6.8",
            "GOAWAY on a stream",
            [frame(GOAWAY, 0, 1, &[0; 8])],
            end,
        ),
        case(
            "9113 6.9",
            "WINDOW_UPDATE of 3 bytes",
            [frame(WINDOW_UPDATE, 0, 0, &[0; 3])],
            end,
        ),
        case(
            "7541 2.3.3",
            "an index behind the tables",
            [head(0, &[OK, 0xc6])],
            end,
        ),
        case(
            "7541 6.3",
            "a table larger than allowed",
            [head(0, &[0x3f, 0xe2, 0x1f, OK])],
            end,
        ),
        case(
            "7541 5.2",
            "the Huffman code's end of string",
            [head(0, &[OK, 0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff])],
            end,
        ),
    ]
}
