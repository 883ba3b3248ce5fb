//! What a tunnel tells its owner, common to both ends.

use std::time::Duration;

use crate::buffered::Buffered;
use crate::keep_alive::PingPolicy;
use crate::limits;

/// How a tunnel starts.
#[derive(Debug, Clone)]
pub struct TunnelOptions {
    /// Longest text taken at first; see `set_text_limit`.
    pub text_limit: usize,
    /// When to ping the peer.
    pub ping: PingPolicy,
    /// Time without requests after which the control plane lets HTTP/2 rest, where both ends know
    /// how; looked at with each ping.
    pub rest_after: Duration,
    /// Counts what the streams of this tunnel, among others, hold.
    pub buffered: Buffered,
}

impl Default for TunnelOptions {
    fn default() -> Self {
        Self {
            text_limit: limits::TEXT_BEFORE_ATTESTED,
            ping: PingPolicy::jittered(),
            rest_after: limits::REST_AFTER,
            buffered: Buffered::default(),
        }
    }
}

/// Outcome of the inner TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InnerTls {
    /// Both sides have shown their keys; these values go into the quote.
    Established(InnerTlsInfo),
    /// Nothing can be bound; the tunnel must be closed with `inner_tls_failed`.
    Failed(String),
}

/// What a quote binds of the inner TLS session, as this end sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerTlsInfo {
    /// `EXPORTER-Channel-Binding` (RFC 9266).
    pub exporter: [u8; 32],
    /// Hash of the agent's public key (SPKI DER).
    pub agent_spki_sha256: [u8; 32],
    /// Hash of the control plane's public key (SPKI DER).
    pub control_spki_sha256: [u8; 32],
}

/// Who ended a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseBy {
    /// The peer sent a close frame.
    Peer,
    /// We did, because we were told to or because the peer broke the WebSocket protocol.
    Us,
    /// The socket failed, ended without a close frame, or the peer fell silent.
    Lost,
}

/// The end of a tunnel; no event follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Who ended it.
    pub by: CloseBy,
    /// The close code, if there was one.
    pub code: Option<u16>,
    /// The close reason, or what failed.
    pub reason: String,
}

impl Closed {
    pub(crate) fn lost(reason: impl Into<String>) -> Self {
        Self {
            by: CloseBy::Lost,
            code: None,
            reason: reason.into(),
        }
    }

    pub(crate) fn by_us(code: u16, reason: impl Into<String>) -> Self {
        Self {
            by: CloseBy::Us,
            code: Some(code),
            reason: reason.into(),
        }
    }
}

/// The peer did what the protocol of the tunnel forbids. Nothing more is read from it; the owner
/// sends a last text if it likes and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A binary message before one is legal, or more handshake than one needs.
    BinaryNotAllowed,
    /// A text without a valid MAC and sequence number on a tunnel that demands them.
    ControlMacInvalid,
    /// More than [`limits::PINGS_PER_SECOND`] pings within a second.
    PingFlood,
    /// More frames that carry nothing than a tunnel needs (see the module `meter`).
    FrameFlood,
    /// The HTTP/2 session broke.
    MuxFailed,
}

impl Violation {
    /// The WebSocket close code.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::BinaryNotAllowed
            | Self::ControlMacInvalid
            | Self::PingFlood
            | Self::FrameFlood => 1008,
            Self::MuxFailed => 1002,
        }
    }

    /// The status reason of TUNNEL 2.1.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BinaryNotAllowed => "binary_not_allowed",
            Self::ControlMacInvalid => "control_mac_invalid",
            Self::PingFlood => "ping_flood",
            Self::FrameFlood => "frame_flood",
            Self::MuxFailed => "mux_failed",
        }
    }
}
