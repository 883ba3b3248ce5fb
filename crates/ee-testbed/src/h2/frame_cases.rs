//! Frames by type, sizes and stream 0 (RFC 9113 sections 3 to 6).

use super::frames::{
    ACK, CONTINUATION, END_HEADERS, END_STREAM, FRAME_SIZE_ERROR, GOAWAY, HEADERS, PADDED, PING,
    PRIORITISED, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, data,
    frame, get, post, post_never, request, reset, setting, settings, window_update,
};
use super::server_cases::{Case, Must, case};

pub(super) fn served() -> Must {
    Must::Serve(vec![1])
}

/// A HEADERS frame of a GET with bytes before its block, and flags that announce them.
fn headers_with(flags: u8, before: &[u8], after: &[u8]) -> Vec<u8> {
    let block = request("GET", "/");
    let payload = [before, &block, after].concat();
    frame(HEADERS, END_HEADERS | END_STREAM | flags, 1, &payload)
}

pub(super) fn accepted() -> Vec<Case> {
    let unknown = frame(0x16, 0, 0, &[0; 8]);
    let flags = frame(PING, 0x16, 0, &[0; 8]);
    let reserved = {
        let mut ping = frame(PING, 0, 0, &[0; 8]);
        ping[5] |= 0x80;
        ping
    };
    let priority = |payload: &[u8]| frame(PRIORITY, 0, 1, payload);
    let go = || Must::GoOn;
    vec![
        case("9113 3.4", "preface and SETTINGS", [], go()),
        case(
            "9113 4.1",
            "a frame of a type that nobody knows",
            [unknown],
            go(),
        ),
        case("9113 4.1", "flags that nobody knows", [flags], go()),
        case(
            "9113 4.1",
            "the reserved bit of a stream's number",
            [reserved],
            go(),
        ),
        case("9113 6.2", "HEADERS", [get(1)], served()),
        case(
            "9113 6.3",
            "PRIORITY of weight 1",
            [priority(&[0, 0, 0, 0, 0]), get(1)],
            served(),
        ),
        case(
            "9113 6.3",
            "PRIORITY of weight 256",
            [priority(&[0, 0, 0, 0, 255]), get(1)],
            served(),
        ),
        case(
            "9113 6.3",
            "PRIORITY with a dependency",
            [priority(&[0, 0, 0, 3, 9]), get(1)],
            served(),
        ),
        case(
            "9113 6.3",
            "PRIORITY, exclusive",
            [priority(&[0x80, 0, 0, 3, 9]), get(1)],
            served(),
        ),
    ]
}

/// Frames that ask for nothing, or for what every server has.
pub(super) fn harmless() -> Vec<Case> {
    let priority = frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]);
    let goaway = frame(GOAWAY, 0, 0, &[0; 8]);
    let odd_goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff]);
    let go = || Must::GoOn;
    vec![
        case("9113 6.4", "RST_STREAM", [post_never(1), reset(1, 8)], go()),
        case(
            "9113 7",
            "RST_STREAM of a code that nobody knows",
            [post_never(1), reset(1, 0xff)],
            go(),
        ),
        case(
            "9113 6.5",
            "SETTINGS with a value of each kind",
            [some_settings(), get(1)],
            served(),
        ),
        case(
            "9113 6.5.2",
            "a setting that nobody knows",
            [settings(0xff, 1), get(1)],
            served(),
        ),
        case("9113 6.7", "PING", [frame(PING, 0, 0, &[0; 8])], go()),
        case(
            "9113 6.7",
            "the answer to a PING that nobody sent",
            [frame(PING, ACK, 0, b"nobody's")],
            go(),
        ),
        case("9113 6.8", "GOAWAY in peace", [get(1), goaway], served()),
        case(
            "9113 7",
            "GOAWAY of a code that nobody knows",
            [get(1), odd_goaway],
            served(),
        ),
        case(
            "9113 6.9",
            "WINDOW_UPDATE of the connection",
            [window_update(0, 1), get(1)],
            served(),
        ),
        case(
            "9113 6.9",
            "WINDOW_UPDATE of a stream",
            [post(1), window_update(1, 1), data(1, END_STREAM, b"x")],
            served(),
        ),
        case(
            "9113 5.1",
            "WINDOW_UPDATE of a stream that has asked all",
            [get(1), window_update(1, 1)],
            served(),
        ),
        case(
            "9113 5.1",
            "PRIORITY of a stream that has asked all",
            [get(1), priority],
            served(),
        ),
    ]
}

