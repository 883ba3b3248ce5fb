//! Frames of RFC 9113 section 6, and header blocks of RFC 7541 without Huffman or a table.

/// Types of frames.
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const PRIORITY: u8 = 2;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PUSH_PROMISE: u8 = 5;
/// See [`DATA`].
pub const PING: u8 = 6;
/// See [`DATA`].
pub const GOAWAY: u8 = 7;
/// See [`DATA`].
pub const WINDOW_UPDATE: u8 = 8;
/// See [`DATA`].
pub const CONTINUATION: u8 = 9;

/// Flags; 1 is END_STREAM of a message and ACK of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// See [`END_STREAM`].
pub const ACK: u8 = 1;
/// See [`END_STREAM`].
pub const END_HEADERS: u8 = 4;
/// See [`END_STREAM`].
pub const PADDED: u8 = 8;
/// See [`END_STREAM`].
pub const PRIORITISED: u8 = 0x20;

/// Error codes of RFC 9113 section 7.
pub const NO_ERROR: u32 = 0;
/// See [`NO_ERROR`].
pub const PROTOCOL_ERROR: u32 = 1;
/// See [`NO_ERROR`].
pub const FLOW_CONTROL_ERROR: u32 = 3;
/// See [`NO_ERROR`].
pub const STREAM_CLOSED: u32 = 5;
/// See [`NO_ERROR`].
pub const FRAME_SIZE_ERROR: u32 = 6;
/// See [`NO_ERROR`].
pub const REFUSED_STREAM: u32 = 7;
/// See [`NO_ERROR`].
pub const CANCEL: u32 = 8;
/// See [`NO_ERROR`].
pub const COMPRESSION_ERROR: u32 = 9;
/// See [`NO_ERROR`].
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The host that the requests here ask for.
pub const AUTHORITY: &str = "target.localhost";

/// One frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A field as a literal that no table keeps (RFC 7541 section 6.2.2); both parts below 127 bytes.
#[must_use]
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0x00], &*string(name), &*string(value)].concat()
}

/// A string literal without Huffman (RFC 7541 section 5.2), below 127 bytes.
#[must_use]
pub fn string(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[length], text.as_bytes()].concat()
}

/// The four pseudo-header fields of a request for `path`.
#[must_use]
pub fn request(method: &str, path: &str) -> Vec<u8> {
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", AUTHORITY),
    ];
    block(&fields)
}

/// Fields one after the other.
#[must_use]
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| literal(name, value))
        .collect()
}

/// A GET of the front page, whole.
#[must_use]
pub fn get(stream: u32) -> Vec<u8> {
    get_with(stream, &[])
}

/// The same with further bytes in its header block.
#[must_use]
pub fn get_with(stream: u32, more: &[u8]) -> Vec<u8> {
    let block = [&*request("GET", "/"), more].concat();
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

/// A GET that is never answered.
#[must_use]
pub fn get_never(stream: u32) -> Vec<u8> {
    let block = request("GET", "/never");
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

/// The head of a POST to the front page.
#[must_use]
pub fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request("POST", "/"))
}

/// The head of a POST that is never answered.
#[must_use]
pub fn post_never(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request("POST", "/never"))
}

/// A piece of a body.
#[must_use]
pub fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, payload)
}

/// A stream is given up.
#[must_use]
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// One setting (RFC 9113 section 6.5.1).
#[must_use]
pub fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat()
}

/// A frame of one setting.
#[must_use]
pub fn settings(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &setting(id, value))
}

/// Room for more.
#[must_use]
pub fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}
