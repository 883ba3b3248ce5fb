//! Every limit of a tunnel, with its reason (TUNNEL 3, 4, 10).

use std::time::Duration;

/// Payload of one binary message: a control message waits behind at most one of them.
pub const BINARY_MAX: usize = 65_536;
/// Payload of one binary message that we send: with the headers of WebSocket, TCP and IP it is one
/// segment of at most 64 KiB for the kernel. A full [`BINARY_MAX`] would leave as two.
pub const BINARY_SEND: usize = 64_000;
/// Bytes that the kernel holds for the socket before they are on their way: a control message waits
/// behind no more than these and one binary message. Set by whoever owns the socket.
pub const UNSENT_MAX: u32 = 128 * 1024;
/// Text before and between challenges on a tunnel that is not attested: `register` fits.
pub const TEXT_BEFORE_ATTESTED: usize = 16 * 1024;
/// Text while a challenge is open: quote 160 KiB in base64 and an event log of 1 MiB.
pub const TEXT_IN_CHALLENGE: usize = 2 * 1024 * 1024;
/// Text on an attested tunnel.
pub const TEXT_ATTESTED: usize = 64 * 1024;
/// Texts that wait for the socket; at the limit nothing more is read from the peer, so one that
/// asks without reading our answers stops itself.
pub const TEXTS_WAITING_MAX: usize = 64;
/// Inner TLS handshake bytes per direction: two raw keys and signatures need about 1 KiB.
pub const HANDSHAKE_BYTES: usize = 16 * 1024;
/// Time for the inner TLS handshake: far above one round trip anywhere on earth.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Time for the last texts and the close frame; then the socket is dropped.
pub const CLOSE_TIME: Duration = Duration::from_secs(2);
/// Time for both directions of an HTTP/2 session that goes to rest to end; far above a round trip.
pub const EPOCH_END_TIME: Duration = Duration::from_secs(10);
/// Bytes of an ended HTTP/2 session that are read and forgotten at once.
pub const DISCARD_BYTES: usize = 1024;
/// Least time without a request after which HTTP/2 goes to rest (TUNNEL 3.3); looked at with each
/// ping, so up to two minutes.
pub const REST_AFTER: Duration = Duration::from_secs(60);
/// Mean distance of our pings; content delivery networks cut sockets idle for 100 s.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A peer from which no byte comes this long after a ping is dead.
pub const PING_GRACE: Duration = Duration::from_secs(15);
/// Pings a peer may send within one second; more is an attack, each costs us an answer.
pub const PINGS_PER_SECOND: u32 = 10;

/// Receive window of one stream: 1 MiB at 50 ms is 20 MB/s.
pub const STREAM_WINDOW: u32 = 1024 * 1024;
/// The same under memory pressure: slower for far peers, and a quarter of the bytes.
pub const STREAM_WINDOW_TIGHT: u32 = 256 * 1024;
/// What the windows of the streams that wait for their readers add up to in one tunnel, as long as
/// none is below the least. 8 MiB at 50 ms are 160 MB/s.
pub const TUNNEL_WINDOW: u32 = 8 * 1024 * 1024;
/// The least receive window of a stream: room for two releases.
pub const STREAM_WINDOW_LEAST: u32 = 128 * 1024;
/// How long a stream's window lasts before it grows.
pub const WINDOW_LASTS: Duration = Duration::from_secs(1);
/// Bytes of a stream that wait for its reader when it counts as one of many: half of its least
/// window. A reader that keeps up has one frame at most.
pub const BACKLOG: usize = 64 * 1024;
/// Receive window of the connection: the stream windows limit, one slow stream must not.
pub const CONNECTION_WINDOW: u32 = 1 << 30;
/// HTTP/2 frame payload: buffers hold powers of two, and the rest of one would be a short frame.
pub const FRAME_MAX: u32 = 64 * 1024;
/// The same where many streams send at once: the grain of fairness between them.
pub const FRAME_FAIR: usize = 16 * 1024;
/// Bytes of one frame of each sending stream, as long as short frames allow: what a small answer
/// waits for. At 100 Mbit/s it takes 84 ms.
pub const ROUND_BYTES: usize = 1024 * 1024;
/// HPACK table: idle memory.
pub const HEADER_TABLE: u32 = 4 * 1024;
/// Decoded header block; above it the stream is refused (HPACK bombs).
pub const HEADER_LIST: u32 = 64 * 1024;
/// Streams an agent accepts on one tunnel; cannot change at run time, hence `credits`.
pub const STREAMS_MAX: u32 = 1024;
/// Budget of h2 for unread small DATA frames; see the module `inbox`.
pub const DATA_FRAME_BUDGET: usize = 64 * 1024 * 1024;
/// Bytes per stream that h2 keeps for the socket; also what stays after a cancel. Exactly two long
/// frames: what is left beside them would leave as a short one.
pub const SEND_BUFFER: usize = 2 * FRAME_MAX as usize;
/// Streams reset by the peer before we accepted them (CVE-2023-44487): as many as it may have open,
/// for people who leave together arrive in one message. Who does that on purpose is met at the
/// public face, which counts each client's resets.
pub const PENDING_RESETS: usize = STREAMS_MAX as usize;
/// Streams reset by us because the peer broke the protocol (CVE-2025-8671).
pub const LOCAL_ERROR_RESETS: usize = 1024;
/// Chunks smaller than this are merged with what follows them, if that is already there.
pub const MERGE_BELOW: usize = 4 * 1024;
/// Bytes taken of binary messages before others have their turn: what readers take at once is still
/// in the cache, and a change of windows is not noticed late.
pub const TURN_BYTES: usize = 512 * 1024;
/// Size up to which chunks are merged: one short DATA frame.
pub const MERGE_UP_TO: usize = FRAME_FAIR;
/// Received bytes after which unread streams are drained: 64 KiB hold at most 6 600 one-byte
/// DATA frames, 1.7 MiB of h2's budget of 64 MiB and under 1 MiB of its memory.
pub const SWEEP_BYTES: u64 = 64 * 1024;
/// Added to [`SWEEP_BYTES`] for each open stream, so that a sweep stays cheaper than reading.
pub const SWEEP_BYTES_PER_STREAM: u64 = 1024;
/// Bytes taken by the next hop after which the driver gives window back if the reader does not: a
/// sixteenth of the stream window, so that waiting for the batch cannot stop a sender.
pub const RELEASE_BATCH: usize = 64 * 1024;