fn some_settings() -> Vec<u8> {
    let values = [
        (1, 4096),
        (2, 0),
        (3, 100),
        (4, 65_535),
        (5, 16_384),
        (6, 1 << 16),
    ];
    let payload: Vec<u8> = values
        .into_iter()
        .flat_map(|(id, value)| setting(id, value))
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub(super) fn padded() -> Vec<Case> {
    let protocol = || Must::End(PROTOCOL_ERROR);
    let weight = [0, 0, 0, 0, 16];
    let both = [&[2][..], &weight].concat();
    let data_padded = data(1, END_STREAM | PADDED, &[2, b'x', 0, 0]);
    let only_padding = data(1, END_STREAM | PADDED, &[2, 0, 0]);
    let all = || data(1, END_STREAM, b"x");
    vec![
        case("9113 6.1", "DATA", [post(1), all()], served()),
        case(
            "9113 6.1",
            "several DATA",
            [post(1), data(1, 0, b"x"), data(1, 0, b"y"), all()],
            served(),
        ),
        case(
            "9113 6.1",
            "DATA with padding",
            [post(1), data_padded],
            served(),
        ),
        case(
            "9113 6.1",
            "DATA of padding alone",
            [post(1), only_padding],
            served(),
        ),
        case(
            "9113 6.1",
            "padding as long as its DATA",
            [post_never(1), data(1, PADDED, &[3, 0, 0])],
            protocol(),
        ),
        case(
            "9113 6.2",
            "HEADERS with padding",
            [headers_with(PADDED, &[2], &[0, 0])],
            served(),
        ),
        case(
            "9113 6.2",
            "HEADERS with a priority",
            [headers_with(PRIORITISED, &weight, &[])],
            served(),
        ),
        case(
            "9113 6.2",
            "HEADERS with both",
            [headers_with(PRIORITISED | PADDED, &both, &[0, 0])],
            served(),
        ),
        case(
            "9113 6.2",
            "padding longer than its HEADERS",
            [headers_with(PADDED, &[0xff], &[])],
            protocol(),
        ),
    ]
}

/// Frames that belong to a stream, or to none.
pub(super) fn stream_zero() -> Vec<Case> {
    let protocol = || Must::End(PROTOCOL_ERROR);
    let weight = [0, 0, 0, 0, 16];
    let block = request("GET", "/");
    let headers = frame(HEADERS, END_HEADERS | END_STREAM, 0, &block);
    let promise = [&2_u32.to_be_bytes()[..], &block].concat();
    vec![
        case(
            "9113 6.1",
            "DATA on stream 0",
            [data(0, END_STREAM, b"x")],
            protocol(),
        ),
        case("9113 6.2", "HEADERS on stream 0", [headers], protocol()),
        case(
            "9113 6.3",
            "PRIORITY on stream 0",
            [frame(PRIORITY, 0, 0, &weight)],
            protocol(),
        ),
        case(
            "9113 6.4",
            "RST_STREAM on stream 0",
            [reset(0, 8)],
            protocol(),
        ),
        case(
            "9113 6.5",
            "SETTINGS on a stream",
            [frame(SETTINGS, 0, 1, &setting(3, 1))],
            protocol(),
        ),
        case(
            "9113 6.7",
            "PING on a stream",
            [frame(PING, 0, 1, &[0; 8])],
            protocol(),
        ),
        case(
            "9113 6.8",
            "GOAWAY on a stream",
            [frame(GOAWAY, 0, 1, &[0; 8])],
            protocol(),
        ),
        case(
            "9113 6.10",
            "CONTINUATION on stream 0",
            [frame(CONTINUATION, END_HEADERS, 0, &block)],
            protocol(),
        ),
        case(
            "9113 8.4",
            "PUSH_PROMISE of a client",
            [get(1), frame(PUSH_PROMISE, END_HEADERS, 1, &promise)],
            protocol(),
        ),
    ]
}

pub(super) fn sizes() -> Vec<Case> {
    let size = || Must::End(FRAME_SIZE_ERROR);
    let longest = data(1, END_STREAM, &[b'x'; 16_384]);
    let too_long = data(1, END_STREAM, &[b'x'; 16_385]);
    let long_headers = headers_with(0, &[], &[0; 16_385]);
    vec![
        case(
            "9113 4.2",
            "DATA of 16 384 bytes",
            [post(1), longest],
            served(),
        ),
        case(
            "9113 4.2",
            "DATA of 16 385 bytes",
            [post_never(1), too_long],
            size(),
        ),
        case(
            "9113 4.2",
            "HEADERS of more than 16 384 bytes",
            [long_headers],
            size(),
        ),
        case(
            "9113 6.3",
            "PRIORITY of 4 bytes",
            [frame(PRIORITY, 0, 1, &[0; 4])],
            Must::Reset(1, FRAME_SIZE_ERROR),
        ),
        case(
            "9113 6.4",
            "RST_STREAM of 3 bytes",
            [post_never(1), frame(RST_STREAM, 0, 1, &[0; 3])],
            size(),
        ),
        case(
            "9113 6.5",
            "SETTINGS of 3 bytes",
            [frame(SETTINGS, 0, 0, &[0; 3])],
            size(),
        ),
        case(
            "9113 6.5",
            "an acknowledgement with settings",
            [frame(SETTINGS, ACK, 0, &setting(3, 1))],
            size(),
        ),
        case(
            "9113 6.7",
            "PING of 6 bytes",
            [frame(PING, 0, 0, &[0; 6])],
            size(),
        ),
        case(
            "9113 6.9",
            "WINDOW_UPDATE of 3 bytes",
            [frame(WINDOW_UPDATE, 0, 0, &[0; 3])],
            size(),
        ),
    ]
}
