//! Messages and their fields (RFC 9113 section 8), and header blocks (RFC 7541).

use super::frames::{
    COMPRESSION_ERROR, END_HEADERS, END_STREAM, HEADERS, PROTOCOL_ERROR, block, data, frame, get,
    get_with, literal, post, post_never, request, string,
};
use super::server_cases::{Case, Must, case};

/// `custom-key` and `custom-value` in the Huffman code, as RFC 7541 C.4.3 prints them.
const NAME: [u8; 8] = [0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f];
const VALUE: [u8; 9] = [0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf];

fn served() -> Must {
    Must::Serve(vec![1])
}

fn malformed() -> Must {
    Must::Reset(1, PROTOCOL_ERROR)
}

fn whole(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, block)
}

fn trailers(fields: &[(&str, &str)]) -> Vec<u8> {
    whole(&block(fields))
}

/// A request of these fields.
fn of(fields: &[(&str, &str)]) -> [Vec<u8>; 1] {
    [whole(&block(fields))]
}

pub(super) fn exchanges() -> Vec<Case> {
    let head = whole(&request("HEAD", "/"));
    let long = |length: &str| {
        let block = [request("POST", "/never"), literal("content-length", length)].concat();
        frame(HEADERS, END_HEADERS, 1, &block)
    };
    let answered = {
        let block = [request("POST", "/"), literal("content-length", "2")].concat();
        frame(HEADERS, END_HEADERS, 1, &block)
    };
    vec![
        case("9113 8.1", "GET", [get(1)], served()),
        case("9113 8.1", "HEAD", [head], served()),
        case(
            "9113 8.1",
            "POST",
            [post(1), data(1, END_STREAM, b"x")],
            served(),
        ),
        case(
            "9113 8.1",
            "POST without a body",
            [post(1), data(1, END_STREAM, b"")],
            served(),
        ),
        case(
            "9113 8.1",
            "POST with trailers",
            [post(1), data(1, 0, b"x"), trailers(&[("x-t", "y")])],
            served(),
        ),
        case(
            "9113 8.1.1",
            "a body as long as content-length",
            [answered, data(1, 0, b"x"), data(1, END_STREAM, b"y")],
            served(),
        ),
        case(
            "9113 8.1.1",
            "a body shorter than content-length",
            [long("2"), data(1, END_STREAM, b"x")],
            malformed(),
        ),
        case(
            "9113 8.1.1",
            "a body longer than content-length",
            [long("1"), data(1, END_STREAM, b"xy")],
            malformed(),
        ),
        case(
            "9113 8.1.1",
            "pieces longer than content-length",
            [long("2"), data(1, 0, b"xy"), data(1, END_STREAM, b"z")],
            malformed(),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn pseudo_fields() -> Vec<Case> {
    const METHOD: (&str, &str) = (":method", "GET");
    const SCHEME: (&str, &str) = (":scheme", "http");
    const PATH: (&str, &str) = (":path", "/");
    const HOST: (&str, &str) = (":authority", super::frames::AUTHORITY);
    let pseudo_trailers = [post_never(1), data(1, 0, b"x"), trailers(&[METHOD])];
    vec![
        case(
            "9113 8.3",
            "a pseudo-header field that nobody knows",
            of(&[METHOD, SCHEME, PATH, HOST, (":odd", "x")]),
            malformed(),
        ),
        case(
            "9113 8.3",
            "an answer's pseudo-header field",
            of(&[METHOD, SCHEME, PATH, HOST, (":status", "200")]),
            malformed(),
        ),
        case(
            "9113 8.3",
            "a pseudo-header field behind a field",
            of(&[METHOD, SCHEME, HOST, ("x", "y"), PATH]),
            malformed(),
        ),
        case(
            "9113 8.1",
            "a pseudo-header field in trailers",
            pseudo_trailers,
            malformed(),
        ),
        case(
            "9113 8.3.1",
            "an empty :path",
            of(&[METHOD, SCHEME, (":path", ""), HOST]),
            malformed(),
        ),
        case(
            "9113 8.3.1",
            "no :method",
            of(&[SCHEME, PATH, HOST]),
            malformed(),
        ),
        case(
            "9113 8.3.1",
            "no :scheme",
            of(&[METHOD, PATH, HOST]),
            malformed(),
        ),
        case(
            "9113 8.3.1",
            "no :path",
            of(&[METHOD, SCHEME, HOST]),
            malformed(),
        ),
        case(
            "9113 8.3.1",
            ":method twice",
            of(&[METHOD, METHOD, SCHEME, PATH, HOST]),
            malformed(),
        ),
        case(
            "9113 8.3.1",
            ":scheme twice",
            of(&[METHOD, SCHEME, SCHEME, PATH, HOST]),
            malformed(),
        ),
        case(
            "9113 8.3.1",
            ":path twice",
            of(&[METHOD, SCHEME, PATH, PATH, HOST]),
            malformed(),
        ),
    ]
}

pub(super) fn fields() -> Vec<Case> {
    let with = |name: &str, value: &str| [get_with(1, &literal(name, value))];
    vec![
        case(
            "9113 8.2.1",
            "a name with a capital",
            with("X-Test", "y"),
            malformed(),
        ),
        case(
            "9113 8.2.1",
            "a name with a space",
            with("x test", "y"),
            malformed(),
        ),
        case(
            "9113 8.2.1",
            "a value with CR LF",
            with("x", "y\r\nz: 1"),
            malformed(),
        ),
        case(
            "9113 8.2.2",
            "connection",
            with("connection", "keep-alive"),
            malformed(),
        ),
        case(
            "9113 8.2.2",
            "transfer-encoding",
            with("transfer-encoding", "chunked"),
            malformed(),
        ),
        case(
            "9113 8.2.2",
            "upgrade",
            with("upgrade", "websocket"),
            malformed(),
        ),
        case(
            "9113 8.2.2",
            "TE of another word",
            with("te", "gzip"),
            malformed(),
        ),
        case(
            "9113 8.2.2",
            "TE of trailers",
            with("te", "trailers"),
            served(),
        ),
    ]
}

/// Every way to write a field.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn hpack() -> Vec<Case> {
    let huffman = |bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        [&[0x80 | length], bytes].concat()
    };
    let named = |first: u8| [vec![first], string("x-k"), string("v")].concat();
    let coded = |first: u8| [vec![first], huffman(&NAME), huffman(&VALUE)].concat();
    let indexed_name = |first: &[u8]| [first, &string("curl")].concat();
    let with = |more: Vec<u8>| [get_with(1, &more)];
    // The newest entry of the table is number 62.
    let again = [named(0x40), vec![0xbe]].concat();
    let shrunk = |updates: &[u8]| [whole(&[updates, &request("GET", "/")].concat())];
    let grown = [&[0x20][..], &[0x3f, 0xe1, 0x1f]].concat();
    vec![
        case(
            "7541 6.1",
            "an indexed field",
            [whole(
                &[
                    &[0x82, 0x86, 0x84][..],
                    &literal(":authority", super::frames::AUTHORITY),
                ]
                .concat(),
            )],
            served(),
        ),
        case(
            "7541 6.1",
            "a field of the dynamic table",
            with(again),
            served(),
        ),
        case(
            "7541 6.2.1",
            "a kept literal, name by index",
            with(indexed_name(&[0x7a])),
            served(),
        ),
        case("7541 6.2.1", "a kept literal", with(named(0x40)), served()),
        case(
            "7541 6.2.1",
            "a kept literal in the Huffman code",
            with(coded(0x40)),
            served(),
        ),
        case(
            "7541 6.2.2",
            "a literal, name by index",
            with(indexed_name(&[0x0f, 0x2b])),
            served(),
        ),
        case("7541 6.2.2", "a literal", with(named(0x00)), served()),
        case(
            "7541 6.2.2",
            "a literal in the Huffman code",
            with(coded(0x00)),
            served(),
        ),
        case(
            "7541 6.2.3",
            "a literal for nobody's table, name by index",
            with(indexed_name(&[0x1f, 0x2b])),
            served(),
        ),
        case(
            "7541 6.2.3",
            "a literal for nobody's table",
            with(named(0x10)),
            served(),
        ),
        case(
            "7541 6.2.3",
            "a literal for nobody's table in the Huffman code",
            with(coded(0x10)),
            served(),
        ),
        case("7541 6.3", "a smaller table", shrunk(&[0x20]), served()),
        case(
            "7541 6.3",
            "a smaller table, then the largest",
            shrunk(&grown),
            served(),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn hpack_faults() -> Vec<Case> {
    let fault = || Must::End(COMPRESSION_ERROR);
    let with = |more: &[u8]| [get_with(1, more)];
    let value = |bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        let coded = [&[0x00], &*string("x"), &[0x80 | length], bytes].concat();
        [get_with(1, &coded)]
    };
    let padded = [&VALUE[..], &[0xff]].concat();
    let first = |update: &[u8]| [whole(&[update, &request("GET", "/")].concat())];
    vec![
        case(
            "7541 2.3.3",
            "an index behind the tables",
            with(&[0xc6]),
            fault(),
        ),
        case(
            "7541 2.3.3",
            "a name's index behind the tables",
            with(&[&[0x7e], &*string("v")].concat()),
            fault(),
        ),
        case("7541 6.1", "index 0", with(&[0x80]), fault()),
        case(
            "7541 4.2",
            "a table's size at the end of a block",
            with(&[0x20]),
            fault(),
        ),
        case(
            "7541 6.3",
            "a table larger than allowed",
            first(&[0x3f, 0xe2, 0x1f]),
            fault(),
        ),
        case(
            "7541 5.1",
            "an integer without an end",
            with(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            fault(),
        ),
        case(
            "7541 5.2",
            "Huffman padding of more than 7 bits",
            value(&padded),
            fault(),
        ),
        case(
            "7541 5.2",
            "Huffman padding of zeros",
            value(&[0x18]),
            fault(),
        ),
        case(
            "7541 5.2",
            "the Huffman code's end of string",
            value(&[0xff, 0xff, 0xff, 0xff]),
            fault(),
        ),
        case(
            "7541 5.2",
            "a string longer than its block",
            with(&[0x00, 0x7e, b'x']),
            fault(),
        ),
        case(
            "9113 4.3",
            "a header block that is none",
            [frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x40, 0xff])],
            fault(),
        ),
    ]
}
