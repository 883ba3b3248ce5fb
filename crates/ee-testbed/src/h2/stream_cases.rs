//! States of streams, their numbers, and header blocks in pieces (RFC 9113 sections 4.3, 5, 6.10).

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITISED, PRIORITY, PROTOCOL_ERROR,
    STREAM_CLOSED, block, data, frame, get, get_never, post, post_never, request, reset,
    window_update,
};
use super::server_cases::{Case, Must, case};

fn protocol() -> Must {
    Must::End(PROTOCOL_ERROR)
}

fn head(stream: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, flags, stream, &request("GET", "/"))
}

fn more(flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(CONTINUATION, flags, 1, payload)
}

pub(super) fn states() -> Vec<Case> {
    let weight = [0, 0, 0, 0, 16];
    let closed = || Must::Reset(1, STREAM_CLOSED);
    vec![
        case(
            "9113 5.1",
            "PRIORITY of a stream that is idle",
            [frame(PRIORITY, 0, 3, &weight), get(1)],
            Must::Serve(vec![1]),
        ),
        case(
            "9113 5.1",
            "DATA on a stream that is idle",
            [data(1, END_STREAM, b"x")],
            protocol(),
        ),
        case(
            "9113 5.1",
            "RST_STREAM of a stream that is idle",
            [reset(1, 8)],
            protocol(),
        ),
        case(
            "9113 5.1",
            "WINDOW_UPDATE of a stream that is idle",
            [window_update(1, 100)],
            protocol(),
        ),
        case(
            "9113 5.1",
            "CONTINUATION on a stream that is idle",
            [more(END_HEADERS, &request("GET", "/"))],
            protocol(),
        ),
        case(
            "9113 5.1",
            "DATA behind the end of a request",
            [get_never(1), data(1, END_STREAM, b"x")],
            closed(),
        ),
        case(
            "9113 5.1",
            "HEADERS behind the end of a request",
            [get_never(1), head(1, END_HEADERS | END_STREAM)],
            closed(),
        ),
        case(
            "9113 5.1",
            "CONTINUATION behind the end of a request",
            [get_never(1), more(END_HEADERS, &request("GET", "/"))],
            protocol(),
        ),
        case(
            "9113 5.1",
            "RST_STREAM behind the end of a request",
            [get_never(1), reset(1, 8)],
            Must::GoOn,
        ),
    ]
}

/// Numbers and dependencies of streams, and what stands where it does not belong.
pub(super) fn numbers() -> Vec<Case> {
    let itself = frame(PRIORITY, 0, 3, &[0, 0, 0, 3, 16]);
    let own_block = [&[0, 0, 0, 1, 16], &*request("GET", "/")].concat();
    let on_itself = frame(
        HEADERS,
        END_HEADERS | END_STREAM | PRIORITISED,
        1,
        &own_block,
    );
    vec![
        case(
            "9113 5.1.1",
            "a stream of an even number",
            [get(2)],
            protocol(),
        ),
        case(
            "9113 5.1.1",
            "a stream of a number below the last",
            [get_never(5), get(3)],
            protocol(),
        ),
        case(
            "9113 5.3.1",
            "HEADERS that depend on themselves",
            [on_itself],
            Must::Reset(1, PROTOCOL_ERROR),
        ),
        case(
            "9113 5.3.1",
            "PRIORITY that depends on itself",
            [itself, get(1)],
            Must::Reset(3, PROTOCOL_ERROR),
        ),
        case(
            "9113 8.1",
            "a second HEADERS that ends nothing",
            [
                post_never(1),
                frame(HEADERS, END_HEADERS, 1, &block(&[("x", "y")])),
            ],
            Must::Reset(1, PROTOCOL_ERROR),
        ),
        case(
            "9113 5.5",
            "a frame of an unknown type within a header block",
            [
                head(1, END_STREAM),
                frame(0x16, 0, 0, &[0; 8]),
                more(END_HEADERS, &[]),
            ],
            protocol(),
        ),
    ]
}

/// Frames for streams that are over: by a reset of ours, and by their end.
pub(super) fn closed() -> Vec<Case> {
    let gone = || [post_never(1), reset(1, 8)].concat();
    let late = |what: &'static str, then: Vec<u8>, must: Must| Case {
        rule: "9113 5.1",
        what,
        bytes: get(1),
        then,
        must,
    };
    let headers = || frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("GET", "/"));
    let ends = || Must::End(STREAM_CLOSED);
    let weight = [0, 0, 0, 0, 16];
    vec![
        case(
            "9113 5.1",
            "DATA behind a reset",
            [gone(), data(1, END_STREAM, b"x")],
            Must::Reset(1, STREAM_CLOSED),
        ),
        case(
            "9113 5.1",
            "HEADERS behind a reset",
            [gone(), headers()],
            Must::Reset(1, STREAM_CLOSED),
        ),
        case(
            "9113 5.1",
            "CONTINUATION behind a reset",
            [gone(), more(END_HEADERS, &request("GET", "/"))],
            protocol(),
        ),
        late("DATA behind both ends", data(1, END_STREAM, b"x"), ends()),
        late("HEADERS behind both ends", headers(), ends()),
        late(
            "CONTINUATION behind both ends",
            more(END_HEADERS, &request("GET", "/")),
            protocol(),
        ),
        late(
            "PRIORITY behind both ends",
            frame(PRIORITY, 0, 1, &weight),
            Must::Serve(vec![1]),
        ),
        late(
            "WINDOW_UPDATE behind both ends",
            window_update(1, 1),
            Must::Serve(vec![1]),
        ),
        late(
            "RST_STREAM behind both ends",
            reset(1, 8),
            Must::Serve(vec![1]),
        ),
        late("another request", get(3), Must::Serve(vec![1, 3])),
    ]
}

pub(super) fn continuations() -> Vec<Case> {
    let whole = request("GET", "/");
    let (first, rest) = whole.split_at(10);
    let (second, third) = rest.split_at(5);
    let begun = || frame(HEADERS, END_STREAM, 1, first);
    let weight = frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]);
    let served = || Must::Serve(vec![1]);
    let stray = more(END_HEADERS, &block(&[("x", "y")]));
    vec![
        case(
            "9113 6.10",
            "a header block in two frames",
            [begun(), more(END_HEADERS, rest)],
            served(),
        ),
        case(
            "9113 6.10",
            "a header block in three frames",
            [begun(), more(0, second), more(END_HEADERS, third)],
            served(),
        ),
        case(
            "9113 4.3",
            "PRIORITY within a header block",
            [begun(), weight, more(END_HEADERS, rest)],
            protocol(),
        ),
        case(
            "9113 4.3",
            "another stream's HEADERS within a header block",
            [begun(), get(3), more(END_HEADERS, rest)],
            protocol(),
        ),
        case(
            "9113 6.10",
            "DATA within a header block",
            [begun(), more(0, second), frame(DATA, 0, 1, b"x")],
            protocol(),
        ),
        case(
            "9113 6.10",
            "CONTINUATION behind the end of HEADERS",
            [post_never(1), stray.clone()],
            protocol(),
        ),
        case(
            "9113 6.10",
            "CONTINUATION behind the end of CONTINUATION",
            [begun(), more(END_HEADERS, rest), stray.clone()],
            protocol(),
        ),
        case(
            "9113 6.10",
            "CONTINUATION behind DATA",
            [post(1), data(1, 0, b"x"), stray],
            protocol(),
        ),
        case(
            "9113 6.10",
            "CONTINUATION of another stream",
            [begun(), frame(CONTINUATION, END_HEADERS, 3, rest)],
            protocol(),
        ),
    ]
}
