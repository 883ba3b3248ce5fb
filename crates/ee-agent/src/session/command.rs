//! Everything an agent's session can ask of its shell.

use std::time::Duration;

use ee_protocol::{
    report_data::{Binding, Nonce, ReportData},
    tunnel::AgentMessage,
};

/// What the agent does. If it is not in this list, it does not happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Send this text.
    Send(AgentMessage),
    /// The next binary bytes are an inner TLS handshake.
    ExpectInnerTls,
    /// The next binary bytes are HTTP/2 in the clear.
    ExpectPlain,
    /// HTTP/2 may rest: both ends know how its epochs end.
    UseEpochs,
    /// Make a quote over these bytes; the answer goes to [`Session::handle_quote`].
    Quote {
        /// The challenge it answers.
        nonce: Nonce,
        /// What the quote must carry.
        report_data: ReportData,
        /// How long it may take.
        budget: Duration,
    },
    /// Traffic may come from now on.
    OpenTraffic,
    /// Probe the backend; the answer goes to [`Session::handle_probe`].
    Probe,
    /// Bring up another tunnel within this window; this one goes on until it is told to drain.
    Replace {
        /// Earliest.
        from: Duration,
        /// Latest.
        until: Duration,
    },
    /// Take no new requests, finish those in flight, then close.
    FinishRequests,
    /// Close the tunnel.
    Close(Closing),
}

/// How and why a tunnel is closed by the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// WebSocket close code.
    pub code: u16,
    /// Close reason; a status word of TUNNEL 2.1 where one fits.
    pub reason: String,
}

/// What came of the inner TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InnerTlsOutcome {
    /// It stands, with this exporter and these keys.
    Established(Binding),
    /// It failed.
    Failed(String),
}
