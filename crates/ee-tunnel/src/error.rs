//! Why a request or a body failed.

use h2::Reason;

/// A request that got no response.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The tunnel is not (or no longer) open for traffic; nothing was sent.
    #[error("the tunnel is not open")]
    NotOpen,
    /// The agent's credits are used up; nothing was sent.
    #[error("the agent serves as many requests as it can")]
    OverCapacity,
    /// The agent refused the stream before it looked at it.
    #[error("the agent refused the request")]
    Refused,
    /// The agent is leaving and did not take this stream.
    #[error("the agent is leaving")]
    GoneAway,
    /// The tunnel died after the request may have been sent.
    #[error("the agent disconnected")]
    Disconnected,
    /// The agent gave the stream up.
    #[error("the agent reset the request: {0}")]
    Reset(Reason),
    /// The request's own body failed.
    #[error("the request body failed: {0}")]
    RequestBody(String),
    /// The agent's answer is not valid HTTP/2, or the request could not be expressed in it.
    #[error("HTTP/2: {0}")]
    Protocol(String),
}

impl TunnelError {
    /// Whether the app cannot have seen the request, so that any method may be tried again.
    #[must_use]
    pub const fn retry_is_safe(&self) -> bool {
        match self {
            Self::NotOpen | Self::OverCapacity | Self::Refused | Self::GoneAway => true,
            Self::Disconnected | Self::Reset(_) | Self::RequestBody(_) | Self::Protocol(_) => false,
        }
    }
}

/// h2 gives a stream above the last one of a GOAWAY a remote GOAWAY error, and every other stream
/// of a dead connection an I/O error; so the first is proof that the peer never took the stream.
impl From<h2::Error> for TunnelError {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            _ if error.is_io() => Self::Disconnected,
            Some(_) if error.is_go_away() && error.is_remote() => Self::GoneAway,
            Some(_) if error.is_go_away() => Self::Disconnected,
            Some(Reason::REFUSED_STREAM) if error.is_remote() => Self::Refused,
            Some(reason) if error.is_remote() => Self::Reset(reason),
            Some(_) | None => Self::Protocol(error.to_string()),
        }
    }
}

/// A body that ended before its end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BodyError {
    /// The tunnel died.
    #[error("the tunnel was lost")]
    Lost,
    /// The peer gave the stream up.
    #[error("the peer reset the stream: {0}")]
    Reset(Reason),
    /// The source of the body failed.
    #[error("{0}")]
    Source(String),
    /// The peer broke HTTP/2.
    #[error("HTTP/2: {0}")]
    Protocol(String),
}

impl From<h2::Error> for BodyError {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            _ if error.is_io() || error.is_go_away() => Self::Lost,
            Some(reason) if error.is_remote() => Self::Reset(reason),
            Some(_) | None => Self::Protocol(error.to_string()),
        }
    }
}

/// The WebSocket handshake of an agent failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server answered something other than 101.
    #[error("the server answered {status} instead of 101")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// The connection or its handshake failed.
    #[error("{0}")]
    Failed(String),
}

impl From<tokio_websockets::Error> for ConnectError {
    fn from(error: tokio_websockets::Error) -> Self {
        use tokio_websockets::Error::Upgrade;
        use tokio_websockets::upgrade::Error::DidNotSwitchProtocols;
        if let Upgrade(DidNotSwitchProtocols(status)) = error {
            return Self::Refused { status };
        }
        Self::Failed(error.to_string())
    }
}
