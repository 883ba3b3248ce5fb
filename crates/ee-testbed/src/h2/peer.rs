//! A client that sends what a case says and writes down what comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frames::{
    ACK, DATA, END_STREAM, GOAWAY, HEADERS, NO_ERROR, PING, PREFACE, RST_STREAM, SETTINGS, frame,
};
use super::server_cases::{Case, Must};

/// Longer than any answer takes here.
const PATIENCE: Duration = Duration::from_secs(10);
/// The PING behind a case, whose answer says that all before it was read.
const PROBE: [u8; 8] = *b"and then";

/// A frame that was heard.
#[derive(Debug)]
pub struct Heard {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

/// What became of a connection.
#[derive(Debug, Default)]
struct Seen {
    heads: BTreeMap<u32, u8>,
    ended: BTreeSet<u32>,
    resets: BTreeMap<u32, u32>,
    goaway: Option<u32>,
    probed: bool,
    over: bool,
}

/// A client of HTTP/2 over any transport.
pub struct H2Peer<S> {
    io: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> H2Peer<S> {
    /// Sends the preface and these settings.
    pub async fn open(io: S, settings: &[u8]) -> Self {
        let mut peer = Self { io };
        peer.send(PREFACE).await;
        peer.send(&frame(SETTINGS, 0, 0, settings)).await;
        peer
    }

    /// Sends; whoever has closed is found out by [`Self::hear`].
    pub async fn send(&mut self, bytes: &[u8]) {
        // A refusal may come while its cause is still being sent.
        let _closed = self.io.write_all(bytes).await;
        let _closed = self.io.flush().await;
    }

    /// The next frame; none at the end.
    pub async fn hear(&mut self) -> Option<Heard> {
        let mut head = [0; 9];
        self.io.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).ok()?];
        self.io.read_exact(&mut payload).await.ok()?;
        Some(Heard {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff,
            payload,
        })
    }

    /// Plays a case; what the server did.
    pub async fn play(&mut self, case: &Case) -> Must {
        let mut seen = Seen::default();
        self.send(&case.bytes).await;
        if !case.then.is_empty() {
            self.follow(&mut seen, |seen| seen.ended.contains(&1)).await;
            self.send(&case.then).await;
        }
        self.send(&frame(PING, 0, 0, &PROBE)).await;
        self.follow(&mut seen, |seen| seen.satisfies(&case.must))
            .await;
        seen.outcome()
    }

    async fn follow(&mut self, seen: &mut Seen, enough: impl Fn(&Seen) -> bool) {
        let following = async {
            while !enough(seen) && !seen.over {
                match self.hear().await {
                    Some(heard) => seen.note(&heard),
                    None => seen.over = true,
                }
            }
        };
        // What has not come by then is missing in the outcome.
        let _late = timeout(PATIENCE, following).await;
    }
}

impl Seen {
    fn note(&mut self, heard: &Heard) {
        let code = |at: usize| {
            let bytes = heard.payload.get(at..at + 4);
            bytes.map_or(u32::MAX, |bytes| {
                bytes
                    .iter()
                    .fold(0, |code, byte| code << 8 | u32::from(*byte))
            })
        };
        match heard.kind {
            HEADERS => {
                let first = heard.payload.first().copied().unwrap_or_default();
                self.heads.entry(heard.stream).or_insert(first);
            }
            RST_STREAM if code(0) != NO_ERROR => {
                self.resets.insert(heard.stream, code(0));
            }
            GOAWAY if code(4) != NO_ERROR => {
                self.goaway = Some(code(4));
                self.over = true;
            }
            PING if heard.flags & ACK != 0 && heard.payload == PROBE => self.probed = true,
            _ => {}
        }
        if matches!(heard.kind, HEADERS | DATA) && heard.flags & END_STREAM != 0 {
            self.ended.insert(heard.stream);
        }
    }

    /// Whether there is nothing more to wait for.
    fn satisfies(&self, must: &Must) -> bool {
        match must {
            Must::Serve(streams) => {
                self.probed && streams.iter().all(|stream| self.ended.contains(stream))
            }
            Must::GoOn => self.probed,
            Must::Reset(stream, _) => self.probed && self.resets.contains_key(stream),
            Must::End(_) | Must::Cut => self.over,
        }
    }

    fn outcome(&self) -> Must {
        /// `:status: 200` in the static table (RFC 7541 appendix A).
        const OK: u8 = 0x88;
        if let Some(code) = self.goaway {
            return Must::End(code);
        }
        if self.over || !self.probed {
            return Must::Cut;
        }
        if let Some((stream, code)) = self.resets.first_key_value() {
            return Must::Reset(*stream, *code);
        }
        let served = self.ended.iter().copied();
        let served: Vec<u32> = served
            .filter(|at| self.heads.get(at) == Some(&OK))
            .collect();
        match served.is_empty() {
            true => Must::GoOn,
            false => Must::Serve(served),
        }
    }
}
